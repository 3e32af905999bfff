"""Train a second stage on the maps of a trained run: sharper boxes, still from class labels alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any

from cdtr.config import REFINED, Config, RefineConfig, load_config, switch_conflict
from cdtr.errors import ConfigError, DataError
from cdtr.records import Annotation, DataSource, Sample
from cdtr.runs import TARGETS, RunFolder
from cdtr.training import loop
from cdtr.training.prepare import check_run_folder
from cdtr.workflows.opening import DataLike, RunLike, fitted_samples, process_state, resolve_data, resolve_run
from cdtr.workflows.refine_targets import (
    NOTES,
    VIEW,
    annotations_with_boxes,
    copy_with_boxes,
    noted_kind,
    read_notes,
    write_targets,
)
from cdtr.workflows.reporting import SILENT, Reporter
from cdtr.workflows.train import Run, console_of, epochs_for, settle_threshold, warn_of_training

_IMAGES_SEEN = 11_000  # over all epochs
_OF_A_BOX = 0.5  # the threshold at which the map of a box gives the box back
_LARGER = 9 / 8  # the side of images before they are cropped
_OF_FIRST = ("method", "seed", "refine.first", "refine.method", "data.prior_maps", "data.input_size", "data.holdout")


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
    if first.path.resolve() == folder.path.resolve():
        raise ConfigError(f"{folder.path} is the first run itself: choose another `out=`")
    if not resume and folder.path.is_dir() and any(folder.path.iterdir()):
        raise ConfigError(f"{folder.path} is not empty: choose another `out=`, or go on with `resume=True`")
    check_run_folder(folder, resume)
    source = resolve_data(first, data, boxes, None, reporter)
    fit = fitted_samples(first, source)
    targets = folder.path / TARGETS
    if target is None and resume:
        target = noted_kind(targets / NOTES)
    if target is not None:
        overrides = (f"refine.target={target}", *overrides)
    boxed = {} if boxes is None else annotations_with_boxes(source, fit)
    if boxes is not None and not boxed:
        raise DataError(f"no image that {first.path} was fitted to has a box in {boxes}: expected boxes of such images")
    # A wrong setting is named before any work.
    kind = second_stage(first, targets, 0.5, len(fit), len(boxed), overrides).refine.target
    with process_state().main_process_first():
        if not (targets / NOTES).is_file():
            write_targets(first, fit, boxed, targets, kind, reporter)
    threshold, used = read_notes(targets / NOTES, first, kind, None if boxes is None else boxed)
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
    kind = second_stage(first, targets, 0.5, len(fit), len(boxed), overrides).refine.target
    threshold = copy_with_boxes(first, fit, boxed, maps, targets, kind)
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
            "repeats": 1,
            "resize": [round(height * _LARGER), round(width * _LARGER)],
        },
        train={
            "epochs": epochs_for(images, _IMAGES_SEEN),
            "batch_size": 32,
            "accumulation": 1,
            "lr": 2.0e-3,
            "lr_rule": "as_given",
            "optimiser": "adamw",
            "head_lr": 1.0,
            "min_lr": 1.0e-6,
            "weight_decay": 0.01,
            "schedule": "cosine",
            "warmup_epochs": 0.5,
            "balance": "none",
        },
        evaluation={"view": VIEW, "threshold": None},
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
        "evaluation": {"view": "whole", "threshold": _OF_A_BOX},
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
