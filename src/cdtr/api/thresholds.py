"""Which map threshold and which view a run is used with, and what scores its boxes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cdtr.config import ViewName, beyond_paper
from cdtr.data.empty_classes import empty_labels
from cdtr.errors import CheckpointError, ConfigError, DataError
from cdtr.localization.presence import EmptyClasses
from cdtr.localization.quality import BoxQuality
from cdtr.localization.tile_grid import TileScale
from cdtr.runs import RunFolder
from cdtr.threshold import Threshold, ThresholdSource

if TYPE_CHECKING:
    from cdtr.data.pixels import View
    from cdtr.evaluation import Protocol
    from cdtr.evaluation.protocols import Published

# Zhou et al. 2016 cut class activation maps at 20% of their maximum, and much of the literature kept that.
DEFAULT_THRESHOLD = 0.2


def choose_threshold(run: RunFolder, given: Threshold | float | None = None) -> Threshold | None:
    """Return the map threshold of a run: the one given, else the calibrated, else the configured one.

    Args:
        run: A run folder.
        given: A threshold that goes before the run's own.

    Returns:
        The threshold and where it is from; None where there is none.

    Raises:
        ConfigError: The given threshold is outside of [0, 1).
        CheckpointError: The calibrated threshold is outside of [0, 1).
    """
    if given is not None:
        checked = given if isinstance(given, Threshold) else Threshold(given)
        given_threshold(checked.value)
        return checked
    calibration = run.calibration()
    if calibration is not None:
        value = _checked_threshold(calibration.get("threshold"), str(run.calibration_file), CheckpointError)
        return _calibrated(value, calibration)
    configured = run.config().evaluation.threshold
    return None if configured is None else Threshold(configured, ThresholdSource.CONFIGURED)


def choose_view(run: RunFolder, given: str | None = None) -> ViewName:
    """Return what the run's network sees of an image; see ``cdtr.evaluation.run_view``."""
    from cdtr.evaluation import run_view

    return run_view.choose_view(run, given)


def find_view(run: RunFolder, given: str | None = None) -> View:
    """Return the view of ``choose_view`` at the sizes of the run's images."""
    from cdtr.data.pixels import View

    return View.of(choose_view(run, given), run.config().data)


def calibrated_view(run: RunFolder) -> ViewName:
    """Return the view that the run was calibrated under; see ``cdtr.evaluation.run_view``."""
    from cdtr.evaluation import run_view

    return run_view.calibrated_view(run)


def view_threshold(run: RunFolder, given: float | None, view: ViewName) -> Threshold | None:
    """Return ``choose_threshold`` for a view.

    Raises:
        ConfigError: No threshold is given, and the run was calibrated under another view.
    """
    require_view(run, given, view)
    return choose_threshold(run, given)


def require_view(run: RunFolder, given: Threshold | float | None, view: ViewName) -> None:
    """Raise ConfigError where no threshold is given and the run was calibrated under another view."""
    if given is not None or run.calibration() is None or calibrated_view(run) == view:
        return
    from cdtr.evaluation import find_protocol

    own = find_protocol(run.config().evaluation.protocol)
    anew = "" if own.view else f", or calibrate anew with `cdtr calibrate {run.path} --data DATA --view {view}`"
    raise ConfigError(
        f"{run.path} was calibrated for the view {calibrated_view(run)}, not {view}: leave `view=` out, give "
        f"`threshold=`{anew}"
    )


def calibrated_threshold(run: RunFolder) -> float | None:
    """Return the threshold that `cdtr calibrate` stored, at which scores of boxes were fitted; None before that.

    Raises:
        CheckpointError: It is outside of [0, 1).
    """
    calibration = run.calibration()
    if calibration is None:
        return None
    return _checked_threshold(calibration.get("threshold"), str(run.calibration_file), CheckpointError)


def scores_misfit(fitted_at: float | None, threshold: float) -> str | None:
    """Return why scores of boxes do not fit the boxes of a threshold, in words; None where they do.

    Args:
        fitted_at: The threshold of the boxes that the scores were fitted on; None where that is not known.
        threshold: The one in use.
    """
    if fitted_at is None or math.isclose(fitted_at, threshold, abs_tol=1e-6):
        return None
    return f"they were fitted at the calibrated threshold {fitted_at:.3g}, and the one in use is {threshold:.3g}"


def given_threshold(given: float) -> float:
    """Return a threshold that is in [0, 1); raise ConfigError for another one."""
    return _checked_threshold(given, "the threshold", ConfigError)


