"""Boxes from anybody's maps: what ``cdtr localize --maps`` does, from Python."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

import numpy as np

from cdtr.account import Account, account_lines
from cdtr.api import Localizer, MapsModel
from cdtr.api.thresholds import given_threshold
from cdtr.config import Config
from cdtr.data.opening import Forgiving
from cdtr.errors import ConfigError, DataError
from cdtr.formats import Images, open_boxes
from cdtr.image_files.maps import find_maps
from cdtr.image_files.reading import read_size
from cdtr.localization.options import DEFAULT_OPTIONS, LocalizeOptions
from cdtr.records import Annotation, FloatArray, Sample
from cdtr.workflows.box_files import OutputFiles, write_localizations
from cdtr.workflows.images import expand_images, images_root
from cdtr.workflows.localize import as_arguments, require_scores, split_formats
from cdtr.workflows.localized import Localized
from cdtr.workflows.reporting import SILENT, Reporter

if TYPE_CHECKING:
    from cdtr.evaluation.predictions import ClassScores
    from cdtr.localization.options import OptionChanges


def localize_maps(
    maps: str | Path,
    images: str | Path | Iterable[str | Path],
    out: str | Path,
    formats: str | Sequence[str] = "coco",
    *,
    class_scores: str | Path | None = None,
    boxes: str | None = None,
    heatmaps: bool = False,
    overlays: bool = False,
    overwrite: bool = False,
    val_share: float | None = None,
    flat: bool = False,
    copies: bool = False,
    batch_size: int = 8,
    reporter: Reporter = SILENT,
    options: LocalizeOptions = DEFAULT_OPTIONS,
    **changes: Unpack[OptionChanges],
) -> Localized:
    """Write the boxes of localization maps in files, as ``cdtr.localize`` does for a run.

    Args:
        maps: a folder of ``.npy`` or PNG files, named as the images are.
        images: image files, folders (searched at any depth) or patterns.
        out: the folder to write.
        formats: names of formats, a sequence or with commas between.
        class_scores: a CSV file with ``image_id`` and a column a class; without it an image's class is its folder.
        boxes: boxes of some of the images, which choose the threshold; without them the maps alone do.
        heatmaps: also write a coloured heat map of each image.
        overlays: also write each image with its heat map and boxes.
        overwrite: replace what an earlier call wrote.
        val_share: for the format yolo, the share of the images to measure on, by default 0.2.
        flat: for the format yolo, no folders below a split.
        copies: for the format yolo, copy the images rather than link them.
        batch_size: images in one step.
        reporter: takes notes and progress.
        options: how to localize; a threshold here is taken as it is.
        changes: single fields of ``LocalizeOptions``.

    Raises:
        ConfigError: an option is wrong, or a file is there already.
        DataError: a map is missing or cannot be used, or no image can be read.
    """
    output = OutputFiles(
        out=Path(out),
        formats=split_formats(formats),
        heatmaps=heatmaps,
        overlays=overlays,
        overwrite=overwrite,
        val_share=val_share,
        flat=flat,
        copies=copies,
    )
    chosen = options.updated(**changes)
    if chosen.tiles is not None:
        raise ConfigError("maps of your own are of whole images: leave `tiles=` out")
    output.require_absent()
    found = expand_images(as_arguments(images))
    folder = Path(maps)
    localizer = maps_localizer(folder, found, class_scores, boxes, chosen.threshold, reporter)
    require_scores(localizer, output, chosen, str(maps))
    return write_localizations(localizer, found, output, chosen, batch_size, f"maps/{folder.name}", reporter)


def maps_localizer(
    folder: Path,
    images: Sequence[tuple[str, Path]],
    class_scores: str | Path | None = None,
    boxes: str | None = None,
    threshold: float | None = None,
    reporter: Reporter = SILENT,
) -> Localizer:
    """Return a localizer that reads its maps from the files of a folder.

    The class of an image is the best of ``class_scores``, else the name of its folder. The threshold is the one given,
    else the one that meets ``boxes`` best, else one that the maps alone choose.
    """
    from cdtr.evaluation.predictions import read_class_scores, score_columns

    if not folder.is_dir():
        raise DataError(f"no folder {folder}: expected maps as .npy or .png files, named as the images are")
    if threshold is not None and boxes is not None:
        raise ConfigError("`threshold=` is given, so there is none to choose by `boxes=`: give one of them")
    scores: ClassScores | None = None
    if class_scores is not None:
        names = score_columns(Path(class_scores))
        scores = read_class_scores(Path(class_scores), names)
        missing = next((image_id for image_id, _ in images if image_id not in scores), None)
        if missing is not None:
            raise DataError(f"{class_scores} has no class scores of {missing}: expected a line for every image")
        logits: dict[str, FloatArray] = {image_id: scores[image_id] for image_id, _ in images}
    else:
        folders = {image_id: path.absolute().parent.name or "object" for image_id, path in images}
        names = tuple(sorted(set(folders.values())))
        # A class that is certain: the softmax of these is 1 and 0.
        logits = {image_id: np.where(np.array(names) == name, 0.0, -np.inf) for image_id, name in folders.items()}
    samples = [Sample(image_id, path, int(logits[image_id].argmax())) for image_id, path in images]
    files = find_maps(folder, samples)
    model = MapsModel(names, files, logits, Config().data.max_pixels)
    if threshold is None:
        threshold = _choose_threshold(model, samples, scores, boxes, reporter)
    return Localizer(model, given_threshold(threshold))


def _choose_threshold(
    model: MapsModel, samples: Sequence[Sample], scores: ClassScores | None, boxes: str | None, reporter: Reporter
) -> float:
    """Choose the threshold by boxes of some of the images, or by the maps alone, and report which."""
    from cdtr.evaluation import calibrate_predictions, calibrate_predictions_label_free, find_protocol
    from cdtr.evaluation.calibration import LABEL_FREE
    from cdtr.evaluation.predictions import read_predictions

    n_classes = len(model.class_names)
    sizes = _sizes(samples, model.max_pixels)
    readable = [sample for sample in samples if sample.image_id in sizes]
    annotate = None
    if boxes is not None:
        annotate, account = _reader(boxes, readable, model.class_names)
        readable = [sample for sample in readable if annotate(sample) is not None]
        for line in account_lines([account]):
            reporter.note(f"read: {line}")
    predictions = read_predictions(
        model.files, readable, lambda sample: sizes[sample.image_id], n_classes, scores, normalise=True
    )
    protocols = [find_protocol("wsol")]
    with reporter.progress("choosing the threshold", len(readable)) as move:
        if annotate is not None:
            (found,) = calibrate_predictions(predictions, annotate, protocols, move)
            basis = f"GT-known Loc {found.gt_known_loc:.1f}%, on {found.n_images} images"
        else:
            (found,) = calibrate_predictions_label_free(predictions, protocols, move)
            basis = f"{LABEL_FREE}; `threshold=` or `boxes=` choose another"
        reporter.note(f"threshold {found.threshold:.3g}: {basis}")
    return found.threshold


def _sizes(samples: Sequence[Sample], max_pixels: int) -> dict[str, tuple[int, int]]:
    """Return height and width by image id, without the images whose header cannot be read."""
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
    """Return the reader of boxes of the images, and the account of what it has read so far."""
    root = images_root([(sample.image_id, sample.path) for sample in samples])
    annotate, account = open_boxes(Path(boxes), Images(root, samples, class_names, named=True))
    return Forgiving(annotate, (Account("images"), account)), account
