"""Read localization maps of other methods from files, as predictions that are scored like a method's."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cdtr.errors import DataError
from cdtr.evaluation.forward import ImagePrediction
from cdtr.evaluation.result import Evaluation
from cdtr.image_files.maps import load_maps
from cdtr.localization.maps import check_score_map, normalise_maps
from cdtr.metrics import all_metrics
from cdtr.metrics.baselines import LARGEST_CLASS
from cdtr.records import FloatArray, Sample

ClassScores = Mapping[str, npt.NDArray[np.float64]]


def score_columns(path: Path) -> tuple[str, ...]:
    """Read the class names from the header of a CSV file of class scores, in their order.

    Raises:
        DataError: If the file cannot be read or names no class.
    """
    names = tuple(name for name in next(_csv_rows(path), []) if name != "image_id")
    if not names:
        raise DataError(f"{path} has no column of a class: expected image_id and then one a class")
    return names


def read_class_scores(path: Path, class_names: Sequence[str]) -> ClassScores:
    """Read class scores from a CSV file with the columns ``image_id`` and one for each class.

    Args:
        path: The file.
        class_names: The C classes in the order of their indices.

    Returns:
        (C,) scores by image id.

    Raises:
        DataError: For a missing column, a line of another length, an image that comes twice, and a score that is no
            finite number; the message names the line.
    """
    found: dict[str, npt.NDArray[np.float64]] = {}
    rows = _csv_rows(path)
    header = next(rows, [])
    columns = {name: index for index, name in enumerate(header)}
    absent = [name for name in ("image_id", *class_names) if name not in columns]
    if absent:
        raise DataError(f"{path} has no column {absent[0]!r}: expected image_id and then one a class")
    for number, row in enumerate(rows, start=2):
        if len(row) != len(header):
            raise DataError(f"{path}, line {number}: {len(row)} fields, expected {len(header)}")
        image_id = row[columns["image_id"]]
        if image_id in found:
            raise DataError(f"{path}, line {number}: {image_id} comes twice, keep one line an image")
        try:
            scores = np.array([float(row[columns[name]]) for name in class_names])
        except ValueError as error:
            raise DataError(f"{path}, line {number}: {error}, expected a number for each class") from error
        if not np.isfinite(scores).all():
            raise DataError(f"{path}, line {number}: scores of {image_id} that are not finite, correct them")
        found[image_id] = scores
    return found


def _csv_rows(path: Path) -> Iterator[list[str]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            yield from csv.reader(file)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read as CSV ({error}): save it as UTF-8 with commas between") from error


def read_predictions(
    maps: Mapping[str, Path],
    samples: Sequence[Sample],
    size_hw: Callable[[Sample], tuple[int, int]],
    n_classes: int,
    class_scores: ClassScores | None = None,
    normalise: bool = False,
) -> Iterator[ImagePrediction]:
    """Read the prediction for each image.

    Args:
        maps: Map file by image id: one map (h, w) for every class, or (C, h, w) with one for each class, in [0, 1].
        samples: The images.
        size_hw: Returns height and width of an image.
        n_classes: Number of classes C.
        class_scores: (C,) scores by image id; None to take the true class as the predicted one.
        normalise: Whether to scale each map to [0, 1] first.

    Yields:
        Predictions, each read when it is needed.

    Raises:
        DataError: For a map or scores that are missing or broken; the message names the file.
    """
    for sample in samples:
        scores = None if class_scores is None else class_scores.get(sample.image_id)
        if class_scores is not None and scores is None:
            raise DataError(f"no class scores of {sample.image_id}: expected a line for every image")
        predicted = sample.label if scores is None else int(scores.argmax())
        label_map, predicted_map = _read_maps(maps[sample.image_id], sample.label, predicted, n_classes, normalise)
        yield ImagePrediction(
            sample=sample,
            size_hw=size_hw(sample),
            label=sample.label,
            predicted=predicted,
            prob=1.0 if scores is None else float(1 / np.exp(scores - scores.max()).sum()),
            in_top5=scores is None or sample.label in np.argsort(-scores, kind="stable")[:5],
            label_map=label_map,
            predicted_map=predicted_map,
            as_given=True,
        )


def without_classes(evaluation: Evaluation) -> Evaluation:
    """Remove the metrics that need a predicted class, for maps that came without class scores.

    Args:
        evaluation: Measured with the label in place of the predicted class.

    Returns:
        The evaluation with None for these metrics, everywhere, and a note that says so.
    """
    unknown = {metric.key for metric in all_metrics() if metric.needs_class}

    def known(scores: Mapping[str, Any]) -> dict[str, Any]:
        return {key: None if key in unknown else value for key, value in scores.items()}

    return replace(
        evaluation,
        metrics=known(evaluation.metrics),
        intervals=known(evaluation.intervals),
        errors={},
        baselines={
            name: found and known(found) for name, found in evaluation.baselines.items() if name != LARGEST_CLASS
        },
        oracle=evaluation.oracle and known(evaluation.oracle),
        per_class={label: known(scores) for label, scores in evaluation.per_class.items()},
        notes=(*evaluation.notes, "no class scores were given: only GT-known figures can be measured"),
    )


def _read_maps(
    path: Path, label: int, predicted: int, n_classes: int, normalise: bool
) -> tuple[FloatArray, FloatArray]:
    content = load_maps(path, n_classes)
    chosen = [np.array(content if content.ndim == 2 else content[index]) for index in (label, predicted)]
    if normalise and not all(np.isfinite(one).all() for one in chosen):  # scaling would make zeros of it
        raise DataError(f"{path} holds NaN or infinity: expected finite numbers")
    try:
        ready = [normalise_maps(one) if normalise else one for one in chosen]
        for one in ready:
            check_score_map(one)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    return ready[0], ready[1]
