"""A table of the paper beside what was measured here: Markdown, LaTeX and CSV."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from tabulate import tabulate

from cdtr.config import PAPER_PROTOCOL, Reproduction
from cdtr.reports.ablation_table import Spread
from cdtr.reports.paper_lines import COST_NAMES, DIFFERENCE, Findings, Line, Part, check_paper_metrics, compare
from cdtr.reports.tables import BASELINE_NAMES, METRIC_NAMES, csv_text, percent

__all__ = [
    "COST_NAMES",
    "Findings",
    "Line",
    "Part",
    "check_paper_metrics",
    "compare",
    "to_csv",
    "to_latex",
    "to_markdown",
]

IN_LATEX = {
    "±": r"$\pm$",
    "Δ": r"$\Delta$",
    "✓": r"\checkmark",
    "²": "$^2$",
    "×": r"$\times$",
    "†": r"$\dagger$",
}
_SIGN = {False: "", True: "+"}
STARRED = "* chosen on the evaluated images, which flatters it."


def to_markdown(found: Reproduction, parts: Sequence[Part]) -> str:
    """One section a data set."""
    lines = [f"# {found.caption}. {found.table.title}", "", _legend(parts), ""]
    for part in parts:
        header, *rows = _cells(found, part)
        table = tabulate(rows, header, tablefmt="pipe", disable_numparse=True, colalign=_alignment(found, header))
        lines += [f"## {part.label}", "", part.facts, "", table, ""]
    if any(part.baselines for part in parts):
        lines += [f"\\{STARRED}", ""]
    lines += [f"- {note}" for note in found.table.notes]
    return "\n".join(lines).rstrip() + "\n"


def to_latex(found: Reproduction, parts: Sequence[Part]) -> str:
    """A table environment a data set; needs the packages booktabs and amssymb."""
    blocks = []
    for part in parts:
        header, *rows = _cells(found, part)
        table = tabulate(rows, header, tablefmt="latex_booktabs", disable_numparse=True)
        caption = _escape(f"{found.caption}. {found.table.title}, {part.label}. {_legend([part])} {part.facts}")
        label = f"tab:{found.name}-{part.data}"
        blocks.append(
            f"\\begin{{table}}\n\\caption{{{caption}}}\n\\label{{{label}}}\n\\centering\n{table}\n"
            f"{_below_in_latex(found, part)}\\end{{table}}\n"
        )
    text = "\n".join(blocks)
    for sign, command in IN_LATEX.items():
        text = text.replace(sign, command)
    return text


def _below_in_latex(found: Reproduction, part: Part) -> str:
    """The meaning of the star, and the notes, each a small paragraph under its table."""
    lines = [*([STARRED] if part.baselines else []), *found.table.notes]
    start = "\\par\\smallskip\\raggedright\\footnotesize\n" if lines else ""
    return start + "".join(_escape(line) + "\\par\n" for line in lines)


def to_csv(found: Reproduction, parts: Sequence[Part], key: Mapping[str, float] | None = None) -> str:
    """One line a data set, row and metric. key: of a figure, row -> the setting that it is drawn over."""
    header = ["data", "row", "label", *([] if key is None else ["x"]), "metric", "paper", "ours", "ours_std"]
    header += [
        "difference",
        "paper_protocol",
        "protocol",
        "ours_at_best_threshold",
        "seeds",
        "values",
        "recipe",
        "note",
    ]
    return csv_text(header, _csv_lines(found, parts, key))


def _csv_lines(found: Reproduction, parts: Sequence[Part], key: Mapping[str, float] | None) -> Iterator[list[Any]]:
    for part in parts:
        for line in part.lines:
            for index, metric in enumerate(found.table.metrics):
                ours, oracle = line.ours[index], line.oracle[index]
                values = [] if ours is None else ours.values
                yield [
                    *(part.data, line.row, line.label, *([] if key is None else [key[line.row]]), metric),
                    _plain(line.paper[index]),
                    _plain(ours.mean if ours else None),
                    _plain(ours.std if ours and len(values) > 1 else None),
                    _plain(line.difference(index)),
                    *(("", "") if metric in COST_NAMES else (PAPER_PROTOCOL, part.protocol)),
                    _plain(oracle.mean if oracle else None),
                    "" if metric in COST_NAMES else " ".join(map(str, line.seeds)),
                    " ".join(f"{one:.3f}" for one in values),
                    line.recipe,
                    line.note,
                ]
        for name, scores in part.baselines.items():
            for metric, score in zip(found.table.metrics, scores, strict=True):
                if score is not None:
                    blank = [] if key is None else [""]
                    start = [part.data, name, BASELINE_NAMES[name].rstrip("*"), *blank, metric]
                    yield [*start, "", _plain(score), "", "", "", part.protocol, *[""] * 5]


def _legend(parts: Sequence[Part]) -> str:
    protocols = " and ".join(dict.fromkeys(part.protocol for part in parts))
    return (
        "Percent where no unit is given; ours: mean ± standard deviation over seeds; Δ: ours less the paper's. The "
        f"paper does not name its protocol; its code scores by protocol {PAPER_PROTOCOL}, with the best threshold of "
        f"the test set. Ours is {protocols}: numbers of different protocols are not comparable."
    )


def _alignment(found: Reproduction, header: Sequence[str]) -> list[Literal["left", "right"]]:
    words = len(found.table.columns)  # after the row's name
    return ["left" if index <= words or name == "note" else "right" for index, name in enumerate(header)]


def _cells(found: Reproduction, part: Part) -> list[list[str]]:
    """The header and the lines. A note that all lines share stands in the part's facts and has no column here."""
    noted = len({line.note for line in part.lines if line.row != DIFFERENCE}) > 1
    lines = [["", *found.table.columns], *word_cells(found, part)]
    for index, metric in enumerate(found.table.metrics):
        names, cells = metric_cells(part, index, metric)
        first, *others = names
        for line, more in zip(lines, [[f"{full_name(metric)}: {first}", *others], *cells], strict=True):
            line += more
    last = [["protocol", "seeds", "note"]]
    last += [[part.protocol if line.seeds else "", str(len(line.seeds) or ""), line.note] for line in part.lines]
    last += [[part.protocol, "", ""] for _ in part.baselines]
    return [line + more[: 3 if noted else 2] for line, more in zip(lines, last, strict=True)]


