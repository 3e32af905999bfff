"""Print the boxes of defects, and none for images whose predicted class is that of good parts.

python examples/skip_good_parts.py runs/mine NEW_IMAGES --good good
"""

import argparse
from collections.abc import Iterator

import cdtr


def find_defects(run: str, images: str, good: str) -> Iterator[tuple[str, str, list[float]]]:
    """Yield image, class and box (x0, y0, x1, y1 in pixels) of each box that is not of the class ``good``."""
    localizer = cdtr.Localizer.from_pretrained(run)
    if good not in localizer.class_names:
        raise SystemExit(f"{run} has no class {good!r}: choose one of {', '.join(localizer.class_names)}")
    for found in localizer(images):
        for label, box in zip(found.labels, found.boxes_xyxy, strict=True):
            if found.class_names[label] != good:
                yield found.image_id, found.class_names[label], box.tolist()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", help="a run folder, a hub id or an .onnx file")
    parser.add_argument("images", help="a folder of images")
    parser.add_argument("--good", default="good", help="the class of good parts")
    options = parser.parse_args()
    for image, name, box in find_defects(options.run, options.images, options.good):
        print(image, name, *box)
