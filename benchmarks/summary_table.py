"""One table of all data sets, as Markdown: boxes that ignore the image, a salient-object network, and cdtr."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from result_tables import SummaryRow, baseline_range, cell, markdown, scores_of
from results_csv import Line

NOT_MEASURED = "not measured"
METRIC = "gt_known_loc"
HEADER = (
    "data set",
    "images",
    "best centred box (one a class)",
    "salient-object network, at its best threshold",
    "`cdtr`",
    "`cdtr`, Top-1 Loc",
    "seeds",
)


def render_summary(rows: Mapping[str, SummaryRow], lines: Sequence[Line], docs: str = "") -> str:
    """Return the table; a set without a line in ``results/*.csv`` says that it is not measured.

    Args:
        rows: the options of each row by the name of its table.
        lines: of all CSV files.
        docs: what leads from the page to docs/, such as ``docs/`` for the README.
    """
    body = [_row(name, options, lines, docs) for name, options in rows.items()]
    return markdown([list(HEADER), *body]) + "\n"


def _row(table: str, options: SummaryRow, lines: Sequence[Line], docs: str) -> list[str]:
    label = f"[{options.label}]({docs}benchmarks.md#{options.anchor})"
    ours = [line for line in lines if line["table"] == table and line["row"] == options.row]
    if not ours:
        return [label, "", NOT_MEASURED, NOT_MEASURED, NOT_MEASURED, NOT_MEASURED, ""]
    data = ours[0]["data"]  # tables of one data set share the network's line
    salient = [line for line in lines if line["data"] == data and line["row"] == options.salient]
    centred, per_class = (baseline_range(ours, name, METRIC) or "-" for name in ("centre_box", "centre_box_per_class"))
    return [
        label,
        ours[0]["n_images"],
        f"{centred} ({per_class})",
        _mean(salient, METRIC),
        _mean(ours, METRIC),
        _mean(ours, "top1_loc"),
        str(len(ours)),
    ]


def _mean(lines: Sequence[Line], metric: str) -> str:
    values = scores_of(lines, metric)
    return cell(values, each=False) if values else NOT_MEASURED
