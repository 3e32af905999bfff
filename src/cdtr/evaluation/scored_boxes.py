"""Boxes of any program, to be scored: from a COCO file, by image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cdtr.evaluation.measure import ScoredBox
from cdtr.formats.coco_results import read_results
from cdtr.records import Sample


def read_coco_boxes(
    path: Path, samples: Sequence[Sample], class_names: Sequence[str], images_file: Path | None = None
) -> dict[str, list[ScoredBox]]:
    """Read the boxes of the samples as ``cdtr.formats.coco_results.read_results`` does, by image id."""
    found = read_results(path, [sample.image_id for sample in samples], class_names, images_file)
    return {one: [ScoredBox(box.label, box.score, box.xyxy) for box in boxes] for one, boxes in found.items()}
