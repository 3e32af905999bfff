"""A table of the paper beside what was measured here: Markdown, LaTeX, CSV, and for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from rich.table import Table
from tabulate import tabulate

from cdtr.config import PAPER_PROTOCOL, Reproduction
from cdtr.errors import DataError
from cdtr.reports.ablation import Spread
from cdtr.reports.tables import BASELINE_NAMES, METRIC_NAMES, csv_text, percent

COST_NAMES = {
    "parameters": "parameters (M)",
    "multiply_adds": "multiply-adds (G)",
    "ms_per_image": "ms per image",
    "memory": "memory (MiB)",
}
IN_LATEX = {"±": r"$\pm$", "Δ": r"$\Delta$", "✓": r"\checkmark"}
STARRED = "* chosen on the evaluated images, which flatters it."


@dataclass(frozen=True, slots=True)
class Line:
    """A row on a data set. paper, ours: by the table's metrics; oracle: ours at the threshold that is best on the
    evaluated images, as published thresholds are. seeds: of ours. note: why ours is missing, or how it differs.
    """

    row: str
    label: str
    text: tuple[str, ...]
    paper: tuple[float | None, ...]
    ours: tuple[Spread | None, ...]
    oracle: tuple[Spread | None, ...]
    seeds: tuple[int, ...]
    note: str = ""

    def difference(self, index: int) -> float | None:
        ours, paper = self.ours[index], self.paper[index]
        return None if ours is None or paper is None else ours.mean - paper


@dataclass(frozen=True, slots=True)
class Part:
    """A data set's lines. facts: what ours was measured on and with; baselines: their metrics in percent, by name."""

    data: str
    label: str
    protocol: str
    facts: str
    lines: tuple[Line, ...]
    baselines: Mapping[str, tuple[float | None, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Findings:
    """What is known about one data set: evaluations by row and seed, costs and reasons by row."""

    protocol: str
    preset: str
    data_name: str | None = None
    evaluations: Mapping[str, Mapping[int, Mapping[str, Any]]] = field(default_factory=dict)
    costs: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)
    cost_machine: str = ""


def check_paper_metrics(found: Reproduction) -> None:
    """DataError for a metric that is neither evaluated nor a cost."""
    for name in found.table.metrics:
        if name not in METRIC_NAMES and name not in COST_NAMES:
            raise DataError(
                f"{found.name}: unknown metric {name!r}: choose from {', '.join(METRIC_NAMES | COST_NAMES)}"
            )


def compare(found: Reproduction, findings: Mapping[str, Findings]) -> list[Part]:
    """The paper's numbers beside ours, one part a data set."""
    return [_part(found, data, findings[data]) for data in found.data]


def _part(found: Reproduction, data: str, known: Findings) -> Part:
    metrics, lines = found.table.metrics, []
    for name, row in found.table.rows_on(data).items():
        of_seeds, costs = known.evaluations.get(name, {}), known.costs.get(name, {})
        lines.append(
            Line(
                row=name,
                label=row.label,
                text=row.text,
                paper=row.paper.get(data, (None,) * len(metrics)),
                ours=tuple(_ours(metric, of_seeds.values(), costs) for metric in metrics),
                oracle=tuple(_spread([(one.get("oracle") or {}).get(m) for one in of_seeds.values()]) for m in metrics),
                seeds=tuple(of_seeds),
                note=known.notes.get(name, ""),
            )
        )
    everything = [one for of_seeds in known.evaluations.values() for one in of_seeds.values()]
    trivial = {
        key: tuple(_mean([(one["baselines"].get(key) or {}).get(metric) for one in everything]) for metric in metrics)
        for key in (BASELINE_NAMES if everything else ())
    }
    shown = {key: values for key, values in trivial.items() if any(value is not None for value in values)}
    facts, notes = _facts(known, everything), {line.note for line in lines}
    if len(notes) == 1 and (note := notes.pop()):
        facts += f" {note[0].upper()}{note[1:]}."
    return Part(data, found.data[data].label, known.protocol, facts, tuple(lines), shown)


def _ours(metric: str, evaluations: Any, costs: Mapping[str, float]) -> Spread | None:
    if metric in COST_NAMES:
        return Spread((costs[metric],)) if metric in costs else None
    return _spread([one["metrics"].get(metric) for one in evaluations])


def _facts(known: Findings, evaluations: Sequence[Mapping[str, Any]]) -> str:
    words = [f"preset {known.preset}"]
    if evaluations:
        images = " or ".join(sorted({str(one["n_images"]) for one in evaluations}))
        thresholds = sorted({str(one["threshold_source"] or "no threshold") for one in evaluations})
        splits = " or ".join(sorted({str(one["split"]) for one in evaluations}))
        words += [f"{images} {splits} images of {known.data_name}", f"protocol {known.protocol}", *thresholds]
    if known.cost_machine:
        words.append(f"costs on {known.cost_machine}")
    return f"Ours: {', '.join(words)}." if evaluations or known.cost_machine else "Ours: nothing yet."


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
    """What the star stands for, and the notes, each a small paragraph under its table."""
    lines = [*([STARRED] if part.baselines else []), *found.table.notes]
    start = "\\par\\smallskip\\raggedright\\footnotesize\n" if lines else ""
    return start + "".join(_escape(line) + "\\par\n" for line in lines)


def to_csv(found: Reproduction, parts: Sequence[Part], key: Mapping[str, float] | None = None) -> str:
    """One line a data set, row and metric. key: of a figure, row -> the setting that it is drawn over."""
    header = ["data", "row", "label", *([] if key is None else ["x"]), "metric", "paper", "ours", "ours_std"]
    header += ["difference", "paper_protocol", "protocol", "ours_at_best_threshold", "seeds", "values", "note"]
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
                    line.note,
                ]
        for name, scores in part.baselines.items():
            for metric, score in zip(found.table.metrics, scores, strict=True):
                if score is not None:
                    blank = [] if key is None else [""]
                    start = [part.data, name, BASELINE_NAMES[name].rstrip("*"), *blank, metric]
                    yield [*start, "", _plain(score), "", "", "", part.protocol, *[""] * 4]


