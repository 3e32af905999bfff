"""Which map threshold counts, where it is from, and under which view; and what scores the boxes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cdtr.config import ViewName, beyond_paper
from cdtr.errors import CheckpointError, ConfigError
from cdtr.localization.quality import BoxQuality
from cdtr.runs import RunFolder

if TYPE_CHECKING:
    from cdtr.data.pixels import View
    from cdtr.evaluation import Protocol
    from cdtr.evaluation.protocols import Published

# Zhou et al. 2016 cut class activation maps at 20% of their maximum, and much of the literature kept that.
DEFAULT_THRESHOLD = 0.2


def choose_threshold(run: RunFolder, given: float | None = None) -> tuple[float | None, str | None]:
    """The map threshold and where it is from: given, the calibration, the configuration, in that order, or None."""
    if given is not None:
        return given_threshold(given), "given"
    calibration = run.calibration()
    if calibration is not None:
        return calibrated_threshold(run), _calibrated_on(calibration)
    configured = run.config().evaluation.threshold
    return configured, None if configured is None else "evaluation.threshold of the configuration"


def choose_view(run: RunFolder, given: str | None = None) -> ViewName:
    """What the run's network sees of an image; see ``cdtr.evaluation.run_view``."""
    from cdtr.evaluation import run_view

    return run_view.choose_view(run, given)


def find_view(run: RunFolder, given: str | None = None) -> View:
    """``choose_view`` at the sizes of the run's images."""
    from cdtr.data.pixels import View

    return View.of(choose_view(run, given), run.config().data)


def calibrated_view(run: RunFolder) -> ViewName:
    """The view under which the run was calibrated; see ``cdtr.evaluation.run_view``."""
    from cdtr.evaluation import run_view

    return run_view.calibrated_view(run)


def view_threshold(run: RunFolder, given: float | None, view: ViewName) -> tuple[float | None, str | None]:
    """``choose_threshold`` for a view; ConfigError where the run was calibrated under another one."""
    require_view(run, given, view)
    return choose_threshold(run, given)


def require_view(run: RunFolder, given: float | None, view: ViewName) -> None:
    """ConfigError where no threshold is given and the run's was calibrated under another view than ``view``."""
    if given is not None or run.calibration() is None or calibrated_view(run) == view:
        return
    from cdtr.evaluation import find_protocol

    own = find_protocol(run.config().evaluation.protocol)
    anew = "" if own.view else f", or calibrate anew with `cdtr calibrate {run.path} --data DATA --view {view}`"
    raise ConfigError(
        f"{run.path} was calibrated for the view {calibrated_view(run)}, not {view}: leave --view out, give "
        f"--threshold{anew}"
    )


def calibrated_threshold(run: RunFolder) -> float | None:
    """The threshold that `cdtr calibrate` stored, at which the scores of boxes were fitted; None before that."""
    calibration = run.calibration()
    if calibration is None:
        return None
    return _checked_threshold(calibration.get("threshold"), str(run.calibration_file), CheckpointError)


def scores_misfit(fitted_at: float | None, threshold: float) -> str | None:
    """Why scores of boxes do not fit the boxes of a threshold, in words; None where they do."""
    if fitted_at is None or math.isclose(fitted_at, threshold, abs_tol=1e-6):
        return None
    return f"they were fitted at the calibrated threshold {fitted_at:.3g}, and the one in use is {threshold:.3g}"


def given_threshold(given: float) -> float:
    """ConfigError for what is no threshold."""
    return _checked_threshold(given, "the threshold", ConfigError)


def protocol_threshold(
    run: RunFolder, protocol: Protocol, data_name: str, given: float | None = None, view: ViewName | None = None
) -> tuple[float | None, str | None]:
    """The map threshold under a protocol and where it is from.

    Given, published for the run's method on that full data set, calibrated for the protocol, configured, in that order;
    None where there is none. A threshold of one protocol says nothing under another, nor one of a view under another
    view: the run's configured one counts for the run's own protocol alone, and a calibrated one for its own view.
    view: what the network sees; by default what the protocol says, else what the run has.
    """
    if given is not None:
        return choose_threshold(run, given)
    published = protocol.published.get(data_name)
    used = view or protocol.view or choose_view(run)
    if published is not None and published.view == used and _is_published_for(published, run):
        return published.threshold, f"published with protocol {protocol.name} for {published.method} on {data_name}"
    own, calibration = protocol.name == run.config().evaluation.protocol, run.calibration()
    if calibration is None:
        return choose_threshold(run) if own else (None, None)
    if own:
        return choose_threshold(run) if calibrated_view(run) == used else (None, None)
    try:
        found = calibration["by_protocol"][protocol.name]
        value, seen = found["threshold"], found.get("view", "whole")
    except (KeyError, TypeError, AttributeError):
        return None, None
    if seen != used:
        return None, None
    threshold = _checked_threshold(value, f"{run.calibration_file} ({protocol.name})", CheckpointError)
    return threshold, _calibrated_on(calibration)


def _is_published_for(published: Published, run: RunFolder) -> bool:
    """Whether a run is the published method, with its modules and nothing that the paper has not, on the full data set.

    SBA, which is trained with alone, may be off.
    """
    config = run.config()
    same = config.method == published.method and len(run.class_names()) == published.classes
    whole = published.method != "cdtr" or not any(
        module.enabled is False for module in (config.csm, config.ocm, config.ski)
    )
    return same and whole and not beyond_paper(config)


def box_quality(run: RunFolder) -> BoxQuality | None:
    """What scores the run's boxes; None for a run that was not calibrated with boxes."""
    stored = (run.calibration() or {}).get("box_scores")
    return None if stored is None else BoxQuality.from_json(stored, len(run.class_names()))


def _calibrated_on(calibration: Mapping[str, Any]) -> str:
    return f"calibrated on {calibration.get('n_images')} {calibration.get('source', 'images')}"


def _checked_threshold(value: Any, origin: str, kind: type[CheckpointError] | type[ConfigError]) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
        raise kind(f"{origin} is {value!r}: expected a number from 0 up to, not including, 1")
    return float(value)
