"""Tables of the docs as Markdown, from the lines of ``results/*.csv`` and what ``results/tables.yaml`` says of each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pydantic import Field, field_validator

from cdtr.config.checking import Section, checked_section
from cdtr.config.loading import read_tree
from cdtr.errors import DataError
from cdtr.reports.ablation_table import Spread
from results_csv import BASELINES, METRIC_LABELS, METRICS, OF_BASELINES, Line, baseline_column

BASELINE_LABELS = {
    "full_image": "full image",
    "centre_box": "best centred box",
    "centre_box_per_class": "best centred box per class",
}
NOT_MEASURED = "Not measured yet with this version; for the last figures see [log.md](log.md)."
_ALIKE = ("data", "split", "protocol", "n_images", "n_annotated")  # of all rows of a table


def _known(names: tuple[str, ...], choices: Sequence[str]) -> tuple[str, ...]:
    unknown = [name for name in names if name not in choices]
    if unknown:
        raise ValueError(f"unknown {unknown[0]!r}: choose from {', '.join(choices)}")
    return names


class Columns(Section):
    """What a table shows.

    metrics: its columns. values: those that list each seed's value in brackets. references: rows of boxes that never
    look at the image, last. compared: the metrics of the paired differences.
    """

    metrics: tuple[str, ...] = ("top1_loc", "gt_known_loc", "gt_known_loc_iou70", "top1_cls")
    values: tuple[str, ...] = ()
    references: tuple[str, ...] = BASELINES
    compared: tuple[str, ...] = ("top1_loc", "gt_known_loc")

    @field_validator("metrics", "values", "compared")
    @classmethod
    def _metrics(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return _known(names, METRICS)

    @field_validator("references")
    @classmethod
    def _references(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return _known(names, BASELINES)


class TableOptions(Columns):
    """One table.

    rows: row of the CSV -> its label, in order; None for the row's own name. differences: pairs (a, b) of rows, shown
    as a minus b over the seeds that both have. source: the table of the CSV, by default the name.
    """

    rows: dict[str, str | None]
    differences: tuple[tuple[str, str], ...] = ()
    source: str | None = None


class SummaryRow(Section):
    """One row of the table of all sets.

    label: what the row is called. anchor: the heading of docs/benchmarks.md with the whole table. row: the row of the
    table that counts as ours. salient: the row of the salient-object network in the same table.
    """

    label: str
    anchor: str
    row: str = "cdtr"
    salient: str = "salient"


class TablesFile(Section):
    """``results/tables.yaml``."""

    defaults: Columns = Columns()
    summary: dict[str, SummaryRow] = Field(default_factory=dict)
    tables: dict[str, dict[str, object]] = Field(min_length=1)


def load_tables(path: Path) -> dict[str, TableOptions]:
    """The options of each table, the file's defaults filled in; ConfigError for a key or name that is unknown."""
    file = checked_section(read_tree(path), TablesFile, str(path))
    return {
        name: checked_section({**file.defaults.model_dump(), **options}, TableOptions, f"{path}, table {name}")
        for name, options in file.tables.items()
    }


def load_summary(path: Path) -> dict[str, SummaryRow]:
    """The rows of the table of all sets by the name of their table; ConfigError for a key that is unknown."""
    return checked_section(read_tree(path), TablesFile, str(path)).summary


def render(name: str, options: TableOptions, lines: Sequence[Line]) -> str:
    """The text of a table: what it was measured with, the table, and the paired differences.

    Args:
        name: the table's.
        options: what to show.
        lines: of all CSV files; those of other tables are left out.

    Raises:
        DataError: its rows were not measured alike.
    """
    mine = [line for line in lines if line["table"] == (options.source or name) and line["row"] in options.rows]
    if not mine:
        return NOT_MEASURED + "\n"
    for column in _ALIKE:
        _check_alike(name, column, mine)
    by_row = {row: _by_seed(mine, row) for row in options.rows}
    by_row = {row: of_seeds for row, of_seeds in by_row.items() if of_seeds}
    parts = [*_commands(mine), _conditions(mine), _main_table(options, by_row)]
    differences = _difference_table(options, by_row)
    return "\n\n".join([*parts, *([differences] if differences else [])]) + "\n"


def cell(values: Sequence[float], each: bool) -> str:
    """Mean ± sample standard deviation, with ``each`` the values in brackets; a single value alone."""
    if len(values) == 1:
        return f"{values[0]:.1f}"
    shown = str(Spread(tuple(values)))
    return f"{shown} ({', '.join(f'{value:.1f}' for value in values)})" if each else shown


def difference_cell(values: Sequence[float]) -> str:
    """Mean ± standard deviation, standard error, and the seeds above 0, of paired differences."""
    spread = Spread(tuple(values))
    above = sum(value > 0 for value in values)
    if len(values) == 1:
        return f"{spread.mean:+.1f}, {above} of 1"
    return (
        f"{spread.mean:+.1f} ± {spread.std:.1f}, s.e. {spread.std / len(values) ** 0.5:.1f}, {above} of {len(values)}"
    )


