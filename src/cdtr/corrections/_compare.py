"""The comparison of reviewed boxes with ours."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

import numpy as np
from scipy.optimize import linear_sum_assignment

from cdtr.corrections._pixels import SAME_PIXELS
from cdtr.errors import DataError
from cdtr.localization.boxes import iou_half_open
from cdtr.records import Box, Corners, ImageBoxes

Kind = Literal["kept", "moved", "relabelled", "deleted", "added"]
KINDS: tuple[Kind, ...] = get_args(Kind)

SAME_IOU = 0.99
_SAME_CLASS = 0.01  # of boxes at equally good places the one of the same class is taken


@dataclass(frozen=True, slots=True)
class Change:
    """What became of one box.

    Attributes:
        image_id: The image.
        kind: A box of another class is relabelled, moved or not.
        ours: Our box, None where the reviewer added it.
        theirs: The reviewer's box, None where ours was deleted.
        iou: The IoU of the two.
    """

    image_id: str
    kind: Kind
    ours: Box | None
    theirs: Box | None
    iou: float | None

    def to_json(self) -> dict[str, Any]:
        pair = {"ours": self.ours, "theirs": self.theirs}
        shown = {key: box and {"label": box.name, "xyxy": list(box.xyxy)} for key, box in pair.items()}
        return {"image": self.image_id, "kind": self.kind, **shown, "iou": self.iou}


@dataclass(slots=True)
class Tally:
    """Counts of a class, or of all. Our boxes by our class, added ones by the reviewer's."""

    kept: int = 0
    moved: int = 0
    relabelled: int = 0
    deleted: int = 0
    added: int = 0

    @property
    def boxes(self) -> int:
        """Our boxes in reviewed images."""
        return self.kept + self.moved + self.relabelled + self.deleted

    @property
    def accept_rate(self) -> float | None:
        """Percent of our boxes that were kept as they were; None without a box."""
        return 100 * self.kept / self.boxes if self.boxes else None

    def to_json(self) -> dict[str, Any]:
        return {"boxes": self.boxes, **asdict(self), "accept_rate": self.accept_rate}


@dataclass(frozen=True, slots=True)
class Review:
    """All changes, and how many of our images were looked at, were not, and were none of ours."""

    changes: tuple[Change, ...]
    class_names: tuple[str, ...]
    n_reviewed: int
    n_not_reviewed: int
    n_unknown: int
    total: Tally = field(default_factory=Tally)
    by_class: dict[str, Tally] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {
            "images": {"reviewed": self.n_reviewed, "not_reviewed": self.n_not_reviewed, "unknown": self.n_unknown},
            "total": self.total.to_json(),
            "classes": {name: tally.to_json() for name, tally in self.by_class.items()},
            "changes": [change.to_json() for change in self.changes if change.kind != "kept"],
        }


def compare(
    written: Mapping[str, ImageBoxes],
    reviewed: Mapping[str, ImageBoxes],
    class_names: Sequence[str],
    n_unknown: int = 0,
) -> Review:
    """Compare reviewed images with ours by name. DataError for a class of a reviewed box that is none of the run's.

    Boxes are paired by the reviewing tool's own memory of them where it has one, the others one to one so that their
    summed IoU is largest; boxes that do not overlap are no pair. A box that was dragged far away in a tool without such
    a memory therefore counts as deleted and added.
    """
    _check_labels(reviewed, class_names)
    changes = [change for name, image in reviewed.items() for change in _changes(name, written[name], image)]
    tallies = {name: Tally() for name in class_names}
    total = Tally()
    for change in changes:
        owner = change.ours or change.theirs
        for tally in [total] if owner is None else [total, tallies.setdefault(owner.name, Tally())]:
            setattr(tally, change.kind, getattr(tally, change.kind) + 1)
    sizes = len(reviewed), len(written) - len(reviewed), n_unknown
    return Review(tuple(changes), tuple(class_names), *sizes, total, tallies)


def _check_labels(reviewed: Mapping[str, ImageBoxes], class_names: Sequence[str]) -> None:
    known = set(class_names)
    for name, image in reviewed.items():
        for box in image.boxes:
            if box.name not in known:
                shown = ", ".join(class_names[:8]) + (", ..." if len(class_names) > 8 else "")
                raise DataError(
                    f"{name} has a box of {box.name!r:.60}, which is none of the classes ({shown}): rename it there, "
                    "or name the run with `run=` if its classes are more"
                )


def _changes(image_id: str, ours: ImageBoxes, theirs: ImageBoxes) -> Iterable[Change]:
    pairs = _pairs(ours.boxes, theirs.boxes)
    for first, second in pairs.items():
        old, new = ours.boxes[first], theirs.boxes[second]
        iou = float(iou_half_open([old.xyxy], [new.xyxy])[0, 0])
        kind: Kind = "moved"
        if old.name != new.name:
            kind = "relabelled"
        elif iou >= SAME_IOU or _largest_distance(old.xyxy, new.xyxy) <= SAME_PIXELS:
            kind = "kept"
        yield Change(image_id, kind, old, new, iou)
    for index, box in enumerate(ours.boxes):
        if index not in pairs:
            yield Change(image_id, "deleted", box, None, None)
    for index, box in enumerate(theirs.boxes):
        if index not in pairs.values():
            yield Change(image_id, "added", None, box, None)


def _pairs(ours: Sequence[Box], theirs: Sequence[Box]) -> dict[int, int]:
    """Which of their boxes each of ours became."""
    keys = {f"box-{number}": index for index, number in enumerate(range(1, len(ours) + 1))}
    pairs: dict[int, int] = {}
    for index, box in enumerate(theirs):
        if box.key in keys:
            pairs.setdefault(keys[box.key], index)
    first = [index for index in range(len(ours)) if index not in pairs]
    second = [index for index in range(len(theirs)) if index not in pairs.values()]
    if not first or not second:
        return pairs
    iou = iou_half_open([ours[index].xyxy for index in first], [theirs[index].xyxy for index in second])
    same = np.array([[ours[one].name == theirs[other].name for other in second] for one in first])
    for row, column in zip(*linear_sum_assignment(iou + _SAME_CLASS * (same & (iou > 0)), maximize=True), strict=True):
        if iou[row, column] > 0:
            pairs[first[row]] = second[column]
    return pairs


def _largest_distance(first: Corners, second: Corners) -> float:
    return max(abs(a - b) for a, b in zip(first, second, strict=True))