def full_name(metric: str) -> str:
    """The words for a metric or a cost.

    Args:
        metric: One of ``check_paper_metrics``.

    Returns:
        Such as ``GT-known Loc``; costs have their unit.
    """
    return (METRIC_NAMES | COST_NAMES)[metric]


def word_cells(found: Reproduction, part: Part) -> list[list[str]]:
    """The name of each line and of each baseline, with its words under the table's columns.

    Args:
        found: The table.
        part: One of its data sets.

    Returns:
        One list a line, then one a baseline.
    """
    lines = [[line.label, *("✓" if word == "x" else word for word in line.text)] for line in part.lines]
    return lines + [[BASELINE_NAMES[name], *("" for _ in found.table.columns)] for name in part.baselines]


def metric_cells(part: Part, index: int, metric: str) -> tuple[list[str], list[list[str]]]:
    """The cells of a metric: the paper's value as it prints it, ours, and the difference.

    Args:
        part: A data set of the table.
        index: The metric's place in the table.
        metric: Its name.

    Returns:
        The names of the columns, and one list a line and a baseline. Where the paper has no value of this metric there
        is the column of ours alone.
    """
    if all(line.paper[index] is None for line in part.lines):
        names, kept = ["ours"], slice(1, 2)
    else:
        names, kept = ["paper", "ours", "Δ"], slice(0, 3)
    digits = 2 if metric in COST_NAMES else 1
    cells = [_line_cells(line, index, digits)[kept] for line in part.lines]
    cells += [["", percent(scores[index]), ""][kept] for scores in part.baselines.values()]
    return names, cells


def _line_cells(line: Line, index: int, digits: int) -> list[str]:
    change, signed = line.difference(index), line.row == DIFFERENCE
    return [
        paper_number(line.paper[index], signed),
        _spread_text(line.ours[index], digits, signed),
        "" if change is None else f"{change:+.{digits}f}",
    ]


def paper_number(value: float | None, signed: bool = False) -> str:
    """A value of the paper, unrounded.

    Args:
        value: As the table's file has it; None where the paper has none.
        signed: With a plus sign where it is not negative, as differences are.

    Returns:
        With two decimals, or with as many more as it has; a dash for None.
    """
    if value is None:
        return "-"
    decimals = max(2, len(f"{value:.10g}".partition(".")[2]))
    return f"{value:{_SIGN[signed]}.{decimals}f}"


def _spread_text(value: Spread | None, digits: int, signed: bool) -> str:
    if value is None:
        return "-"
    mean = f"{value.mean:{_SIGN[signed]}.{digits}f}"
    return f"{mean} ± {value.std:.{digits}f}" if len(value.values) > 1 else mean


def _plain(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


def _escape(text: str) -> str:
    """As the cells of a LaTeX table are escaped."""
    return (
        str(tabulate([[text]], tablefmt="latex", disable_numparse=True))
        .splitlines()[2]
        .strip()
        .removesuffix(r"\\")
        .strip()
    )
