"""Score localization maps or boxes that were made elsewhere, as our own are scored."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from cdtr.config import Config
from cdtr.data.datasets import load_source
from cdtr.data.opening import Forgiving
from cdtr.errors import ConfigError, DataError
from cdtr.evaluation import Evaluation, Protocol, Tally, tally_predictions
from cdtr.evaluation.measure import ScoredBox, measure_boxes
from cdtr.evaluation.predictions import read_class_scores, read_predictions, without_classes
from cdtr.evaluation.scored_boxes import read_coco_boxes
from cdtr.evaluation.tally import DELTA
from cdtr.image_files.maps import find_maps
from cdtr.image_files.reading import read_size
from cdtr.metrics.average_precision import AveragePrecision, ImageDetections, average_precision
from cdtr.records import DataSource, Sample
from cdtr.workflows.evaluate import find_protocols
from cdtr.workflows.opening import TEST_SPLITS, DataLike, report_reading
from cdtr.workflows.reporting import SILENT, Reporter
from cdtr.workflows.scores import Scores

TRAIN = "train"  # the split of data that has no other


def score(
    predictions: str | Path,
    data: DataLike,
    *,
    split: str | None = None,
    protocol: str | Sequence[str] = "wsol",
    threshold: float | None = None,
    class_scores: str | Path | None = None,
    normalise: bool = False,
    delta: float = DELTA,
    coco_images: str | Path | None = None,
    reporter: Reporter = SILENT,
) -> Scores:
    """Score anybody's localization maps or boxes as our own are scored.

    Args:
        predictions: a folder of maps, or a COCO file of boxes. A file IMAGE_ID.npy holds one map (h, w), or one for
            each class (C, h, w), of the whole image and within [0, 1]; a PNG holds one of grey values. A map of the
            protocol's size is taken as it is, another is resized and scaled to [0, 1]. Of a COCO file's boxes the
            best-scored one of each class counts, and all of them in the average precision, which needs pycocotools.
        data: the data set, with boxes or masks, as a path or opened.
        split: the images to score; None takes the first of test, val and train.
        protocol: one or several names, or ``all``.
        threshold: the threshold of the maps, in [0, 1); without it Top-1 and GT-known Loc are not measured.
        class_scores: a CSV file of image_id and one column for each class; needed for Top-1 and Top-5.
        normalise: scale each map from its minimum and maximum to [0, 1] first.
        delta: the step of the thresholds that are swept.
        coco_images: a COCO file with the images and categories that the numbers of ``predictions`` stand for.
        reporter: takes notes and progress.

    Returns:
        The scores under each protocol.

    Raises:
        ConfigError: an unknown protocol, or an option that is not for these predictions.
        DataError: the predictions or the split are missing or cannot be read.

    Example:
        ``cdtr.score("maps/", "CUB", threshold=0.2).metrics["gt_known_loc"]``
    """
    path, rules = Path(predictions), find_protocols(protocol)
    source = data if isinstance(data, DataSource) else load_source(Path(data))
    source = replace(source, annotate=Forgiving(source.annotate, source.accounts))
    name = split or next((name for name in TEST_SPLITS if source.splits.get(name)), TRAIN)
    samples = source.splits.get(name, ())
    if not samples:
        raise DataError(f"{source.root} has no split {name!r}: choose one of {', '.join(source.splits)}")
    truth = _Truth(source, samples, source.size_hw or _read_size)
    precision = None
    if path.is_dir():
        if coco_images is not None:
            raise ConfigError("`coco_images=` is for a COCO file of boxes, and a folder of maps was given")
        tallies = [Tally(rule, threshold, delta) for rule in rules]
        results = _score_maps(path, truth, tallies, class_scores, normalise, reporter)
    elif path.suffix.lower() == ".json" and path.is_file():
        if threshold is not None or class_scores is not None or normalise:
            raise ConfigError(
                "`threshold=`, `class_scores=` and `normalise=True` are for maps, and a file of boxes was given"
            )
        images_file = None if coco_images is None else Path(coco_images)
        boxes = read_coco_boxes(path, samples, source.class_names, images_file)
        results = _score_boxes(boxes, truth, rules, reporter)
        precision = _average_precision(boxes, truth, reporter)
    else:
        raise DataError(f"no folder and no .json file {path}: expected one .npy or .png an image, or COCO boxes")
    if not isinstance(data, DataSource):
        report_reading(source, reporter)
    return Scores(str(predictions), source, name, source.class_names, tuple(results), precision)


@dataclass(frozen=True, slots=True)
class _Truth:
    """The images that are scored. size_hw: reads the size of one in pixels."""

    source: DataSource
    samples: Sequence[Sample]
    size_hw: Callable[[Sample], tuple[int, int]]


def _read_size(sample: Sample) -> tuple[int, int]:
    return read_size(sample.path, Config().data.max_pixels)


def _score_maps(
    folder: Path,
    truth: _Truth,
    tallies: Sequence[Tally],
    class_scores: str | Path | None,
    normalise: bool,
    reporter: Reporter,
) -> list[Evaluation]:
    """Score a folder of maps. Without a threshold no published one is taken: the method of the maps is not known."""
    source, samples = truth.source, truth.samples
    files = find_maps(folder, samples)
    scores = None if class_scores is None else read_class_scores(Path(class_scores), source.class_names)
    found = read_predictions(files, samples, truth.size_hw, len(source.class_names), scores, normalise)
    with reporter.progress("scoring maps", len(samples)) as advance:
        tally_predictions(tallies, found, source.annotate, advance)
    results = [_with_advice(tally.finish(), tally, source) for tally in tallies]
    return results if scores is not None else [without_classes(result) for result in results]


def _with_advice(result: Evaluation, tally: Tally, source: DataSource) -> Evaluation:
    """The evaluation with a note of the threshold that its protocol's paper publishes, where none was given."""
    published = tally.protocol.published.get(source.name)
    if tally.threshold is not None or published is None or published.classes != len(source.class_names):
        return result
    advice = f"if these are maps of {published.method}, the published threshold is {published.threshold}"
    return replace(result, notes=(*result.notes, advice))


