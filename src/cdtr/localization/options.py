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
        tiles: how images much larger than the network's input are cut: None not at all, ``auto`` into tiles as large
            as the training images, a number (or its digits) into square tiles of so many pixels a side. In such an
            image every region gets a box, and the smallest is a share of a tile.

    Raises:
        ConfigError: ``tiles`` is no size, or goes with several classes an image.
        DataError: a value is out of its range.
    """

    threshold: float | None = None
    label: int | None = None
    top_k: int = 1
    multi: bool = False
    min_area_share: float = 0.01
    min_score: float = 0.0
    masks: bool = False
    tiles: int | str | None = None

    def __post_init__(self) -> None:
        if self.threshold is not None and not 0 <= self.threshold < 1:
            raise DataError(f"map threshold {self.threshold}: expected a number from 0 up to 1, run `cdtr calibrate`")
        if self.top_k < 1:
            raise DataError(f"top_k {self.top_k}: expected at least one class")
        check_area_share(self.min_area_share)
        if not 0 <= self.min_score <= 1:
            raise DataError(f"smallest score {self.min_score}: expected a probability from 0 to 1")
        if self.tiles is not None:
            _check_tiles(self.tiles)
            if self.top_k > 1:
                raise ConfigError("each region has the class of its tiles: leave `top_k=` out, or `tiles=`")

    def updated(self, **changes: Unpack[OptionChanges]) -> LocalizeOptions:
        """Return the options with some of them changed; ConfigError for an unknown name."""
        known = asdict(self)
        for name in changes:
            if name not in known:
                raise ConfigError(f"unknown option {name!r}{did_you_mean(name, known)}: choose from {', '.join(known)}")
        values: dict[str, Any] = dict(changes)
        return replace(self, **values) if values else self


def _check_tiles(tiles: Any) -> None:
    digits = isinstance(tiles, str) and tiles.isascii() and tiles.isdecimal() and len(tiles) < 10
    number = int(tiles) if digits or (isinstance(tiles, int) and not isinstance(tiles, bool)) else 0
    if tiles != "auto" and number < 1:
        raise ConfigError(f"tiles {tiles!r}: expected auto, or the side of a tile in pixels such as 512")


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
    tiles: int | str | None
