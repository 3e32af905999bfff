"""Average precision over all boxes of every image, by COCO's evaluator (Lin et al., ECCV 2014)."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass
from io import StringIO
from typing import Any

import numpy as np
import numpy.typing as npt

from cdtr.errors import DataError, import_extra
from cdtr.records import FloatArray

_ALL_AREAS = 0  # of COCO's area ranges
_MOST_BOXES = (100,)  # best-scored boxes of an image and class that count, as COCO has it


@dataclass(frozen=True, slots=True)
class ImageDetections:
    """Found and true boxes of one image.

    Attributes:
        label: Class of the image and so of its true boxes.
        gt_boxes_xyxy: (M, 4) true boxes, half-open, source pixels.
        boxes_xyxy: (N, 4) found boxes, likewise.
        labels: (N,) their classes.
        scores: (N,) their scores, of any range; the best box has the largest.
    """

    label: int
    gt_boxes_xyxy: FloatArray
    boxes_xyxy: FloatArray
    labels: npt.NDArray[np.int64]
    scores: FloatArray


@dataclass(frozen=True, slots=True)
class AveragePrecision:
    """Average precision in percent.

    Attributes:
        ap50: At IoU 0.5, the mean over the classes that have true boxes.
        ap: The same, averaged over IoU 0.5 to 0.95 in steps of 0.05.
        ap50_any_class: At IoU 0.5, classes ignored.
        ap_any_class: The same, averaged over IoU 0.5 to 0.95.
        n_true: Number of true boxes.
        n_found: Number of found boxes.
    """

    ap50: float
    ap: float
    ap50_any_class: float
    ap_any_class: float
    n_true: int
    n_found: int

    def to_json(self) -> dict[str, float | int]:
        """Convert to plain values."""
        return asdict(self)

    def __str__(self) -> str:
        return (
            f"average precision over all boxes, in percent: {self.ap50:.1f} at IoU 0.5, {self.ap:.1f} at 0.5 to 0.95; "
            f"whatever the class {self.ap50_any_class:.1f} and {self.ap_any_class:.1f} "
            f"({self.n_found} boxes found, {self.n_true} true)"
        )


def average_precision(images: Sequence[ImageDetections]) -> AveragePrecision:
    """Compute the average precision of the found boxes of all images together.

    Args:
        images: Images with true boxes; an image without a found box misses all of its own.

    Raises:
        ConfigError: pycocotools is not installed.
        DataError: No image has a true box.
    """
    if not any(len(image.gt_boxes_xyxy) for image in images):
        raise DataError("no image has a true box: expected some to measure average precision")
    ap50, ap = _evaluate(images, by_class=True)
    ap50_any, ap_any = _evaluate(images, by_class=False)
    n_true, n_found = (
        sum(len(boxes) for boxes in some)
        for some in ([image.gt_boxes_xyxy for image in images], [image.boxes_xyxy for image in images])
    )
    return AveragePrecision(ap50, ap, ap50_any, ap_any, n_true, n_found)


def _evaluate(images: Sequence[ImageDetections], by_class: bool) -> tuple[float, float]:
    """Return AP at IoU 0.5 and over 0.5 to 0.95, in percent."""
    coco = import_extra("pycocotools.coco", "average precision over all boxes", "coco")
    evaluator = import_extra("pycocotools.cocoeval", "average precision over all boxes", "coco")
    truth = [
        _entry(image_id, image.label if by_class else 0, box)
        for image_id, image in enumerate(images, start=1)
        for box in image.gt_boxes_xyxy
    ]
    found = [
        _entry(image_id, int(label) if by_class else 0, box) | {"score": float(score)}
        for image_id, image in enumerate(images, start=1)
        for box, label, score in zip(image.boxes_xyxy, image.labels, image.scores, strict=True)
    ]
    with redirect_stdout(StringIO()):  # pycocotools prints its progress
        true_coco, found_coco = (_coco(coco.COCO(), len(images), entries) for entries in (truth, found))
        run = evaluator.COCOeval(true_coco, found_coco, "bbox")
        run.params.maxDets = list(_MOST_BOXES)
        run.params.catIds = sorted({entry["category_id"] for entry in truth})
        run.evaluate()
        run.accumulate()
    precision = run.eval["precision"][:, :, :, _ALL_AREAS, -1]  # (IoU, recall, class); every class has true boxes
    return 100 * float(precision[0].mean()), 100 * float(precision.mean())


def _entry(image_id: int, label: int, box_xyxy: FloatArray) -> dict[str, Any]:
    x0, y0, x1, y1 = (float(value) for value in box_xyxy)
    bbox = [x0, y0, x1 - x0, y1 - y0]
    return {"image_id": image_id, "category_id": label, "bbox": bbox, "area": bbox[2] * bbox[3], "iscrowd": 0}


def _coco(coco: Any, n_images: int, entries: Sequence[dict[str, Any]]) -> Any:
    """Fill an empty ``COCO`` with images that are numbered from 1, and boxes."""
    coco.dataset = {
        "images": [{"id": number} for number in range(1, n_images + 1)],
        "categories": [{"id": label} for label in sorted({entry["category_id"] for entry in entries})],
        "annotations": [entry | {"id": number} for number, entry in enumerate(entries, start=1)],
    }
    coco.createIndex()
    return coco