def seeds_text(seeds: Sequence[int]) -> str:
    """Such as ``seed 0``, ``seeds 0 to 4``, ``seeds 0, 2``."""
    ordered = sorted(seeds)
    if len(ordered) == 1:
        return f"seed {ordered[0]}"
    if len(ordered) > 2 and ordered == list(range(ordered[0], ordered[-1] + 1)):
        return f"seeds {ordered[0]} to {ordered[-1]}"
    return f"seeds {', '.join(map(str, ordered))}"


def _check_alike(name: str, column: str, lines: Sequence[Line]) -> None:
    first = lines[0]
    other = next((line for line in lines if line[column] != first[column]), None)
    if other is not None:
        raise DataError(
            f"table {name}: {first['row']} has {first[column]!r} as {column}, {other['row']} has {other[column]!r}: "
            "give them tables of their own"
        )


def _by_seed(lines: Sequence[Line], row: str) -> dict[int, Line]:
    of_row = {int(line["seed"]): line for line in lines if line["row"] == row}
    return dict(sorted(of_row.items()))


def _distinct(lines: Sequence[Line], column: str) -> list[str]:
    return list(dict.fromkeys(line[column] for line in lines if line[column]))


def _commands(lines: Sequence[Line]) -> Iterator[str]:
    commands = _distinct(lines, "command")
    if commands:
        yield "```\n" + "\n".join(commands) + "\n```"


def _conditions(lines: Sequence[Line]) -> str:
    """One paragraph: images, protocol, thresholds, seeds, revision, machine, as the lines have them."""
    first = lines[0]
    images = f"{first['n_images']} images of `{first['split']}`"
    if first["n_annotated"] not in ("", first["n_images"]):
        images += f", {first['n_annotated']} of them with boxes"
    parts = [f"{first['data']}, {images}", f"protocol `{first['protocol']}`"]
    views = _distinct(lines, "view")
    parts += [f"view {' or '.join(f'`{view}`' for view in views)}"] if views else []
    sources = _distinct(lines, "threshold_source")
    parts += [f"thresholds {' or '.join(sources)}"] if sources else []
    parts.append(seeds_text(sorted({int(line["seed"]) for line in lines})))
    revisions = _distinct(lines, "revision")
    parts += [f"revision {', '.join(revisions)}"] if revisions else []
    parts += [" or ".join(_distinct(lines, "machine"))] if _distinct(lines, "machine") else []
    return "; ".join(parts) + "."


def _main_table(options: TableOptions, by_row: Mapping[str, Mapping[int, Line]]) -> str:
    every = {seed for of_seeds in by_row.values() for seed in of_seeds}
    rows = [["", "recipe", *(METRIC_LABELS[metric] for metric in options.metrics)]]
    for row, of_seeds in by_row.items():
        label = options.rows[row] or f"`{row}`"
        if set(of_seeds) != every:
            label += f", {seeds_text(list(of_seeds))}"
        scores = [scores_of(list(of_seeds.values()), metric) for metric in options.metrics]
        cells = [
            cell(values, metric in options.values) if values else "-"
            for metric, values in zip(options.metrics, scores, strict=True)
        ]
        rows.append([label, ", ".join(_distinct(list(of_seeds.values()), "recipe")) or "-", *cells])
    lines = [line for of_seeds in by_row.values() for line in of_seeds.values()]
    for name in options.references:
        found = [baseline_range(lines, name, metric) for metric in options.metrics]
        if any(found):
            rows.append([BASELINE_LABELS[name], "-", *(text or "-" for text in found)])
    return markdown(rows)


def _difference_table(options: TableOptions, by_row: Mapping[str, Mapping[int, Line]]) -> str:
    """Empty where no pair has a seed in common."""
    rows = []
    for first, second in options.differences:
        shared = [seed for seed in by_row.get(first, ()) if seed in by_row.get(second, ())]
        if not shared:
            continue
        cells = []
        for metric in options.compared:
            pairs = [(by_row[first][seed][metric], by_row[second][seed][metric]) for seed in shared]
            differences = [float(a) - float(b) for a, b in pairs if a and b]
            cells.append(difference_cell(differences) if len(differences) == len(pairs) else "-")
        rows.append([f"`{first}` - `{second}`", *cells])
    if not rows:
        return ""
    header = ["difference", *(METRIC_LABELS[metric] for metric in options.compared)]
    text = "Differences of the same seed: mean ± standard deviation, standard error of the mean, seeds above 0."
    return f"{text}\n\n{markdown([header, *rows])}"


def scores_of(lines: Sequence[Line], metric: str) -> list[float]:
    """One a seed; empty unless every seed has it."""
    found = [line[metric] for line in lines]
    return [float(value) for value in found] if all(found) else []


def baseline_range(lines: Sequence[Line], baseline: str, metric: str) -> str:
    """The lowest and highest value over all runs, once where they are the same; empty where it is not measured."""
    if metric not in OF_BASELINES:
        return ""
    values = [float(value) for line in lines if (value := line[baseline_column(baseline, metric)])]
    ends = list(dict.fromkeys(f"{value:.1f}" for value in (min(values), max(values)))) if values else []
    return " to ".join(ends)


def markdown(rows: Sequence[Sequence[str]]) -> str:
    header, *body = rows
    lines = [header, ["---"] * len(header), *body]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