def _score_boxes(
    boxes: Mapping[str, Sequence[ScoredBox]], truth: _Truth, protocols: Sequence[Protocol], reporter: Reporter
) -> list[Evaluation]:
    """Score the best box of each class, by image id."""
    source, samples = truth.source, truth.samples
    tallies = [Tally(rule, None) for rule in protocols]
    with reporter.progress("scoring boxes", len(samples)) as advance:
        for sample in samples:
            annotation = source.annotate(sample)
            given = boxes.get(sample.image_id, [])
            for tally in tallies:
                tally.add(measure_boxes(sample, truth.size_hw(sample), given, annotation, tally.protocol))
            advance(1)
    without = sum(sample.image_id not in boxes for sample in samples)
    notes = ["boxes were given, not maps: MaxBoxAcc and PxAP need maps"]
    if without:
        notes.append(f"{without} of {len(samples)} images have no box: they miss")
    return [replace(found, notes=(*found.notes, *notes)) for found in (tally.finish() for tally in tallies)]


def _average_precision(
    boxes: Mapping[str, Sequence[ScoredBox]], truth: _Truth, reporter: Reporter
) -> AveragePrecision | None:
    """Score all boxes over the images with true boxes; None without such an image or without pycocotools."""
    images = []
    for sample in truth.samples:
        annotation, found = truth.source.annotate(sample), boxes.get(sample.image_id, [])
        if annotation is not None and len(annotation.boxes_xyxy):
            images.append(
                ImageDetections(
                    label=sample.label,
                    gt_boxes_xyxy=annotation.boxes_xyxy,
                    boxes_xyxy=np.array([box.box_xyxy for box in found], dtype=np.float64).reshape(-1, 4),
                    labels=np.array([box.label for box in found], dtype=np.int64),
                    scores=np.array([box.score for box in found], dtype=np.float64),
                )
            )
    if not images:
        return None
    try:
        return average_precision(images)
    except ConfigError as error:
        reporter.note(str(error))
        return None
