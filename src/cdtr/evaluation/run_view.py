"""What a run's network sees of an image in evaluation and in use."""

from __future__ import annotations

from typing import Any, get_args

from cdtr.config import ViewName
from cdtr.errors import CheckpointError, ConfigError
from cdtr.evaluation.protocols import find_protocol
from cdtr.runs import RunFolder


def choose_view(run: RunFolder, given: str | None = None) -> ViewName:
    """The view given, that of the run's calibration, its protocol's, or the configured one, in that order.

    Args:
        run: A run folder.
        given: A name, None where nothing was asked for.

    Raises:
        ConfigError: For an unknown name.
        CheckpointError: For an unknown name in the run's calibration.
    """
    if given is not None:
        return _checked(given, "the view", ConfigError)
    if run.calibration() is not None:
        return calibrated_view(run)
    settings = run.config().evaluation
    return find_protocol(settings.protocol).view or settings.view


def calibrated_view(run: RunFolder) -> ViewName:
    """The view under which the run was calibrated: ``whole`` where the file does not say it, as older ones do."""
    stored = (run.calibration() or {}).get("view", "whole")
    origin = f"{run.calibration_file}: view"
    return _checked(stored, origin, CheckpointError, ", or run `cdtr calibrate` with `view=`")


def _checked(value: Any, origin: str, kind: type[CheckpointError] | type[ConfigError], advice: str = "") -> ViewName:
    names: tuple[ViewName, ...] = get_args(ViewName)
    for name in names:
        if value == name:
            return name
    raise kind(f"{origin} is {value!r}: choose one of {', '.join(names)}{advice}")