def to_tables(found: Reproduction, parts: Sequence[Part]) -> Iterator[Table]:
    """For a terminal."""
    for part in parts:
        title = f"{found.caption}, {part.label}, protocol {part.protocol}"
        table = Table(title=title, title_justify="left", caption=part.facts, caption_justify="left")
        header, *rows = _cells(found, part)
        for name, justify in zip(header, _alignment(found, header), strict=True):
            table.add_column(name, justify=justify)
        for row in rows:
            table.add_row(*row)
        yield table


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
    columns, metrics = found.table.columns, found.table.metrics
    header = ["", *columns]
    for metric in metrics:
        header += [f"{(METRIC_NAMES | COST_NAMES)[metric]}: paper", "ours", "Δ"]
    noted = len({line.note for line in part.lines}) > 1
    lines = [[*header, "protocol", "seeds", *(["note"] if noted else [])]]
    for line in part.lines:
        cells = [line.label, *("✓" if word == "x" else word for word in line.text)]
        for index, metric in enumerate(metrics):
            digits = 2 if metric in COST_NAMES else 1
            change = line.difference(index)
            cells += [_number(line.paper[index], 2), _spread_text(line.ours[index], digits)]
            cells.append("" if change is None else f"{change:+.{digits}f}")
        cells += [part.protocol if line.seeds else "", str(len(line.seeds) or "")]
        lines.append([*cells, line.note] if noted else cells)
    for name, scores in part.baselines.items():
        cells = [BASELINE_NAMES[name], *("" for _ in columns)]
        for score in scores:
            cells += ["", percent(score), ""]
        lines.append([*cells, part.protocol, "", *([""] if noted else [])])
    return lines


def _spread_text(value: Spread | None, digits: int) -> str:
    if value is None:
        return "-"
    mean = f"{value.mean:.{digits}f}"
    return f"{mean} ± {value.std:.{digits}f}" if len(value.values) > 1 else mean


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _plain(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


def _spread(values: Sequence[float | None]) -> Spread | None:
    known = tuple(float(value) for value in values if value is not None)
    return Spread(known) if known and len(known) == len(values) else None


def _mean(values: Sequence[float | None]) -> float | None:
    spread = _spread([value for value in values if value is not None])
    return spread.mean if spread else None


def _escape(text: str) -> str:
    """As the cells of a LaTeX table are escaped."""
    return (
        str(tabulate([[text]], tablefmt="latex", disable_numparse=True))
        .splitlines()[2]
        .strip()
        .removesuffix(r"\\")
        .strip()
    )
