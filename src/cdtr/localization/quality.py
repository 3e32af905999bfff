"""A score for each box without ground truth: the probability that its IoU with a true box is at least 0.5.

A logistic regression on what the model knows about a box, fitted on images with boxes that are not the test set. It is
a handful of numbers and is stored as such.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from cdtr.errors import CheckpointError, DataError
from cdtr.localization.boxes import iou_half_open, largest_box, threshold_mask
from cdtr.localization.maps import check_score_map
from cdtr.records import FloatArray

FEATURES = ("class", "contrast", "threshold", "alone", "size", "size_squared", "inner")
MIRROR = "mirror"  # needs a second look at the image, and is fitted on request
MIN_IMAGES = 40

_LABEL = "label"
# What it means when one of them lowers a box's score, for somebody who is to look at the box.
_DOUBTS = {
    _LABEL: "boxes of this class often miss",
    "class": "unusual class probability",
    "contrast": "the map hardly stands out in the box",
    "threshold": "the box depends on the threshold",
    "alone": "the map is strong outside of the box too",
    "size": "unusual size",
    "size_squared": "unusual size",
    "inner": "the box touches the edge of the image",
    MIRROR: "the box changes when the image is mirrored",
}
_DOUBT_FROM = -0.1  # of the log odds
_NO_DOUBT_FROM = 0.9  # of the score: such a box needs no second look
_FOLDS = 5

# What a user is told of a run that was not calibrated with boxes.
CLASS_SCORES = (
    "scores of boxes are class probabilities, not how likely a box is right: `cdtr calibrate` with boxes fits that"
)
_THRESHOLD_STEP = 0.25
_MOST_CERTAIN = 0.999

Features: TypeAlias = Mapping[str, float]
Array: TypeAlias = npt.NDArray[np.float64]


def box_features(
    score_map: FloatArray,
    box_xyxy: npt.ArrayLike,
    class_prob: float,
    threshold: float,
    mirrored_map: FloatArray | None = None,
) -> dict[str, float]:
    """What the model knows about a box, by the names of ``FEATURES``; hardly dependent on the map's size.

    score_map: (H, W) in [0, 1], in which the box (4,), half-open, was found at the threshold. class_prob: in [0, 1], of
    the box's class. mirrored_map: (H, W), the map of the mirrored image, mirrored back; with it ``MIRROR`` is added.

    class: log odds. contrast: mean of the map in the box less its mean outside. threshold: mean IoU with the boxes at a
    quarter less and a quarter more. alone: share of the foreground that lies in the box. size: log of the box's
    area, 0 at a third of the image. inner: share of the four sides that are not the image's. mirror: IoU with the box
    of the mirrored image.
    """
    check_score_map(score_map)
    box = np.asarray(box_xyxy, dtype=np.float64).reshape(1, 4)
    height, width = score_map.shape
    x0, y0 = np.floor(box[0, :2]).astype(int).clip(0)
    x1, y1 = np.ceil(box[0, 2:]).astype(int)
    inside = np.zeros(score_map.shape, dtype=bool)
    inside[y0:y1, x0:x1] = True
    if not inside.any():
        raise DataError(f"box {box[0].tolist()} holds no pixel of a map of {width} x {height}: expected a box in it")
    foreground = threshold_mask(score_map, threshold) > 0
    others = [threshold * (1 - _THRESHOLD_STEP), min(threshold * (1 + _THRESHOLD_STEP), 0.99)]
    prob = float(np.clip(class_prob, 1 - _MOST_CERTAIN, _MOST_CERTAIN))
    size = float(np.log(3 * inside.mean()))
    found = {
        "class": float(np.log(prob / (1 - prob))),
        "contrast": float(score_map[inside].mean() - (score_map[~inside].mean() if not inside.all() else 0)),
        "threshold": float(np.mean([_iou_with(score_map, other, box) for other in others])),
        "alone": float((foreground & inside).sum() / max(foreground.sum(), 1)),
        "size": size,
        "size_squared": size**2,
        "inner": float(np.mean([x0 > 0, y0 > 0, x1 < width, y1 < height])),
    }
    return found if mirrored_map is None else found | {MIRROR: _iou_with(mirrored_map, threshold, box)}


@dataclass(frozen=True, slots=True)
class BoxQuality:
    """The fitted model: weights of the standardised features, in the order of ``features``, and one for each class.

    n_images, hit_rate: how many images it was fitted on, and the share of hits among them, in [0, 1].
    """

    features: tuple[str, ...]
    mean: tuple[float, ...]
    scale: tuple[float, ...]
    weights: tuple[float, ...]
    class_weights: tuple[float, ...]
    intercept: float
    n_images: int
    hit_rate: float

    @classmethod
    def fit(cls, rows: Sequence[Features], labels: Sequence[int], hits: Sequence[bool], n_classes: int) -> BoxQuality:
        """Fit on one box an image: its features, its class, and whether it is a hit.

        The strength of the L2 penalty, which keeps the weights of classes with few images near 0, is chosen by
        cross-validated log loss. DataError for fewer than ``MIN_IMAGES`` images, or fewer than five hits or misses.
        """
        from sklearn.linear_model import LogisticRegressionCV
        from sklearn.model_selection import StratifiedKFold

        hit = np.asarray(hits, dtype=bool)
        n_hits = int(hit.sum())
        if len(rows) < MIN_IMAGES or min(n_hits, len(rows) - n_hits) < _FOLDS:
            raise DataError(
                f"{n_hits} of {len(rows)} boxes hit: expected at least {MIN_IMAGES} images, with {_FOLDS} hits and "
                f"{_FOLDS} misses among them, to fit scores of boxes"
            )
        features = tuple(rows[0])
        values = _table(rows, features)
        mean, scale = values.mean(axis=0), values.std(axis=0)
        scale[scale < 1e-9] = 1
        model = LogisticRegressionCV(
            Cs=np.logspace(-3, 1, 9),
            cv=StratifiedKFold(_FOLDS, shuffle=True, random_state=0),
            scoring="neg_log_loss",
            l1_ratios=(0.0,),
            use_legacy_attributes=False,
        )
        one_hot = np.eye(n_classes)[np.asarray(labels, dtype=np.int64)]
        model.fit(np.concatenate([(values - mean) / scale, one_hot], axis=1), hit)
        weights = model.coef_[0].tolist()
        return cls(
            features=features,
            mean=tuple(mean.tolist()),
            scale=tuple(scale.tolist()),
            weights=tuple(weights[: len(features)]),
            class_weights=tuple(weights[len(features) :]),
            intercept=float(model.intercept_[0]),
            n_images=len(rows),
            hit_rate=n_hits / len(rows),
        )

    @property
    def mirrored(self) -> bool:
        """Whether a score needs the map of the mirrored image."""
        return MIRROR in self.features

    def score(self, row: Features, label: int) -> float:
        """In (0, 1): the probability that the IoU of a box of class ``label`` is at least 0.5."""
        odds = self.intercept + sum(self._parts(row, label).values())
        return float(1 / (1 + np.exp(-odds)))

    def doubts(self, row: Features, label: int, most: int = 2) -> tuple[str, ...]:
        """What lowers the box's score most against the average box, in words.

        None where nothing does, and none for a box whose score is high all the same.
        """
        if self.score(row, label) >= _NO_DOUBT_FROM:
            return ()
        by_words: dict[str, float] = {}
        for name, part in self._parts(row, label).items():
            by_words[_DOUBTS[name]] = by_words.get(_DOUBTS[name], 0.0) + part
        lowering = sorted((part, words) for words, part in by_words.items() if part < _DOUBT_FROM)
        return tuple(words for _, words in lowering[:most])

    def _parts(self, row: Features, label: int) -> dict[str, float]:
        """What each feature adds to the log odds."""
        standardised = (_table([row], self.features)[0] - self.mean) / self.scale
        parts = dict(zip(self.features, (standardised * self.weights).tolist(), strict=True))
        return parts | {_LABEL: self.class_weights[label]}

    def to_json(self) -> dict[str, Any]:
        """Convert to plain values, as ``calibration.json`` holds them."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_json(cls, tree: Any, n_classes: int) -> BoxQuality:
        """CheckpointError for anything that ``to_json`` did not write for so many classes."""
        try:
            lists = {
                name: tuple(float(value) for value in tree[name])
                for name in ("mean", "scale", "weights", "class_weights")
            }
            found = cls(
                features=tuple(tree["features"]),
                intercept=float(tree["intercept"]),
                n_images=int(tree["n_images"]),
                hit_rate=float(tree["hit_rate"]),
                **lists,
            )
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise _broken(f"{type(error).__name__} {str(error)!a:.80}") from error
        if not found.features or not all(name in (*FEATURES, MIRROR) for name in found.features):
            raise _broken(f"features {found.features!a:.80}")
        sizes = [len(found.mean), len(found.scale), len(found.weights), len(found.class_weights)]
        if sizes != [len(found.features)] * 3 + [n_classes]:
            raise _broken(f"{sizes} numbers for {len(found.features)} features and {n_classes} classes")
        numbers = [*found.mean, *found.scale, *found.weights, *found.class_weights, found.intercept]
        if not np.isfinite(numbers).all() or min(found.scale) <= 0:
            raise _broken("numbers that are not finite, or a scale that is not above 0")
        return found


def _broken(found: str) -> CheckpointError:
    return CheckpointError(f"the stored scores of boxes cannot be used ({found}): run `cdtr calibrate` again")


def _table(rows: Sequence[Features], features: Sequence[str]) -> Array:
    return np.array([[row[name] for name in features] for row in rows], dtype=np.float64)


def _iou_with(score_map: FloatArray, threshold: float, box: Array) -> float:
    found = largest_box(score_map, threshold)
    return float(iou_half_open(found, box)[0, 0]) if len(found) else 0.0
