"""Find boxes in a folder of images and write them as OUT/coco.json.

python examples/localize_to_coco.py runs/mine NEW_IMAGES boxes
"""

import argparse
from pathlib import Path

import cdtr


def localize_to_coco(run: str, images: str, out: Path) -> int:
    """Write the boxes of all images, and return how many there are."""
    return cdtr.localize(run, images, out, "coco").boxes


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", help="a run folder, a hub id or an .onnx file")
    parser.add_argument("images", help="a folder of images")
    parser.add_argument("out", type=Path, help="the folder to write")
    options = parser.parse_args()
    print(f"wrote {options.out / 'coco.json'}: {localize_to_coco(options.run, options.images, options.out)} boxes")