def protocol_threshold(
    run: RunFolder,
    protocol: Protocol,
    data_name: str,
    given: Threshold | float | None = None,
    view: ViewName | None = None,
) -> Threshold | None:
    """Return the map threshold under a protocol.

    It is the one given, else the one published for the run's method on the full data set, else the calibrated, else the
    configured one. A threshold of one protocol says nothing under another, nor one of a view under another view:
    the run's configured threshold counts for the run's own protocol alone, and a calibrated one for its own view.

    Args:
        run: A run folder.
        protocol: The protocol.
        data_name: The name of the data set's format, such as ``cub``.
        given: A threshold that goes before all others.
        view: What the network sees; None takes what the protocol says, else the run's view.

    Returns:
        The threshold and where it is from; None where there is none.

    Raises:
        ConfigError: The given threshold is outside of [0, 1).
        CheckpointError: The calibrated threshold is outside of [0, 1).
    """
    if given is not None:
        return choose_threshold(run, given)
    published = protocol.published.get(data_name)
    used = view or protocol.view or choose_view(run)
    if published is not None and published.view == used and _is_published_for(published, run):
        detail = f"protocol {protocol.name} for {published.method} on {data_name}"
        return Threshold(published.threshold, ThresholdSource.PUBLISHED, detail)
    own, calibration = protocol.name == run.config().evaluation.protocol, run.calibration()
    if calibration is None:
        return choose_threshold(run) if own else None
    if own:
        return choose_threshold(run) if calibrated_view(run) == used else None
    try:
        found = calibration["by_protocol"][protocol.name]
        value, seen = found["threshold"], found.get("view", "whole")
    except (KeyError, TypeError, AttributeError):
        return None
    if seen != used:
        return None
    checked = _checked_threshold(value, f"{run.calibration_file} ({protocol.name})", CheckpointError)
    return _calibrated(checked, calibration)


def _is_published_for(published: Published, run: RunFolder) -> bool:
    """Whether a run is the published method, with its modules and nothing beyond the paper, on the full data set.

    SBA may be off: it only trains.
    """
    config = run.config()
    same = config.method == published.method and len(run.class_names()) == published.classes
    whole = published.method != "cdtr" or not any(
        module.enabled is False for module in (config.csm, config.ocm, config.ski)
    )
    return same and whole and not beyond_paper(config)


def box_quality(run: RunFolder) -> BoxQuality | None:
    """Return what scores the run's boxes; None for a run that was not calibrated with boxes.

    Raises:
        CheckpointError: The stored scores are damaged.
    """
    stored = (run.calibration() or {}).get("box_scores")
    return None if stored is None else BoxQuality.from_json(stored, len(run.class_names()))


def tile_scale(run: RunFolder, view: ViewName) -> TileScale:
    """Return what chooses the tiles of large images under a view.

    The span of a typical map is that of the calibration, if it was made under the same view.
    """
    span = (run.calibration() or {}).get("map_span") if calibrated_view(run) == view else None
    return TileScale(find_view(run, view).size_hw, run.trained_hw(), span)


def empty_classes(run: RunFolder, view: ViewName) -> EmptyClasses | None:
    """Return a run's classes without an object, and the rule by which an image gets no box.

    Args:
        run: A run folder.
        view: What the network sees; the calibrated probability counts for the view of the calibration alone.

    Returns:
        The classes; None where every class has an object.

    Raises:
        CheckpointError: The run has no such classes, or the stored probability is damaged.
    """
    names = run.config().data.empty_classes
    if not names:
        return None
    stored = (run.calibration() or {}).get("has_object") if calibrated_view(run) == view else None
    threshold = None
    if stored is not None:
        value, origin = stored.get("threshold"), f"{run.calibration_file} (has_object)"
        threshold = _checked_threshold(value, origin, CheckpointError)
    try:
        return EmptyClasses(empty_labels(names, run.class_names(), str(run.path)), threshold)
    except DataError as error:
        raise CheckpointError(str(error)) from error


def _calibrated(value: float, calibration: Mapping[str, Any]) -> Threshold:
    images = f"{calibration.get('n_images')} {calibration.get('source', 'images')}"
    saw_boxes = calibration.get("curve", ()) is not None
    return Threshold(value, ThresholdSource.CALIBRATED if saw_boxes else ThresholdSource.LABEL_FREE, images)


def _checked_threshold(value: Any, origin: str, kind: type[CheckpointError] | type[ConfigError]) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
        raise kind(f"{origin} is {value!r}: expected a number from 0 up to, not including, 1")
    return float(value)
