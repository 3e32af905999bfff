"""Which rows of a table of the paper can be trained. Nothing heavy is imported, so that a list of tables is quick."""

from __future__ import annotations

from rich.table import Table

from cdtr.config import Reproduction, load_config, load_reproduction, reproduction_names, switch_conflict
from cdtr.model.registry import method_names
from cdtr.reports.columns import add_text


def list_tables() -> Table:
    """Return every table and figure with the data sets and rows that it needs."""
    table = Table(title_justify="left")
    for column in ("name", "in the paper", "what", "data", "rows trained here"):
        add_text(table, column)
    for name in reproduction_names():
        found = load_reproduction(name)
        trained = f"{len(trainable_rows(found))} of {len(found.table.rows)}"
        table.add_row(name, found.caption, found.table.title, ", ".join(found.data), trained)
    return table


def trainable_rows(found: Reproduction) -> list[str]:
    """Return the rows whose method is implemented, and whose modules can stand together.

    Args:
        found: A table or figure.

    Returns:
        Names of rows, in the table's order.
    """
    names, rows = method_names(), []
    for name, row in found.table.rows.items():
        if row.settings is None:
            continue
        places = [data.preset for key, data in found.data.items() if name in found.table.rows_on(key)]
        configs = [load_config(preset, changes=row.settings) for preset in places]
        if all(config.method in names and not switch_conflict(config) for config in configs):
            rows.append(name)
    return rows
