"""The options of localization. The command line, the Python API, the server and ONNX files share them by name."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, TypedDict, Unpack

from cdtr.errors import ConfigError, DataError
from cdtr.localization.boxes import check_area_share
from cdtr.text import did_you_mean


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalizeOptions:
    """How images are localized.

    Attributes:
        threshold: share of the map's maximum that a box's region exceeds, in [0, 1); None takes the model's own.
        label: index of the class whose map is searched in every image; None searches the most probable classes.
        top_k: number of most probable classes whose maps are searched.
        multi: whether every region above the threshold gets a box, not only the largest. Without calibrated scores, a
            box's score is then the class probability times the mean of the map in its region.
        min_area_share: with ``multi``, smallest region as a share of the image's pixels, in [0, 1].
        min_score: boxes of a lower calibrated score are left out, in [0, 1]; needs a run with calibrated scores.
        masks: whether the region of each box is returned as well.

    Raises:
        DataError: a value is out of its range.
    """

    threshold: float | None = None
    label: int | None = None
    top_k: int = 1
    multi: bool = False
    min_area_share: float = 0.01
    min_score: float = 0.0
    masks: bool = False

    def __post_init__(self) -> None:
        if self.threshold is not None and not 0 <= self.threshold < 1:
            raise DataError(f"map threshold {self.threshold}: expected a number from 0 up to 1, run `cdtr calibrate`")
        if self.top_k < 1:
            raise DataError(f"top_k {self.top_k}: expected at least one class")
        check_area_share(self.min_area_share)
        if not 0 <= self.min_score <= 1:
            raise DataError(f"smallest score {self.min_score}: expected a probability from 0 to 1")

    def updated(self, **changes: Unpack[OptionChanges]) -> LocalizeOptions:
        """Return the options with some of them changed; ConfigError for an unknown name."""
        known = asdict(self)
        for name in changes:
            if name not in known:
                raise ConfigError(f"unknown option {name!r}{did_you_mean(name, known)}: choose from {', '.join(known)}")
        values: dict[str, Any] = dict(changes)
        return replace(self, **values) if values else self


DEFAULT_OPTIONS = LocalizeOptions()


class OptionChanges(TypedDict, total=False):
    """The fields of ``LocalizeOptions`` as keyword arguments, for type checkers."""

    threshold: float | None
    label: int | None
    top_k: int
    multi: bool
    min_area_share: float
    min_score: float
    masks: bool
