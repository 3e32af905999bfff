"""Which rows of a table of the paper can be trained. Nothing heavy is imported, so that a list of tables is quick."""

from __future__ import annotations

from cdtr.config import Reproduction, load_config, switch_conflict
from cdtr.model.registry import method_names


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
