"""A bench on a terminal, and as a page that sorts by what the reader asks for."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from datetime import date
from importlib.resources import files
from pathlib import Path
from typing import Any

from rich.table import Table

from cdtr.reports.bench_table import COST_NAMES, BenchTable, Line, Value
from cdtr.reports.columns import add_number, add_text
from cdtr.reports.page import write_page
from cdtr.reports.tables import METRIC_NAMES
from cdtr.runs import library_versions
from cdtr.text import printable

_DIGITS = {"time_ratio": 2, "parameters": 2, "trained_parameters": 2, "gmacs": 2}
_ON_TERMINAL = ("ms_per_image", "time_ratio", "memory_mib", "parameters")  # the others are in the CSV and on the page


def to_tables(table: BenchTable) -> list[Table]:
    """Format a bench for a terminal: one table a data set, under its own protocol.

    Args:
        table: The bench.

    Returns:
        Mean and standard deviation over the seeds, with the difference to the base row in the column that sorts.
    """
    found = []
    for data, by_protocol in table.lines.items():
        protocol, lines = next(iter(by_protocol.items()))
        title = f"{data}: percent, protocol {protocol}, mean ± standard deviation over seeds, Δ to {table.base}"
        one = Table(title=printable(title), title_justify="left")
        add_text(one, "row")
        columns = {key: name for key, name in table.columns.items() if key in (*table.metrics, *_ON_TERMINAL)}
        for key, name in columns.items():
            add_number(one, name)
            if key == table.sort and key in table.metrics:
                add_number(one, "Δ")
        for line in lines:
            one.add_row(printable(line.name), *_terminal_cells(line, columns, table))
        found.append(one)
    return found


def _terminal_cells(line: Line, columns: Mapping[str, str], table: BenchTable) -> list[str]:
    cells = []
    for key in columns:
        value = line.values.get(key)
        cells.append("-" if value is None else shown(key, value))
        if key == table.sort and key in table.metrics:
            cells.append("" if value is None or value.change is None else changed(value))
    return cells


def shown(key: str, value: Value) -> str:
    """Format a value, with its standard deviation where there are several seeds."""
    text = f"{value.mean:.{_DIGITS.get(key, 1)}f}"
    return text if value.std is None else f"{text} ± {value.std:.1f}"


def changed(value: Value) -> str:
    """Format the difference to the base row; empty if there is none."""
    change = value.change
    if change is None:
        return ""
    return f"{change.mean:+.1f}" + (f" ± {change.std:.1f}" if len(change.values) > 1 else "")


def write_bench(table: BenchTable, name: str, page: Path) -> None:
    """Write one HTML file that needs no other.

    Args:
        table: The bench.
        name: Of the bench, for the title.
        page: The file.
    """
    script = files("cdtr.reports").joinpath("bench.js").read_text(encoding="utf-8")
    digest = hashlib.sha256(script.encode()).digest()
    write_page("bench.html", page, bench_words(table, name) | {"script": script, "digest": _base64(digest)})


def bench_words(table: BenchTable, name: str) -> dict[str, Any]:
    """Return everything that the template ``bench.html`` says, but for its script."""
    parts = []
    for data, by_protocol in table.lines.items():
        sections = [(protocol, [_row(line, table) for line in lines]) for protocol, lines in by_protocol.items()]
        parts.append(
            {
                "name": data,
                "sections": sections,
                "beside": _beside(by_protocol, table.metrics[0]) if len(by_protocol) > 1 else None,
                "machine": table.machines.get(data, ""),
                "notes": table.notes.get(data, ()),
            }
        )
    protocols = list(dict.fromkeys(protocol for by_protocol in table.lines.values() for protocol in by_protocol))
    return {
        "name": name,
        "parts": parts,
        "columns": [(key, title, key in COST_NAMES) for key, title in table.columns.items()],
        "protocols": protocols,
        "sort": table.sort,
        "base": table.base,
        "first": METRIC_NAMES[table.metrics[0]],
        "written": date.today().isoformat(),
        "version": library_versions()["cdtr"],
    }


def _row(line: Line, table: BenchTable) -> dict[str, Any]:
    cells: list[dict[str, str] | None] = []
    for key in table.columns:
        value = line.values.get(key)
        if value is None:
            cells.append(None)
            continue
        known = value.low is not None and value.high is not None
        digits = _DIGITS.get(key, 1)
        cells.append(
            {
                "value": f"{value.mean:.6g}",
                "text": shown(key, value),
                "between": f"{value.low:.{digits}f}–{value.high:.{digits}f}" if known else "",
                "change": changed(value) if key in table.metrics else "",
            }
        )
    return {"kind": line.kind, "name": line.name, "recipe": line.recipe, "seeds": len(line.seeds), "cells": cells}


def _beside(by_protocol: Mapping[str, Sequence[Line]], metric: str) -> dict[str, Any]:
    """The first metric of every line under each protocol."""
    values: dict[str, dict[str, Value]] = {}
    for protocol, lines in by_protocol.items():
        for line in lines:
            if metric in line.values:
                values.setdefault(line.name, {})[protocol] = line.values[metric]
    rows = [
        (name, [None if (one := found.get(protocol)) is None else shown(metric, one) for protocol in by_protocol])
        for name, found in values.items()
    ]
    return {"protocols": list(by_protocol), "rows": rows}


def _base64(digest: bytes) -> str:
    return base64.b64encode(digest).decode("ascii")
