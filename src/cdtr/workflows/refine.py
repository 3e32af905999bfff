"""Train a second stage on the maps of a trained run: sharper boxes, still from class labels alone."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from operator import attrgetter
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from cdtr.api import as_seen, choose_threshold, find_device, load_model
from cdtr.config import REFINED, Config, ViewName, load_config, switch_conflict
from cdtr.data.empty_classes import empty_labels
from cdtr.data.loader import eval_loader
from cdtr.data.pixels import View
from cdtr.errors import ConfigError, DataError
from cdtr.evaluation.calibration import halfway_threshold
from cdtr.evaluation.forward import predict
from cdtr.files import atomic_folder, hash_file, write_json
from cdtr.image_files.reading import read_size
from cdtr.json_tree import field, load_json, numbers
from cdtr.localization.maps import normalise_maps
from cdtr.records import Annotation, DataSource, FloatArray, Sample
from cdtr.runs import TARGETS, RunFolder
from cdtr.threshold import ThresholdSource
from cdtr.training import loop
from cdtr.training.prepare import check_run_folder
from cdtr.workflows.opening import DataLike, RunLike, fitted_samples, process_state, resolve_data, resolve_run
from cdtr.workflows.reporting import SILENT, Reporter, warn_of_left_out
from cdtr.workflows.train import Run, console_of, epochs_for, settle_threshold, warn_of_training

_NOTES = "targets.json"  # beside the targets: their threshold, and how many come from boxes
_VIEW: ViewName = "mirrored"
_IMAGES_SEEN = 11_000  # over all epochs
_LARGER = 9 / 8  # the side of images before they are cropped
_OF_FIRST = ("method", "seed", "refine.first", "refine.method", "data.prior_maps", "data.input_size", "data.holdout")
_FAINTEST = 0.02  # deviation of a map's values over the image, below which it shows nothing


def refine(
    run: RunLike,
    data: DataLike,
    out: str | Path,
    *,
    overrides: Sequence[str] = (),
    boxes: str | None = None,
    resume: bool = False,
    reporter: Reporter = SILENT,
) -> Run:
    """Train a segmenter on a run's own maps of its training images, and join both in a new run.

    The targets are the maps of the images' labels, averaged with those of the mirrored images. No true box is looked
    at, unless ``boxes`` names some.

    Args:
        run: the first run: its folder, or a hub id.
        data: the data set that it was trained on.
        out: the run folder to write; it is used as any other run.
        overrides: settings over those of the second stage, such as ``train.epochs=4``.
        boxes: a file or folder of boxes of some training images, such as reviewed ones: they replace the first run's
            maps of these images, and the recipe's label says so.
        resume: go on with a training that was stopped.
        reporter: takes notes and progress.

    Returns:
        The new run.

    Raises:
        ConfigError: a setting is wrong, or something is in the way of ``out``.
        CheckpointError: the first run is not finished.
        DataError: the data set is not that of the first run, the first run's maps show nothing, or a training that goes
            on has maps of another run or of other boxes.

    Example:
        ``cdtr.refine("runs/one", "photos", "runs/two")``
    """
    first, folder = resolve_run(run), RunFolder(out)
    if first.path.resolve() == folder.path.resolve():
        raise ConfigError(f"{folder.path} is the first run itself: choose another `out=`")
    if not resume and folder.path.is_dir() and any(folder.path.iterdir()):
        raise ConfigError(f"{folder.path} is not empty: choose another `out=`, or go on with `resume=True`")
    check_run_folder(folder, resume)
    source = resolve_data(first, data, boxes, None, reporter)
    fit = fitted_samples(first, source)
    targets = folder.path / TARGETS
    boxed = {} if boxes is None else _annotations(source, fit)
    if boxes is not None and not boxed:
        raise DataError(f"no image that {first.path} was fitted to has a box in {boxes}: expected boxes of such images")
    second_stage(first, targets, 0.5, len(fit), len(boxed), overrides)  # a wrong setting is named before any work
    with process_state().main_process_first():
        if not (targets / _NOTES).is_file():
            write_targets(first, fit, boxed, targets, reporter)
    threshold, used = _read_notes(targets / _NOTES, first, None if boxes is None else boxed)
    settings = second_stage(first, targets, threshold, len(fit), used, overrides)
    refined = Run(loop.train(settings, source, folder.path, resume, console_of(reporter)).path, source)
    warn_of_training(refined, settings, reporter)
    settle_threshold(refined, reporter)
    return refined


def refine_with(
    first: RunFolder,
    source: DataSource,
    fit: Sequence[Sample],
    boxed: Mapping[str, Annotation],
    maps: Path,
    out: Path,
    overrides: Sequence[str] = (),
) -> RunFolder:
    """Refine with true boxes in place of some of the maps that ``write_targets`` wrote without any.

    Args:
        first: the first run.
        source: the data set that it was trained on.
        fit: its training images.
        boxed: true boxes by id of some of them.
        maps: the folder of the maps.
        out: the run folder to write.
        overrides: settings over those of the second stage.

    Returns:
        The new run.
    """
    targets = out / TARGETS
    shutil.copytree(maps, targets)
    threshold, _ = _read_notes(targets / _NOTES, first, None)
    for sample in (sample for sample in fit if sample.image_id in boxed):
        path = targets / f"{sample.image_id}.png"
        with Image.open(path) as written:
            cells_hw = written.height, written.width
        if cells_hw != (1, 1):  # else its pixels are broken
            size_hw = read_size(sample.path, first.config().data.max_pixels)
            _write_map(path, _filled(boxed[sample.image_id], size_hw, cells_hw))
    write_json(targets / _NOTES, {"threshold": threshold, "boxed": len(boxed), "first": hash_file(first.weights)})
    settings = second_stage(first, targets, threshold, len(fit), len(boxed), overrides)
    return loop.train(settings, source, out, False, console_of(SILENT))


def second_stage(
    first: RunFolder, targets: Path, threshold: float, images: int, boxed: int, overrides: Sequence[str] = ()
) -> Config:
    """Return the settings of a second stage.

    Args:
        first: the first run.
        targets: the folder of its maps.
        threshold: of the targets, between object and background.
        images: the number of training images.
        boxed: how many of them have true boxes as targets.
        overrides: settings over these.

    Raises:
        ConfigError: a setting is unknown or wrong, or is that of the first run.
    """
    before = first.config()
    inner = before.refine.method if before.method == REFINED else before.method
    height, width = before.data.input_size
    taught = before.data.prior_maps_taught_with if before.data.prior_maps is not None else "labels"
    settings = before.updated(
        method=REFINED,
        sba={"enabled": False},
        refine={"first": str(first.path), "method": inner, "threshold": threshold},
        data={
            "prior_maps": str(targets),
            "prior_maps_taught_with": f"{taught} and {boxed} boxed images" if boxed else taught,
            "augment": "crop_flip",
            "resize": [round(height * _LARGER), round(width * _LARGER)],
        },
        train={
            "epochs": epochs_for(images, _IMAGES_SEEN),
            "batch_size": 32,
            "accumulation": 1,
            "lr": 2.0e-3,
            "lr_rule": "as_given",
            "min_lr": 1.0e-6,
            "weight_decay": 0.01,
            "schedule": "cosine",
            "warmup_epochs": 0.5,
            "balance": "none",
        },
        evaluation={"view": _VIEW, "threshold": None},
    )
    if overrides:
        settings = _overridden(settings, overrides)
    conflict = switch_conflict(settings)
    if conflict:
        raise ConfigError(conflict)
    return settings


def _overridden(settings: Config, overrides: Sequence[str]) -> Config:
    changed = load_config(None, overrides, settings.model_dump(mode="json"))
    for key in _OF_FIRST:
        own, asked = attrgetter(key)(settings), attrgetter(key)(changed)
        if asked != own:
            raise ConfigError(f"{key} = {asked!r}: a second stage keeps {own!r}, as the first run says; leave it out")
    return changed


def _read_notes(path: Path, first: RunFolder, boxed: Mapping[str, Annotation] | None) -> tuple[float, int]:
    """Return the threshold of targets and how many come from boxes; DataError for those of another run or boxes.

    boxed: true boxes by image id, None where a training goes on without naming them.
    """
    notes, again = load_json(path, "notes on targets"), f"remove {path.parent}, or choose another `out=`"
    used: int = field(notes, "boxed", int, str(path))
    (threshold,) = numbers([notes.get("threshold")], f"{path}: threshold")
    if field(notes, "first", str, str(path)) != hash_file(first.weights):
        raise DataError(f"{path.parent} has maps of another run than {first.path}, or of other weights: {again}")
    if boxed is not None and len(boxed) != used:
        raise DataError(f"{path.parent} has {used} maps from boxes, now {len(boxed)} images have boxes: {again}")
    stored = notes.get("boxes_sha256")  # targets from before it was noted have none
    if boxed is not None and stored is not None and stored != _hash_boxes(boxed):
        raise DataError(f"{path.parent} has maps from other boxes of {used} images than those named now: {again}")
    return threshold, used


def _hash_boxes(boxed: Mapping[str, Annotation]) -> str:
    """SHA-256 of the ids of images and their boxes to the hundredth of a pixel, whatever the order of either."""
    found = sorted([name, sorted(np.round(one.boxes_xyxy, 2).tolist())] for name, one in boxed.items())
    return hashlib.sha256(json.dumps(found).encode()).hexdigest()


def write_targets(
    first: RunFolder,
    samples: Sequence[Sample],
    boxed: Mapping[str, Annotation],
    folder: Path,
    reporter: Reporter = SILENT,
) -> None:
    """Write the map of each image's label as an 8-bit PNG, and the threshold between object and background.

    All or none is written; the map of an image that cannot be read is a single 0. The threshold is the run's own where
    it was calibrated with boxes or is set, else the label-free one of these very maps: the mean of
    ``halfway_threshold``.

    Args:
        first: the run whose maps they are.
        samples: its training images.
        boxed: true boxes by image id, which replace the maps of these images.
        folder: where to write.
        reporter: takes progress.

    Raises:
        DataError: the maps show nothing.
    """
    config, device = first.config(), find_device(None)
    view = View.of(_VIEW, config.data)
    method = as_seen(load_model(first.path, device), view)
    batches = eval_loader(samples, config, view=_VIEW, on_broken=warn_of_left_out(reporter))
    own = choose_threshold(first)
    empty = empty_labels(config.data.empty_classes, first.class_names(), str(first.path))
    halves, faint = [], 0
    with (
        atomic_folder(folder, _NOTES) as temporary,
        reporter.progress("maps of the first run", len(samples)) as done,
    ):
        for found in predict(method, batches, device):
            values = normalise_maps(np.asarray(found.label_map, dtype=np.float64))
            if found.label in empty:
                values = np.zeros_like(values)  # all of it is background
            else:
                faint += bool(values.std() < _FAINTEST)
                halves.append(halfway_threshold(values.astype(np.float32)))
            if found.sample.image_id in boxed:
                values = _filled(boxed[found.sample.image_id], found.size_hw, (values.shape[0], values.shape[1]))
            path = temporary / f"{found.sample.image_id}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            _write_map(path, values)
            done(1)
        _mark_unread(temporary, samples)
        if not halves or faint == len(halves):
            raise DataError(f"the maps of {first.path} show nothing on its training images: train it again first")
        label_free = own is None or own.source is ThresholdSource.LABEL_FREE
        threshold = float(np.mean(halves)) if own is None or label_free else own.value
        used = sum(sample.image_id in boxed for sample in samples)
        notes = {"threshold": threshold, "boxed": used, "boxes_sha256": _hash_boxes(boxed)}
        write_json(temporary / _NOTES, {**notes, "first": hash_file(first.weights)})


def _write_map(path: Path, values: FloatArray) -> None:
    Image.fromarray(np.rint(255 * values).astype(np.uint8)).save(path)


def _mark_unread(folder: Path, samples: Sequence[Sample]) -> None:
    """Write a map of one value for images without one: their pixels are broken, and training leaves them out too."""
    for sample in samples:
        path = folder / f"{sample.image_id}.png"
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (1, 1)).save(path)


def _annotations(source: DataSource, samples: Sequence[Sample]) -> dict[str, Annotation]:
    found = {sample.image_id: source.annotate(sample) for sample in samples}
    return {name: one for name, one in found.items() if one is not None and len(one.boxes_xyxy)}


def _filled(annotation: Annotation, size_hw: tuple[int, int], cells_hw: tuple[int, int]) -> FloatArray:
    """A map of (h, w) cells: the share of each cell that lies in a true box.

    Boxes in every cell leave one corner out, as a training scales maps from their minimum: theirs would say nothing.
    """
    height, width = size_hw
    mask = np.zeros((height, width), dtype=np.float32)
    for x0, y0, x1, y1 in np.rint(annotation.boxes_xyxy).astype(int):
        mask[max(0, y0) : y1, max(0, x0) : x1] = 1
    cells = torch.nn.functional.adaptive_avg_pool2d(torch.from_numpy(mask)[None], cells_hw)
    found: FloatArray = cells[0].numpy().astype(np.float64)
    if found.min() > 0:
        found[0, 0] = 0
    return found
