"""Train a second stage on the maps of a trained run: sharper boxes, still from class labels alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from PIL import Image

from cdtr.api import as_seen, choose_threshold, find_device, load_model
from cdtr.config import REFINED, Config, RefineConfig, ViewName, load_config, switch_conflict
from cdtr.data.empty_classes import empty_labels
from cdtr.data.loader import eval_loader
from cdtr.data.pixels import View
from cdtr.errors import ConfigError, DataError
from cdtr.evaluation.calibration import halfway_threshold
from cdtr.evaluation.forward import predict
from cdtr.files import atomic_folder, hash_file, write_json
from cdtr.json_tree import field, load_json, numbers
from cdtr.localization.maps import normalise_maps
from cdtr.records import Annotation, DataSource, Sample
from cdtr.runs import TARGETS, RunFolder
from cdtr.training import loop
from cdtr.workflows.box_targets import box_target, filled
from cdtr.workflows.opening import DataLike, RunLike, fitted_samples, process_state, resolve_data, resolve_run
from cdtr.workflows.reporting import SILENT, Reporter, warn_of_left_out
from cdtr.workflows.train import Run, console_of, epochs_for, warn_of_training

Target: TypeAlias = Literal["mask", "box"]

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
    target: str | None = None,
    overrides: Sequence[str] = (),
    boxes: str | None = None,
    resume: bool = False,
    reporter: Reporter = SILENT,
) -> Run:
    """Train a second stage on a run's own maps of its training images, and join both in a new run.

    The targets are the maps of the images' labels, averaged with those of the mirrored images, or the boxes that these
    maps give. No true box is looked at, unless ``boxes`` names some.

    Args:
        run: the first run: its folder, or a hub id.
        data: the data set that it was trained on.
        out: the run folder to write; it is used as any other run.
        target: ``mask`` trains a segmenter on the maps, ``box`` a regressor on the boxes that they give; None is as
            ``refine.target`` says in ``overrides``, by default ``mask``.
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
    source = resolve_data(first, data, boxes, None, reporter)
    fit = fitted_samples(first, source)
    if first.path.resolve() == folder.path.resolve():
        raise ConfigError(f"{folder.path} is the first run itself: choose another `out=`")
    if not resume and folder.path.is_dir() and any(folder.path.iterdir()):
        raise ConfigError(f"{folder.path} is not empty: choose another `out=`, or go on with `resume=True`")
    if target is not None:
        overrides = (*overrides, f"refine.target={target}")
    targets = folder.path / TARGETS
    boxed = {} if boxes is None else _annotations(source, fit)
    if boxes is not None and not boxed:
        raise DataError(f"no image that {first.path} was fitted to has a box in {boxes}: expected boxes of such images")
    # A wrong setting is named before any work.
    kind = second_stage(first, targets, 0.5, len(fit), len(boxed), overrides).refine.target
    with process_state().main_process_first():
        if not (targets / _NOTES).is_file():
            write_targets(first, fit, boxed, targets, kind, reporter)
    threshold, used = _read_notes(targets / _NOTES, first, kind, None if boxes is None else len(boxed))
    settings = second_stage(first, targets, threshold, len(fit), used, overrides)
    refined = Run(loop.train(settings, source, folder.path, resume, console_of(reporter)).path, source)
    warn_of_training(refined, settings, reporter)
    return refined


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
    if _overridden(settings, overrides).refine.target == "box":
        settings = settings.updated(**_of_boxes(before))
    settings = _overridden(settings, overrides)
    conflict = switch_conflict(settings)
    if conflict:
        raise ConfigError(conflict)
    return settings


def _of_boxes(before: Config) -> dict[str, Any]:
    """The settings of a box regressor that differ from those of a segmenter.

    With a frozen CNN it looks at the features of whole images, which are kept from the first run. Its box is whole in
    one view: the mean of two maps with a box each would show what both or either cover.
    """
    cnn, default = before.backbone.cnn, RefineConfig()
    frozen = before.backbone.stem == "cnn" and cnn.frozen
    data = {"augment": "flip", "resize": list(before.data.input_size)} if frozen else {}
    return {
        "data": data,
        "refine": {"target": "box", "trimap": default.trimap, "share": default.share},
        "evaluation": {"view": "whole"},
    }


def _overridden(settings: Config, overrides: Sequence[str]) -> Config:
    if not overrides:
        return settings
    changed = load_config(None, overrides, settings.model_dump(mode="json"))
    for key in _OF_FIRST:
        own, asked = attrgetter(key)(settings), attrgetter(key)(changed)
        if asked != own:
            raise ConfigError(f"{key} = {asked!r}: a second stage keeps {own!r}, as the first run says; leave it out")
    return changed


def _read_notes(path: Path, first: RunFolder, kind: Target, boxed: int | None) -> tuple[float, int]:
    """Return the threshold of targets and how many come from boxes; DataError for those of something else."""
    notes, again = load_json(path, "notes on targets"), f"remove {path.parent}, or choose another `out=`"
    used: int = field(notes, "boxed", int, str(path))
    (threshold,) = numbers([notes.get("threshold")], f"{path}: threshold")
    if field(notes, "first", str, str(path)) != hash_file(first.weights):
        raise DataError(f"{path.parent} has maps of another run than {first.path}, or of other weights: {again}")
    if notes.get("target", "mask") != kind:
        raise DataError(f"{path.parent} has targets of another kind than refine.target {kind}: {again}")
    if boxed is not None and boxed != used:
        raise DataError(f"{path.parent} has {used} maps from boxes, now {boxed} images have boxes: {again}")
    return threshold, used


def write_targets(
    first: RunFolder,
    samples: Sequence[Sample],
    boxed: Mapping[str, Annotation],
    folder: Path,
    kind: Target = "mask",
    reporter: Reporter = SILENT,
) -> None:
    """Write the map of each image's label, or of its box, as an 8-bit PNG, and the threshold of object and background.

    All or none is written; the map of an image that cannot be read is a single 0. The threshold is the run's own, or
    where it has none, the mean over the maps of the value halfway from their mean to their brightest fifth.

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
            Image.fromarray(np.rint(255 * values).astype(np.uint8)).save(path)
            done(1)
        _mark_unread(temporary, samples)
        if not halves or faint == len(halves):
            raise DataError(f"the maps of {first.path} show nothing on its training images: train it again first")
        threshold = float(np.mean(halves)) if own is None else own.value
        used = sum(sample.image_id in boxed for sample in samples)
        notes = {"threshold": threshold, "boxed": used, "first": hash_file(first.weights), "target": kind}
        write_json(temporary / _NOTES, notes)


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
