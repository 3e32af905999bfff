"""A bench as sorted lines by data set and protocol: trained rows, rows from elsewhere and trivial boxes."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from cdtr.reports.ablation_table import AblationTable, Results, Spread
from cdtr.reports.tables import BASELINE_NAMES, METRIC_NAMES, csv_text

COST_NAMES = {
    "ms_per_image": "ms an image",
    "time_ratio": "time / bare backbone",
    "memory_mib": "memory, MiB",
    "gmacs": "GMACs",
    "parameters": "parameters, M",
    "trained_parameters": "trained, M",
}
_MILLION = ("parameters", "trained_parameters")
Kind = Literal["row", "reference", "trivial"]


@dataclass(frozen=True, slots=True)
class RowCost:
    """Cost of a row's method on one data set.

    Attributes:
        ms_per_image: Median time of a forward pass in milliseconds, in a batch.
        ms_low: Its first quartile over the rounds.
        ms_high: Its third quartile.
        time_ratio: Median of the time divided by that of the bare backbone in the same round; None without a backbone.
        memory_mib: Weights, and the peak of what is made while one image passes.
        gmacs: MACs of one image in billions, with the products of attention.
        parameters: Number of parameters in inference.
        trained_parameters: Number of parameters that training changes.
    """

    ms_per_image: float
    ms_low: float
    ms_high: float
    time_ratio: float | None
    memory_mib: float
    gmacs: float
    parameters: int
    trained_parameters: int

    def to_json(self) -> dict[str, Any]:
        """Convert to plain values by name."""
        return asdict(self)

    def value(self, key: str) -> Value | None:
        """The value of a column of ``COST_NAMES``; parameters are in millions. None where it is unknown."""
        number = getattr(self, key)
        if number is None:
            return None
        if key == "ms_per_image":
            return Value(number, low=self.ms_low, high=self.ms_high)
        return Value(number / 1e6 if key in _MILLION else float(number))


@dataclass(frozen=True, slots=True)
class Value:
    """One cell.

    Attributes:
        mean: Mean over the seeds, or the only value.
        std: Sample standard deviation over the seeds; None for fewer than two.
        low: Lower end: of a score, the mean over the seeds of the 95% interval over images; of a time, the quartile.
        high: Upper end.
        change: Difference to the base row with the same seed.
        values: The value of each seed.
    """

    mean: float
    std: float | None = None
    low: float | None = None
    high: float | None = None
    change: Spread | None = None
    values: tuple[float, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Convert to plain values."""
        change = None if self.change is None else self.change.to_json()
        return {**asdict(self), "change": change, "values": list(self.values)}


