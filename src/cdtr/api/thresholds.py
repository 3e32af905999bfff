"""Which map threshold counts, and where it is from; and what scores the boxes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cdtr.errors import CheckpointError, ConfigError
from cdtr.localization.quality import BoxQuality
from cdtr.runs import RunFolder

if TYPE_CHECKING:
    from cdtr.evaluation import Protocol

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
    run: RunFolder, protocol: Protocol, data_name: str, given: float | None = None
) -> tuple[float | None, str | None]:
    """The map threshold under a protocol and where it is from.

    Given, published with the protocol for that data set, calibrated for the protocol, configured, in that order; None
    where there is none. A threshold of one protocol says nothing under another, so the run's configured one counts for
    the run's own protocol alone.
    """
    if given is None and data_name in protocol.published:
        return protocol.published[data_name], f"published with protocol {protocol.name} for {data_name}"
    own = protocol.name == run.config().evaluation.protocol
    calibration = run.calibration()
    if given is not None or own or calibration is None:
        return choose_threshold(run, given) if given is not None or own else (None, None)
    try:
        value = calibration["by_protocol"][protocol.name]["threshold"]
    except (KeyError, TypeError):
        return None, None
    threshold = _checked_threshold(value, f"{run.calibration_file} ({protocol.name})", CheckpointError)
    return threshold, _calibrated_on(calibration)


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
