"""Columns of tables on a terminal: nothing is cut with dots, however narrow the terminal is."""

from __future__ import annotations

from rich.table import Table


def stacked(header: str) -> str:
    """A word a line, as the numbers below are narrow."""
    return "\n".join(header.split())


def add_text(table: Table, header: str) -> None:
    """A column of words, which are folded where they do not fit."""
    table.add_column(header, overflow="fold", vertical="bottom")


def add_number(table: Table, header: str) -> None:
    """A column of numbers, aligned at the right, with a word of its header a line."""
    table.add_column(stacked(header), justify="right", overflow="fold", vertical="bottom")
