"""`cdtr localize --maps`: what turns anybody's maps into boxes, and at which threshold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from cdtr.account import Account
    from cdtr.api import Localizer, MapsEngine
    from cdtr.evaluation.predictions import ClassScores
    from cdtr.records import Annotation, FloatArray, Sample


def maps_localizer(
    folder: Path,
    pictures: Sequence[tuple[str, Path]],
    class_scores: Path | None,
    boxes: str | None,
    threshold: float | None,
) -> Localizer:
    """A localizer that takes the maps of a folder in place of a network's.

    The class of an image is the best of ``class_scores``, else the name of its folder. The threshold is the one given,
    else the one that meets ``boxes`` best, else one that the maps alone choose.
    """
    from cdtr.api import Localizer, MapsEngine
    from cdtr.api.thresholds import given_threshold
    from cdtr.config import Config
    from cdtr.errors import ConfigError, DataError
    from cdtr.evaluation.predictions import find_maps, read_class_scores, score_columns
    from cdtr.records import Sample

    if not folder.is_dir():
        raise DataError(f"no folder {folder}: expected maps as .npy files, named as the images are")
    if threshold is not None and boxes is not None:
        raise ConfigError("--threshold is given, so there is none to choose by --boxes: give one of them")
    if class_scores is not None:
        names = score_columns(class_scores)
        scores = read_class_scores(class_scores, names)
        missing = next((image_id for image_id, _ in pictures if image_id not in scores), None)
        if missing is not None:
            raise DataError(f"{class_scores} has no class scores of {missing}: expected a line for every image")
        logits: dict[str, FloatArray] = {image_id: scores[image_id] for image_id, _ in pictures}
    else:
        folders = {image_id: path.absolute().parent.name or "object" for image_id, path in pictures}
        names = tuple(sorted(set(folders.values())))
        # A class that is certain: the softmax of these is 1 and 0.
        logits = {image_id: np.where(np.array(names) == name, 0.0, -np.inf) for image_id, name in folders.items()}
    samples = [Sample(image_id, path, int(logits[image_id].argmax())) for image_id, path in pictures]
    files = find_maps(folder, samples)
    engine = MapsEngine(names, files, logits, Config().data.max_pixels)
    if threshold is None:
        threshold = _choose_threshold(engine, samples, scores if class_scores is not None else None, boxes)
    return Localizer(engine, given_threshold(threshold))


def _choose_threshold(
    engine: MapsEngine, samples: Sequence[Sample], scores: ClassScores | None, boxes: str | None
) -> float:
    """By boxes of some of the images, or by the maps alone; says which."""
    from cdtr.account import account_lines
    from cdtr.cli._shared import note, progress_bar
    from cdtr.evaluation import calibrate_answers, calibrate_answers_label_free, find_protocol
    from cdtr.evaluation.calibration import LABEL_FREE
    from cdtr.evaluation.predictions import read_answers

    n_classes = len(engine.class_names)
    sizes = _sizes(samples, engine.max_pixels)
    readable = [sample for sample in samples if sample.image_id in sizes]
    annotate = None
    if boxes is not None:
        annotate, account = _reader(boxes, readable, engine.class_names)
        readable = [sample for sample in readable if annotate(sample) is not None]
        for line in account_lines([account]):
            note(f"read: {line}")
    answers = read_answers(
        engine.files, readable, lambda sample: sizes[sample.image_id], n_classes, scores, normalise=True
    )
    protocols = [find_protocol("wsol")]
    with progress_bar("choosing the threshold", len(readable)) as move:
        if annotate is not None:
            (found,) = calibrate_answers(answers, annotate, protocols, move)
            note(f"threshold {found.threshold:.3g}: GT-known Loc {found.gt_known_loc:.1f}%, on {found.n_images} images")
        else:
            (found,) = calibrate_answers_label_free(answers, protocols, move)
            note(f"threshold {found.threshold:.3g}: {LABEL_FREE}; --threshold or --boxes choose another")
    return found.threshold


def _sizes(samples: Sequence[Sample], max_pixels: int) -> dict[str, tuple[int, int]]:
    """Height and width by image id; images whose header cannot be read, which localizing leaves out, have none."""
    from cdtr.data.images import read_size
    from cdtr.errors import DataError

    found = {}
    for sample in samples:
        try:
            found[sample.image_id] = read_size(sample.path, max_pixels)
        except DataError:
            continue
    return found


def _reader(
    boxes: str, samples: Sequence[Sample], class_names: tuple[str, ...]
) -> tuple[Callable[[Sample], Annotation | None], Account]:
    """The boxes of the images, and what was read of them once they have been asked for."""
    from cdtr.account import Account
    from cdtr.cli._localizing import pictures_root
    from cdtr.data.opening import Forgiving
    from cdtr.formats import Images, open_boxes

    root = pictures_root([(sample.image_id, sample.path) for sample in samples])
    annotate, account = open_boxes(Path(boxes), Images(root, samples, class_names, named=True))
    return Forgiving(annotate, (Account("images"), account)), account
