"""Write the tables of docs/*.md from results/*.csv, or with --check only say which is out of date.

    python benchmarks/make_tables.py
    python benchmarks/make_tables.py --check

A table stands between ``<!-- table: NAME -->`` and ``<!-- /table -->``; what it shows is said in results/tables.yaml.
The table of all sets stands between ``<!-- summary -->`` and ``<!-- /summary -->``, in README.md too.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from cdtr.errors import CdtrError, DataError
from cdtr.runs import write_atomic
from result_tables import SummaryRow, TableOptions, load_summary, load_tables, render
from results_csv import Line, line_key, read_lines
from summary_table import render_summary

PROJECT = Path(__file__).resolve().parents[1]
_OPEN, _CLOSE = "<!-- table: ", "<!-- /table -->"
_SUMMARY = re.compile(r"(?P<open><!-- summary -->\n)(?P<text>.*?)(?P<close><!-- /summary -->)", re.DOTALL)
_TABLE = re.compile(r"<!-- table: (?P<name>[\w-]+) -->\n(?P<text>.*?)<!-- /table -->", re.DOTALL)


def read_results(folder: Path) -> list[Line]:
    """The lines of all CSV files of a folder; DataError where two files have the same line of a table."""
    lines: list[Line] = []
    seen: dict[tuple[str, str, int], Path] = {}
    for path in sorted(folder.glob("*.csv")):
        for line in read_lines(path):
            other = seen.setdefault(line_key(line), path)
            if other != path:
                raise DataError(f"{other} and {path} both have {line['row']}, seed {line['seed']} of {line['table']}")
            lines.append(line)
    return lines


def fill(page: str, tables: Mapping[str, TableOptions], lines: Sequence[Line], origin: str) -> tuple[str, list[str]]:
    """A page with its tables made anew, and the names of those that were not as they should be.

    Args:
        page: Markdown.
        tables: options by name.
        lines: of ``results/*.csv``.
        origin: the page's name, for errors.

    Raises:
        DataError: a marker without its other half, or with a name that has no options.
    """
    stale: list[str] = []

    def made(found: re.Match[str]) -> str:
        name = found["name"]
        if name not in tables:
            raise DataError(f"{origin}: table {name} is not in tables.yaml, which has {', '.join(tables)}")
        text = f"\n{render(name, tables[name], lines)}\n"
        if text != found["text"]:
            stale.append(name)
        return f"{_OPEN}{name} -->\n{text}{_CLOSE}"

    matches = list(_TABLE.finditer(page))
    inner = any(_OPEN in found["text"] for found in matches)
    if inner or not len(matches) == page.count(_OPEN) == page.count(_CLOSE):
        raise DataError(
            f"{origin}: every '{_OPEN}NAME -->' needs a '{_CLOSE}' on a line after it, and no other between"
        )
    return _TABLE.sub(made, page), stale


def fill_summary(
    page: str, rows: Mapping[str, SummaryRow], lines: Sequence[Line], docs: str = ""
) -> tuple[str, list[str]]:
    """A page with the table of all sets made anew, and ``["summary"]`` if it was not as it should be.

    Args:
        page: Markdown, with the table or without.
        rows: of the table.
        lines: of ``results/*.csv``.
        docs: what leads from the page to docs/.
    """
    text = f"\n{render_summary(rows, lines, docs)}\n"
    filled = _SUMMARY.sub(lambda found: f"{found['open']}{text}{found['close']}", page)
    return filled, ["summary"] if filled != page else []


def make(docs: Path, results: Path, check: bool) -> list[str]:
    """Write all pages of a folder and the README beside it, or with ``check`` none.

    Returns:
        The names of the tables that were out of date.
    """
    tables, lines = load_tables(results / "tables.yaml"), read_results(results)
    summary = load_summary(results / "tables.yaml")
    readme = docs.parent / "README.md"
    found: list[str] = []
    shown: set[str] = set()
    for path in [*sorted(docs.glob("*.md")), *([readme] if readme.is_file() else [])]:
        page = path.read_text(encoding="utf-8")
        filled, stale = fill(page, tables, lines, path.name)
        filled, stale_summary = fill_summary(filled, summary, lines, "docs/" if path == readme else "")
        stale += stale_summary
        shown |= {one["name"] for one in _TABLE.finditer(page)}
        found += stale
        if stale and not check:
            write_atomic(path, filled)
    missing = [name for name in tables if name not in shown]
    if missing:
        raise DataError(f"table {missing[0]} of tables.yaml is on no page: add its markers, or remove it")
    return found


def main() -> int:
    """Make or check the tables of this project."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 where a table is out of date")
    parser.add_argument("--docs", type=Path, default=PROJECT / "docs", help="folder of pages")
    parser.add_argument("--results", type=Path, default=PROJECT / "results", help="folder of CSV files and tables.yaml")
    options = parser.parse_args()
    try:
        stale = make(options.docs, options.results, options.check)
    except CdtrError as error:
        print(error, file=sys.stderr)
        return 2
    if not options.check:
        print(f"wrote {', '.join(stale)}" if stale else "all tables are up to date")
        return 0
    if stale:
        print(f"out of date: {', '.join(stale)}; write them with `python benchmarks/make_tables.py`", file=sys.stderr)
    return int(bool(stale))


if __name__ == "__main__":
    sys.exit(main())
