"""Find boxes in a folder of images and write them as a COCO file.

python examples/localize_to_coco.py runs/mine NEW_IMAGES boxes.json
"""

import argparse
import json
from pathlib import Path

import cdtr


def localize_to_coco(run: str, images: str, out: Path) -> int:
    """Write the boxes of all images, and return how many there are."""
    localizer = cdtr.Localizer.from_pretrained(run)
    coco = {"images": [], "annotations": [], "categories": []}
    coco["categories"] = [{"id": number, "name": name} for number, name in enumerate(localizer.class_names, start=1)]
    for number, found in enumerate(localizer(images), start=1):
        height, width = found.size_hw
        coco["images"].append({"id": number, "file_name": found.image_id, "height": height, "width": width})
        for box in found.to_coco():
            area = box["bbox"][2] * box["bbox"][3]
            extra = {"id": len(coco["annotations"]) + 1, "image_id": number, "area": area, "iscrowd": 0}
            coco["annotations"].append({**box, **extra})
    out.write_text(json.dumps(coco))
    return len(coco["annotations"])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", help="a run folder, a hub id or an .onnx file")
    parser.add_argument("images", help="a folder of images")
    parser.add_argument("out", type=Path, help="the COCO file to write")
    options = parser.parse_args()
    print(f"wrote {options.out}: {localize_to_coco(options.run, options.images, options.out)} boxes")
