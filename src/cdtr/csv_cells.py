"""Texts in cells of CSV files: no spreadsheet may run a name as a formula.

Spreadsheets take a cell that starts with ``=``, ``+``, ``-`` or ``@`` for a formula, which may call programs. Such a
text is written with an apostrophe in front, which spreadsheets take for "this is text", and read back without it.
"""

from __future__ import annotations

import re

# Full-width forms count as well in some spreadsheets. A text that has apostrophes already gets one more, so that
# exactly one is taken away again whatever the text was.
_FORMULA = re.compile(r"'*[=+\-@＝＋－＠\t\r\n]")
_WRITTEN = re.compile(r"'+[=+\-@＝＋－＠\t\r\n]")


def to_cell(text: str) -> str:
    """Return the text as it is written into a cell; numbers that the program formats itself need no change."""
    return f"'{text}" if _FORMULA.match(text) else text


def from_cell(cell: str) -> str:
    """Return the text of a cell that ``to_cell`` wrote; any other cell is returned unchanged."""
    return cell[1:] if _WRITTEN.match(cell) else cell
