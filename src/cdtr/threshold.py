"""A map threshold and where it is from."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum


class ThresholdSource(Enum):
    """Where a map threshold is from."""

    GIVEN = "given"
    CALIBRATED = "calibrated"  # by `cdtr calibrate` with boxes, on images that are not scored
    LABEL_FREE = "label-free"  # from the maps alone, by a training or by `cdtr calibrate`; no box was looked at
    PUBLISHED = "published"  # in a paper, for one method on one data set
    CONFIGURED = "configured"  # by the setting evaluation.threshold
    DEFAULT = "default"  # where nobody chose one
    ORACLE = "oracle"  # calibrated on some of the images that are scored, which flatters the scores
    UNKNOWN = "unknown"  # read from a file that says it in other words


_DETAIL = "{detail}"
_SENTENCES = {
    ThresholdSource.GIVEN: "given",
    ThresholdSource.CALIBRATED: f"calibrated on {_DETAIL}",
    ThresholdSource.LABEL_FREE: f"label-free on {_DETAIL}",
    ThresholdSource.PUBLISHED: f"published with {_DETAIL}",
    ThresholdSource.CONFIGURED: "evaluation.threshold of the configuration",
    ThresholdSource.DEFAULT: "a default, not calibrated",
    ThresholdSource.ORACLE: f"oracle: calibrated on {_DETAIL}",
    ThresholdSource.UNKNOWN: _DETAIL,
}


@dataclass(frozen=True, slots=True)
class Threshold:
    """A map threshold and where it is from.

    Attributes:
        value: the share of the map's maximum that the object reaches, in [0, 1).
        source: where the value is from.
        detail: on which images it was calibrated, or with which protocol published, in words; else empty.

    Example:
        >>> str(Threshold(0.4, ThresholdSource.CALIBRATED, "12 held-out training images"))
        'calibrated on 12 held-out training images'
    """

    value: float
    source: ThresholdSource = ThresholdSource.GIVEN
    detail: str = ""

    def __str__(self) -> str:
        """Where the threshold is from, as ``threshold_source`` of the JSON files has it."""
        return _SENTENCES[self.source].replace(_DETAIL, self.detail)

    @classmethod
    def parse(cls, value: float, text: str | None) -> Threshold:
        """Read ``threshold_source`` of a JSON file: the inverse of ``str``.

        Args:
            value: the threshold.
            text: where it is from, in words; None and other words than ours give the source ``UNKNOWN``.
        """
        for source, sentence in _SENTENCES.items():
            pattern = re.escape(sentence).replace(re.escape(_DETAIL), "(.*)")
            found = re.fullmatch(pattern, text or "", re.DOTALL)
            if found is not None:
                return cls(value, source, "".join(found.groups()))
        raise AssertionError("the sentence of UNKNOWN matches any text")

    @classmethod
    def of(cls, threshold: Threshold | float | None) -> Threshold | None:
        """Return the threshold, where a bare number is one that was given."""
        return threshold if threshold is None or isinstance(threshold, Threshold) else cls(float(threshold))
