"""A table of the paper for a terminal: as many metrics side by side as fit, the others below."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from cdtr.config import Reproduction
from cdtr.reports.columns import stacked
from cdtr.reports.paper_lines import DIFFERENCE, Part
from cdtr.reports.paper_table import STARRED, full_name, metric_cells, word_cells


def to_tables(found: Reproduction, parts: Sequence[Part], console: Console) -> Iterator[Table]:
    """Tables that are no wider than the terminal, where a single metric is not.

    Notes stand below the last table of a data set, each with the rows that it is about.

    Args:
        found: The table.
        parts: Its data sets.
        console: What they will be printed on.

    Yields:
        One table or more a data set.
    """
    for part in parts:
        groups: list[list[int]] = [[]]
        for index in range(len(found.table.metrics)):
            wider = _table(found, part, [*groups[-1], index])
            natural = Measurement.get(console, console.options.update(width=10_000), wider).maximum
            if groups[-1] and natural > console.width:
                groups.append([])
            groups[-1].append(index)
        for number, group in enumerate(groups, start=1):
            table = _table(found, part, group)
            table.title = f"{found.caption}, {part.label}, protocol {part.protocol}"
            if len(groups) > 1:
                table.title += f" ({number} of {len(groups)})"
            if number == len(groups):
                table.caption = "\n".join(_below(found, part))
            yield table


def _table(found: Reproduction, part: Part, group: Sequence[int]) -> Table:
    """The lines with some of the metrics."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), title_justify="left", caption_justify="left")
    rows = word_cells(found, part)
    for name in ("", *found.table.columns):
        table.add_column(stacked(name), overflow="fold", vertical="bottom")
    for index in group:
        metric = found.table.metrics[index]
        names, cells = metric_cells(part, index, metric)
        for place, name in enumerate(names):
            header = f"{full_name(metric)} {name}" if place == 0 else name
            table.add_column(stacked(header), justify="right", no_wrap=True, vertical="bottom")
        for row, more in zip(rows, cells, strict=True):
            row += more
    table.add_column("seeds", justify="right", vertical="bottom")
    seeds = [str(len(line.seeds) or "") for line in part.lines] + [""] * len(part.baselines)
    for row, count in zip(rows, seeds, strict=True):
        table.add_row(*row, count)
    return table


def _below(found: Reproduction, part: Part) -> Iterator[str]:
    """What the table's numbers are, and each line's note once."""
    yield part.facts
    of_note: dict[str, list[str]] = {}
    for line in part.lines:
        if line.row != DIFFERENCE:
            of_note.setdefault(line.note, []).append(_name(found, line.label, line.text))
    if len(of_note) > 1:
        for note, labels in of_note.items():
            if note:
                yield f"{', '.join(dict.fromkeys(labels))}: {note}."
    yield from found.table.notes
    if part.baselines:
        yield STARRED


def _name(found: Reproduction, label: str, text: Sequence[str]) -> str:
    """A label with its words where another row has the same one."""
    twins = sum(row.label == label for row in found.table.rows.values())
    words = ", ".join(word for word in text if word and word != "x")
    return f"{label} ({words})" if twins > 1 and words else label
