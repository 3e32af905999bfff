"""What a second stage learns: the maps of a first run, or boxes, in the place of its training images' objects."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
from PIL import Image

from cdtr.api import as_seen, choose_threshold, find_device, load_model
from cdtr.config import ViewName
from cdtr.data.empty_classes import empty_labels
from cdtr.data.loader import eval_loader
from cdtr.data.pixels import View
from cdtr.errors import DataError
from cdtr.evaluation.calibration import halfway_threshold
from cdtr.evaluation.forward import predict
from cdtr.files import atomic_folder, hash_file, write_json
from cdtr.image_files.reading import read_size
from cdtr.json_tree import field, load_json, numbers
from cdtr.localization.maps import normalise_maps
from cdtr.records import Annotation, DataSource, FloatArray, Sample
from cdtr.runs import RunFolder
from cdtr.threshold import ThresholdSource
from cdtr.workflows.box_targets import box_target, filled
from cdtr.workflows.reporting import SILENT, Reporter, warn_of_left_out

Target: TypeAlias = Literal["mask", "box"]

NOTES = "targets.json"  # beside the targets: their threshold, and how many come from boxes
VIEW: ViewName = "mirrored"
_FAINTEST = 0.02  # deviation of a map's values over the image, below which it shows nothing


def read_notes(path: Path, first: RunFolder, kind: Target, boxed: Mapping[str, Annotation] | None) -> tuple[float, int]:
    """Read the notes on targets.

    Args:
        path: the notes.
        first: the run whose maps the targets should be.
        kind: what they should be.
        boxed: true boxes by image id; None where a training goes on without naming them.

    Returns:
        The threshold between object and background, and how many targets come from boxes.

    Raises:
        DataError: they are of another run, kind or other boxes.
    """
    notes, again = load_json(path, "notes on targets"), f"remove {path.parent}, or choose another `out=`"
    used: int = field(notes, "boxed", int, str(path))
    (threshold,) = numbers([notes.get("threshold")], f"{path}: threshold")
    if field(notes, "first", str, str(path)) != hash_file(first.weights):
        raise DataError(f"{path.parent} has maps of another run than {first.path}, or of other weights: {again}")
    if notes.get("target", "mask") != kind:
        raise DataError(f"{path.parent} has targets of another kind than refine.target {kind}: {again}")
    if boxed is not None and len(boxed) != used:
        raise DataError(f"{path.parent} has {used} maps from boxes, now {len(boxed)} images have boxes: {again}")
    stored = notes.get("boxes_sha256")  # targets from before it was noted have none
    if boxed is not None and stored is not None and stored != _hash_boxes(boxed):
        raise DataError(f"{path.parent} has maps from other boxes of {used} images than those named now: {again}")
    return threshold, used


def annotations_with_boxes(source: DataSource, samples: Sequence[Sample]) -> dict[str, Annotation]:
    """Return the true boxes, by image id, of those of the samples that have some."""
    found = {sample.image_id: source.annotate(sample) for sample in samples}
    return {name: one for name, one in found.items() if one is not None and len(one.boxes_xyxy)}


def noted_kind(path: Path) -> str | None:
    """The kind of targets that notes name; None where there are none, or they are from before kinds were noted."""
    notes = load_json(path, "notes on targets") if path.is_file() else None
    return next((kind for kind in ("mask", "box") if isinstance(notes, Mapping) and notes.get("target") == kind), None)


def _hash_boxes(boxed: Mapping[str, Annotation]) -> str:
    """SHA-256 of the ids of images and their boxes to the hundredth of a pixel, whatever the order of either."""
    found = sorted([name, sorted(np.round(one.boxes_xyxy, 2).tolist())] for name, one in boxed.items())
    return hashlib.sha256(json.dumps(found).encode()).hexdigest()


def write_targets(
    first: RunFolder,
    samples: Sequence[Sample],
    boxed: Mapping[str, Annotation],
    folder: Path,
    kind: Target = "mask",
    reporter: Reporter = SILENT,
) -> None:
    """Write the map of each image's label, or of its box, as an 8-bit PNG, and the threshold of object and background.

    All or none is written; the map of an image that cannot be read is a single 0. The threshold is the run's own where
    it was calibrated with boxes or is set, else the label-free one of these very maps: the mean of
    ``halfway_threshold``.

    Args:
        first: the run whose maps they are.
        samples: its training images.
        boxed: true boxes by image id, which replace the maps of these images.
        folder: where to write.
        kind: ``mask``, or ``box`` for the box that the map gives at the run's threshold, or else its own.
        reporter: takes progress.

    Raises:
        DataError: the maps show nothing.
    """
    config, device = first.config(), find_device(None)
    view = View.of(VIEW, config.data)
    method = as_seen(load_model(first.path, device), view)
    batches = eval_loader(samples, config, view=VIEW, on_broken=warn_of_left_out(reporter))
    own = choose_threshold(first)
    if own is not None and own.source is ThresholdSource.LABEL_FREE:
        own = None
    empty = empty_labels(config.data.empty_classes, first.class_names(), str(first.path))
    halves, faint = [], 0
    with (
        atomic_folder(folder, NOTES) as temporary,
        reporter.progress("maps of the first run", len(samples)) as done,
    ):
        for found in predict(method, batches, device):
            values = normalise_maps(np.asarray(found.label_map, dtype=np.float64))
            half = halfway_threshold(values.astype(np.float32))
            if found.label not in empty:
                faint += bool(values.std() < _FAINTEST)
                halves.append(half)
            true, is_empty = boxed.get(found.sample.image_id), found.label in empty
            if kind == "box":
                values = box_target(values, half if own is None else own.value, true, found.size_hw, is_empty)
            elif true is not None:
                values = filled(true.boxes_xyxy, found.size_hw, (values.shape[0], values.shape[1]))
            elif is_empty:
                values = np.zeros_like(values)  # all of it is background
            path = temporary / f"{found.sample.image_id}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            _write_map(path, values)
            done(1)
        _mark_unread(temporary, samples)
        if not halves or faint == len(halves):
            raise DataError(f"the maps of {first.path} show nothing on its training images: train it again first")
        threshold = float(np.mean(halves)) if own is None else own.value
        used = sum(sample.image_id in boxed for sample in samples)
        write_json(temporary / NOTES, _notes(first, threshold, boxed, used, kind))


def copy_with_boxes(
    first: RunFolder,
    samples: Sequence[Sample],
    boxed: Mapping[str, Annotation],
    maps: Path,
    folder: Path,
    kind: Target = "mask",
) -> float:
    """Copy targets that ``write_targets`` wrote without boxes, with true boxes in place of some of them.

    Args:
        first: the run whose maps they are.
        samples: its training images.
        boxed: true boxes by id of some of them.
        maps: the folder of the targets.
        folder: where to write.
        kind: what they are.

    Returns:
        The threshold between object and background.
    """
    shutil.copytree(maps, folder)
    threshold, _ = read_notes(folder / NOTES, first, kind, None)
    for sample in (sample for sample in samples if sample.image_id in boxed):
        path = folder / f"{sample.image_id}.png"
        with Image.open(path) as written:
            cells_hw = written.height, written.width
        if cells_hw != (1, 1):  # else its pixels are broken
            true, size_hw = boxed[sample.image_id], read_size(sample.path, first.config().data.max_pixels)
            if kind == "box":
                values = box_target(np.zeros(cells_hw), threshold, true, size_hw, False)
            else:
                values = filled(true.boxes_xyxy, size_hw, cells_hw)
            _write_map(path, values)
    write_json(folder / NOTES, _notes(first, threshold, boxed, len(boxed), kind))
    return threshold


def _notes(
    first: RunFolder, threshold: float, boxed: Mapping[str, Annotation], used: int, kind: Target
) -> dict[str, object]:
    told = {"threshold": threshold, "boxed": used, "boxes_sha256": _hash_boxes(boxed)}
    return {**told, "first": hash_file(first.weights), "target": kind}


def _write_map(path: Path, values: FloatArray) -> None:
    Image.fromarray(np.rint(255 * values).astype(np.uint8)).save(path)


def _mark_unread(folder: Path, samples: Sequence[Sample]) -> None:
    """Write a map of one value for images without one: their pixels are broken, and training leaves them out too."""
    for sample in samples:
        path = folder / f"{sample.image_id}.png"
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (1, 1)).save(path)
