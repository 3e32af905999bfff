"""Columns of tables on a terminal. Text is folded, never truncated, however narrow the terminal is."""

from __future__ import annotations

from rich.table import Table


def stacked(header: str) -> str:
    """Put each word of a header on its own line, because numbers are narrow."""
    return "\n".join(header.split())


def add_text(table: Table, header: str) -> None:
    """Add a column of text, which is folded if it does not fit."""
    table.add_column(header, overflow="fold", vertical="bottom")


def add_number(table: Table, header: str) -> None:
    """Add a column of numbers, aligned to the right, with each word of its header on its own line."""
    table.add_column(stacked(header), justify="right", overflow="fold", vertical="bottom")