@dataclass(frozen=True, slots=True)
class Line:
    """One row of one table.

    Attributes:
        kind: Trained, scored from elsewhere, or a trivial box.
        name: Of the row.
        recipe: Label of its recipe; empty for others than trained rows.
        seeds: Of its runs.
        values: By the key of a metric or cost; a key is missing where the value is unknown.
    """

    kind: Kind
    name: str
    recipe: str = ""
    seeds: tuple[int, ...] = ()
    values: Mapping[str, Value] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Convert to plain values."""
        values = {key: value.to_json() for key, value in self.values.items()}
        return {
            "kind": self.kind,
            "name": self.name,
            "recipe": self.recipe,
            "seeds": list(self.seeds),
            "values": values,
        }


@dataclass(frozen=True, slots=True)
class BenchTable:
    """A bench.

    Attributes:
        metrics: Keys of the metrics, the first one first.
        sort: Key of the column that the lines are sorted by.
        lines: By data set and protocol, the protocol of the rows' settings first.
        base: The row that others are compared with.
        machines: On what the cost was measured, by data set.
        notes: What a reader must know, by data set.
    """

    metrics: tuple[str, ...]
    sort: str
    lines: Mapping[str, Mapping[str, Sequence[Line]]]
    base: str
    machines: Mapping[str, str]
    notes: Mapping[str, Sequence[str]]

    @property
    def columns(self) -> dict[str, str]:
        """Title of each column by its key: metrics, then costs."""
        return {**{key: METRIC_NAMES[key] for key in self.metrics}, **COST_NAMES}

    def to_json(self) -> dict[str, Any]:
        """Convert to plain values."""
        return {
            "metrics": list(self.metrics),
            "sort": self.sort,
            "base": self.base,
            "machines": dict(self.machines),
            "notes": {name: list(notes) for name, notes in self.notes.items()},
            "data": {
                name: {protocol: [line.to_json() for line in lines] for protocol, lines in by.items()}
                for name, by in self.lines.items()
            },
        }

    def to_csv(self) -> str:
        """Format as CSV: one line for each data set, protocol, row and column, with the value of every seed."""
        header = ["data", "protocol", "kind", "row", "recipe", "metric", "value", "std", "low", "high"]
        return csv_text([*header, "difference", "difference_std", "seeds", "values"], self._csv_lines())

    def _csv_lines(self) -> Iterator[list[str]]:
        for data, by_protocol in self.lines.items():
            own = next(iter(by_protocol))
            for protocol, lines in by_protocol.items():
                for line in lines:
                    for key, value in line.values.items():
                        if key in COST_NAMES and protocol != own:
                            continue  # the same under each protocol
                        under = "" if key in COST_NAMES else protocol
                        yield [data, under, line.kind, line.name, line.recipe, key, *_csv_cells(line, value)]


def make_lines(
    table: AblationTable,
    results: Results,
    costs: Mapping[str, RowCost],
    references: Mapping[str, Mapping[str, Any]],
    sort: str,
) -> list[Line]:
    """Gather one data set under one protocol.

    Args:
        table: The trained rows.
        results: Their evaluations by (row, seed).
        costs: By row.
        references: Evaluations of the rows from elsewhere, by name.
        sort: Key of the column to sort by, best first; lines without a value come last.
    """
    lines = []
    for row, scores in table.scores.items():
        found = [results[row, seed].get("intervals", {}) for seed in table.seeds[row]]
        values = {
            metric: Value(
                spread.mean,
                spread.std if len(spread.values) > 1 else None,
                *_mean_interval([intervals.get(metric) for intervals in found]),
                change=table.differences[row][metric],
                values=spread.values,
            )
            for metric, spread in scores.items()
            if spread is not None
        }
        cost = {key: costs[row].value(key) for key in COST_NAMES} if row in costs else {}
        known = {key: value for key, value in cost.items() if value is not None}
        lines.append(Line("row", row, table.recipes[row], table.seeds[row], {**values, **known}))
    for name, evaluation in references.items():
        lines.append(Line("reference", name, values=_reference(evaluation, table.metrics)))
    for name, trivial in table.baselines.items():
        scores_of = {metric: Value(score) for metric, score in trivial.items() if score is not None}
        if scores_of:
            lines.append(Line("trivial", BASELINE_NAMES[name], values=scores_of))
    return sort_lines(lines, sort)


def sort_lines(lines: Sequence[Line], key: str) -> list[Line]:
    """Sort by a column, best first: the highest score or the lowest cost. Lines without a value come last."""
    sign = 1 if key in COST_NAMES else -1
    return sorted(
        lines, key=lambda line: (key not in line.values, sign * line.values[key].mean if key in line.values else 0)
    )


def _reference(evaluation: Mapping[str, Any], metrics: Sequence[str]) -> dict[str, Value]:
    values = {}
    for metric in metrics:
        score = evaluation["metrics"].get(metric)
        if score is not None:
            low, high = _mean_interval([evaluation.get("intervals", {}).get(metric)])
            values[metric] = Value(float(score), low=low, high=high)
    return values


def _mean_interval(intervals: Sequence[Sequence[float] | None]) -> tuple[float | None, float | None]:
    """The means of the lower and the upper ends; None where a seed has no interval."""
    known = [interval for interval in intervals if interval]
    if not known or len(known) < len(intervals):
        return None, None
    return statistics.fmean(one[0] for one in known), statistics.fmean(one[1] for one in known)


def _csv_cells(line: Line, value: Value) -> list[str]:
    def text(number: float | None) -> str:
        return "" if number is None else f"{number:.4f}"

    change = value.change
    return [
        text(value.mean),
        *map(text, (value.std, value.low, value.high)),
        text(None if change is None else change.mean),
        text(None if change is None else change.std),
        " ".join(map(str, line.seeds)),
        " ".join(map(text, value.values)),
    ]
