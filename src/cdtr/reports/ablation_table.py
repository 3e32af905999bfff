"""A grid of trainings as one table: mean and spread over the seeds, and paired differences to one row."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from cdtr.errors import DataError
from cdtr.json_tree import parse_json
from cdtr.reports.columns import add_number, add_text
from cdtr.reports.tables import BASELINE_NAMES, METRIC_NAMES, csv_text

_TEXT_COLUMNS = ("row", "recipe")
Results = Mapping[tuple[str, int], Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Spread:
    """Values of a metric in percent, one for each seed."""

    values: tuple[float, ...]

    @classmethod
    def of(cls, values: Sequence[float | None]) -> Spread | None:
        """Return the spread of the values; None if there is none, or one of them is missing."""
        known = tuple(float(value) for value in values if value is not None)
        return cls(known) if known and len(known) == len(values) else None

    @property
    def mean(self) -> float:
        """Mean over the seeds."""
        return statistics.fmean(self.values)

    @property
    def std(self) -> float:
        """Sample standard deviation over the seeds; 0 for a single seed."""
        return statistics.stdev(self.values) if len(self.values) > 1 else 0.0

    def __str__(self) -> str:
        return f"{self.mean:.1f} ± {self.std:.1f}"

    def to_json(self) -> dict[str, Any]:
        """Convert to plain values."""
        return {"mean": self.mean, "std": self.std, "worst": min(self.values), "values": list(self.values)}


@dataclass(frozen=True, slots=True)
class AblationTable:
    """Results of a grid of trainings.

    Attributes:
        base: Row that the others are compared with.
        protocol: Name of the protocol.
        metrics: Keys of the metrics shown.
        seeds: Seeds of each row.
        scores: Spread over the seeds by row and metric; None if a seed lacks the metric.
        differences: Spread of the row's value minus that of ``base`` with the same seed; None for ``base`` itself.
        baselines: Means over all results, by trivial baseline and metric.
        recipes: Label of each row's recipe.
    """

    base: str
    protocol: str
    metrics: tuple[str, ...]
    seeds: Mapping[str, tuple[int, ...]]
    scores: Mapping[str, Mapping[str, Spread | None]]
    differences: Mapping[str, Mapping[str, Spread | None]]
    baselines: Mapping[str, Mapping[str, float | None]]
    recipes: Mapping[str, str]

    def to_json(self) -> dict[str, Any]:
        """Convert to plain values."""

        def plain(rows: Mapping[str, Mapping[str, Spread | None]]) -> dict[str, Any]:
            return {row: {key: one.to_json() if one else None for key, one in of.items()} for row, of in rows.items()}

        return {
            "base": self.base,
            "protocol": self.protocol,
            "recipes": dict(self.recipes),
            "seeds": {row: list(seeds) for row, seeds in self.seeds.items()},
            "scores": plain(self.scores),
            "differences": plain(self.differences),
            "baselines": {name: dict(scores) for name, scores in self.baselines.items()},
        }


def check_metrics(names: Sequence[str]) -> None:
    """Check the keys of metrics.

    Raises:
        DataError: For a metric that `cdtr evaluate` does not measure.
    """
    unknown = [name for name in names if name not in METRIC_NAMES]
    if unknown:
        raise DataError(f"unknown metric {unknown[0]!r}: choose from {', '.join(METRIC_NAMES)}")


def collect(files: Mapping[tuple[str, int], Path]) -> dict[tuple[str, int], dict[str, Any]]:
    """Read the files of `cdtr evaluate --json`.

    Args:
        files: Path by row and seed; files that do not exist yet are left out.

    Returns:
        Content by row and seed.

    Raises:
        DataError: If a file cannot be read.
    """
    found = {}
    for cell, path in files.items():
        if path.is_file():
            try:
                found[cell] = dict(parse_json(path.read_text(encoding="utf-8")))
            except ValueError as error:
                raise DataError(
                    f"{path} cannot be read ({error}): remove it, and the grid measures that run again"
                ) from error
    return found


def summarise(results: Results, metrics: Sequence[str], base: str, recipes: Mapping[str, str]) -> AblationTable:
    """Gather the evaluations of a grid.

    Args:
        results: Evaluations by (row, seed).
        metrics: Which of their metrics to show.
        base: The row that the others are compared with.
        recipes: The label of each row's recipe; of other rows too.

    Returns:
        The table, with the rows that have results.

    Raises:
        DataError: For an unknown metric, or results of several protocols.
    """
    check_metrics(metrics)
    protocols = {str(result["protocol"]) for result in results.values()}
    if len(protocols) != 1:
        raise DataError(f"rows of several protocols ({', '.join(sorted(protocols))}) cannot stand in one table")
    rows = list(dict.fromkeys(row for row, _ in results))

    def value(row: str, seed: int, metric: str) -> float | None:
        found = results[row, seed]["metrics"].get(metric)
        return None if found is None else float(found)

    seeds = {row: tuple(seed for name, seed in results if name == row) for row in rows}
    scores, differences = {}, {}
    for row in rows:
        both = [seed for seed in seeds[row] if seed in seeds.get(base, ())]
        scores[row] = {m: Spread.of([value(row, seed, m) for seed in seeds[row]]) for m in metrics}
        differences[row] = {
            m: Spread.of([_less(value(row, seed, m), value(base, seed, m)) for seed in both]) if row != base else None
            for m in metrics
        }
    trivial = {
        name: {
            m: known_mean([(result["baselines"].get(name) or {}).get(m) for result in results.values()])
            for m in metrics
        }
        for name in BASELINE_NAMES
    }
    return AblationTable(
        base, protocols.pop(), tuple(metrics), seeds, scores, differences, trivial, {row: recipes[row] for row in rows}
    )


def to_table(table: AblationTable) -> Table:
    """Format the table for a terminal."""
    found = Table(title=f"percent, {_conditions(table)}, mean ± standard deviation over seeds", title_justify="left")
    header, *rows = _cells(table)
    for name in header:
        (add_text if name in _TEXT_COLUMNS else add_number)(found, name)
    for row in rows:
        found.add_row(*row)
    return found


def to_markdown(table: AblationTable) -> str:
    """Format the table as Markdown."""
    header, *rows = _cells(table)
    lines = [header, ["---" if name in _TEXT_COLUMNS else "---:" for name in header], *rows]
    text = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    return (
        f"Percent, {_conditions(table)}, mean ± standard deviation over seeds; Δ: difference to {table.base} "
        f"of the same seed.\n\n{text}\n\n\\* chosen on the evaluated images, which flatters it.\n"
    )


def to_csv(table: AblationTable) -> str:
    """Format the table as CSV: one line for each row and metric, with the value of every seed."""
    header = ["row", "recipe", "metric", "mean", "std", "difference_mean", "difference_std", "seeds", "values"]
    return csv_text(header, _csv_lines(table))


def _csv_lines(table: AblationTable) -> Iterator[list[str]]:
    for row, scores in table.scores.items():
        for metric, spread in scores.items():
            if spread is not None:
                change = table.differences[row][metric]
                differs = ["", ""] if change is None else [f"{change.mean:.3f}", f"{change.std:.3f}"]
                seeds, values = " ".join(map(str, table.seeds[row])), " ".join(f"{one:.3f}" for one in spread.values)
                yield [
                    row,
                    table.recipes[row],
                    metric,
                    f"{spread.mean:.3f}",
                    f"{spread.std:.3f}",
                    *differs,
                    seeds,
                    values,
                ]


def _mixed(table: AblationTable) -> bool:
    return len(set(table.recipes.values())) > 1


def _conditions(table: AblationTable) -> str:
    """Describe what all rows share; recipes that differ are in a column."""
    shared = "" if _mixed(table) else f", recipe {next(iter(table.recipes.values()))}"
    return f"protocol {table.protocol}{shared}"


def _cells(table: AblationTable) -> list[list[str]]:
    header = ["row", *(["recipe"] if _mixed(table) else []), "seeds"]
    for metric in table.metrics:
        header += [METRIC_NAMES[metric], "Δ"]
    lines = [header]
    for row, scores in table.scores.items():
        line = [row, *([table.recipes[row]] if _mixed(table) else []), str(len(table.seeds[row]))]
        for metric in table.metrics:
            change = table.differences[row][metric]
            line += [str(scores[metric] or "-"), f"{change.mean:+.1f} ± {change.std:.1f}" if change else ""]
        lines.append(line)
    for name, scores_of in table.baselines.items():
        line = [BASELINE_NAMES[name], *([""] if _mixed(table) else []), ""]
        for metric in table.metrics:
            known = scores_of[metric]
            line += ["-" if known is None else f"{known:.1f}", ""]
        lines.append(line)
    return lines


def _less(value: float | None, base: float | None) -> float | None:
    return None if value is None or base is None else value - base


def known_mean(values: Sequence[float | None]) -> float | None:
    """Return the mean of the values that are known; None if none is."""
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None
