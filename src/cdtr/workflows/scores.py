"""The scores of one run, or of maps or boxes from elsewhere, on the images of a split."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from cdtr.evaluation import Evaluation
from cdtr.metrics.average_precision import AveragePrecision
from cdtr.records import DataSource
from cdtr.reports.notebook import html_evaluation, html_table
from cdtr.reports.tables import METRIC_NAMES, is_shown, percent

_IN_REPR = ("gt_known_loc", "top1_loc", "top1_cls")


@dataclass(frozen=True, slots=True, repr=False)
class Scores:
    """Scores on the images of one split, under one or several protocols.

    Attributes:
        subject: what was measured: the path or hub id of a run, or the file or folder of predictions.
        source: the data set.
        split: the name of the split.
        class_names: the names of the classes, by label.
        evaluations: one for each protocol, in the order that was asked for.
        average_precision: of all boxes, which no protocol changes; None unless a file of boxes was scored, or without
            pycocotools.
    """

    subject: str
    source: DataSource
    split: str
    class_names: tuple[str, ...]
    evaluations: tuple[Evaluation, ...]
    average_precision: AveragePrecision | None = None

    @property
    def metrics(self) -> Mapping[str, float | None]:
        """The metrics of the first protocol in percent; None where the data has no such annotation."""
        return self.evaluations[0].metrics

    def __getitem__(self, protocol: str) -> Evaluation:
        """The evaluation under a protocol, by name; KeyError for one that was not asked for."""
        return {found.protocol: found for found in self.evaluations}[protocol]

    def __iter__(self) -> Iterator[Evaluation]:
        return iter(self.evaluations)

    def __len__(self) -> int:
        return len(self.evaluations)

    def to_json(self) -> dict[str, Any]:
        """The tree that ``--json`` writes: the evaluation, or one for each protocol where there are several."""
        trees = {found.protocol: found.to_json(self.class_names) for found in self.evaluations}
        (only, *more) = trees.values()
        of_boxes = {} if self.average_precision is None else {"average_precision": self.average_precision.to_json()}
        return {"split": self.split, **of_boxes, **({"protocols": trees} if more else only)}

    def __repr__(self) -> str:
        """What was measured on what, and the main metrics under each protocol."""
        found = "; ".join(_main_metrics(one) for one in self.evaluations)
        return f"{type(self).__name__}({self.subject} on {self.split} of {self.source.root}: {found})"

    def _repr_html_(self) -> str:
        caption = f"{self.subject} on {self.split} of {self.source.root}, in percent"
        if len(self.evaluations) == 1:
            (only,) = self.evaluations
            return html_evaluation(caption, only)
        header = ["metric", *(found.protocol for found in self.evaluations)]
        rows = [
            [name, *(percent(found.metrics.get(key)) for found in self.evaluations)]
            for key, name in METRIC_NAMES.items()
            if is_shown(key, *(found.metrics.get(key) for found in self.evaluations))
        ]
        return html_table(caption, header, rows)


def _main_metrics(found: Evaluation) -> str:
    shown = (f"{METRIC_NAMES[key]} {percent(found.metrics.get(key))}" for key in _IN_REPR)
    return f"{found.protocol}: {', '.join(shown)} (%, {found.n_images} images)"
