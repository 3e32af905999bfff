"""The lines of a table of the paper: its values beside what was measured here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from cdtr.config import PaperDifference, Reproduction, is_paper
from cdtr.errors import DataError
from cdtr.reports.ablation_table import Spread, known_mean
from cdtr.reports.tables import BASELINE_NAMES, METRIC_NAMES

COST_NAMES = {
    "parameters": "parameters (M)",
    "layer_multiply_adds": "MACs (G)",
    "multiply_adds": "with attention (G)",
    "ms_per_image": "ms per image",
    "memory": "memory (MiB)",
}
DIFFERENCE = "difference"  # the row that a table's ``difference`` adds
_OF_A_MACHINE = ("ms_per_image", "memory")  # the paper's are those of a GPU
_ANOTHER_MACHINE = (
    "The paper's times and memory are those of a GPU and ours are not, so no difference is given for them."
)


@dataclass(frozen=True, slots=True)
class Line:
    """A row of a table on a data set.

    Attributes:
        row, label, text: its name, and its words in the table.
        paper: the paper's value of each metric of the table.
        ours: the same, measured here.
        oracle: ours at the threshold that is best on the evaluated images, as published thresholds are.
        seeds: of ours.
        note: why ours is missing, or how it differs.
        recipe: the label of ours.
        apart: indices of metrics that the paper measured on another kind of machine.
    """

    row: str
    label: str
    text: tuple[str, ...]
    paper: tuple[float | None, ...]
    ours: tuple[Spread | None, ...]
    oracle: tuple[Spread | None, ...]
    seeds: tuple[int, ...]
    note: str = ""
    recipe: str = ""
    apart: frozenset[int] = frozenset()

    def difference(self, index: int) -> float | None:
        """Ours less the paper's value of a metric.

        Args:
            index: Of the metric in the table.

        Returns:
            None where one of them is missing, or where they are of machines of unlike kinds.
        """
        ours, paper = self.ours[index], self.paper[index]
        return None if ours is None or paper is None or index in self.apart else ours.mean - paper


@dataclass(frozen=True, slots=True)
class Part:
    """The lines of a table on one data set.

    Attributes:
        data, label: the name of the data set, and its words.
        protocol: how ours were scored.
        facts: what ours were measured on and with.
        lines: the lines.
        baselines: the metrics of the trivial baselines in percent, by name.
    """

    data: str
    label: str
    protocol: str
    facts: str
    lines: tuple[Line, ...]
    baselines: Mapping[str, tuple[float | None, ...]] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """The data set, and each recipe that is not the paper's, for a figure without notes."""
        recipes = dict.fromkeys(line.recipe for line in self.lines if line.recipe and not is_paper(line.recipe))
        return ", ".join([self.label, *(f"recipe {recipe}" for recipe in recipes)])


@dataclass(frozen=True, slots=True)
class Findings:
    """What was measured on one data set of a table.

    Attributes:
        protocol: how it was scored.
        preset: the preset and settings of the runs.
        data_name: the name of the data set at hand; None without one.
        evaluations: by row and seed.
        costs: by row and name.
        notes: by row, why ours is missing, or how it differs.
        cost_machine: what costs were measured on.
        recipes: the label (``recipe_label``) of each row.
        on_gpu: whether costs were measured on a GPU.
    """

    protocol: str
    preset: str
    data_name: str | None = None
    evaluations: Mapping[str, Mapping[int, Mapping[str, Any]]] = field(default_factory=dict)
    costs: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)
    cost_machine: str = ""
    recipes: Mapping[str, str] = field(default_factory=dict)
    on_gpu: bool = False


def check_paper_metrics(found: Reproduction) -> None:
    """Raise DataError for a metric that is neither evaluated nor a cost."""
    for name in found.table.metrics:
        if name not in METRIC_NAMES and name not in COST_NAMES:
            raise DataError(
                f"{found.name}: unknown metric {name!r}: choose from {', '.join(METRIC_NAMES | COST_NAMES)}"
            )


def compare(found: Reproduction, findings: Mapping[str, Findings]) -> list[Part]:
    """Return the paper's numbers beside ours, one part a data set."""
    return [_part(found, data, findings[data]) for data in found.data]


def _part(found: Reproduction, data: str, known: Findings) -> Part:
    metrics = found.table.metrics
    lines = list(_lines(found, data, known))
    facts, notes = _facts(known), {line.note for line in lines}
    if len(notes) == 1 and (note := notes.pop()):
        facts += f" {note[0].upper()}{note[1:]}."
    if any(line.apart for line in lines):
        facts += f" {_ANOTHER_MACHINE}"
    if found.table.difference is not None:
        lines.append(_difference_line(found.table.difference, {line.row: line for line in lines}))
    everything = _all_evaluations(known)
    trivial = {
        key: tuple(
            known_mean([(one["baselines"].get(key) or {}).get(metric) for one in everything]) for metric in metrics
        )
        for key in (BASELINE_NAMES if everything else ())
    }
    shown = {key: values for key, values in trivial.items() if any(value is not None for value in values)}
    return Part(data, found.data[data].label, known.protocol, facts, tuple(lines), shown)


def _lines(found: Reproduction, data: str, known: Findings) -> Iterable[Line]:
    metrics = found.table.metrics
    for name, row in found.table.rows_on(data).items():
        of_seeds, costs = known.evaluations.get(name, {}), known.costs.get(name, {})
        ours = tuple(_ours(metric, of_seeds.values(), costs) for metric in metrics)
        unlike = {index for index, metric in enumerate(metrics) if metric in _OF_A_MACHINE and not known.on_gpu}
        recipe = known.recipes.get(name, "")
        told = f"recipe {recipe}" if recipe and not is_paper(recipe) and any(ours) else ""
        yield Line(
            row=name,
            label=row.label,
            text=row.text,
            paper=row.paper.get(data, (None,) * len(metrics)),
            ours=ours,
            oracle=tuple(Spread.of([(one.get("oracle") or {}).get(m) for one in of_seeds.values()]) for m in metrics),
            seeds=tuple(of_seeds),
            note=", ".join(filter(None, (told, known.notes.get(name, "")))),
            recipe=recipe,
            apart=frozenset(index for index in unlike if ours[index] is not None),
        )


def _difference_line(spec: PaperDifference, lines: Mapping[str, Line]) -> Line:
    """The paper's own row of differences between two rows; ours are those of the same seeds."""
    top, base = lines[spec.row], lines[spec.base]
    seeds = tuple(seed for seed in top.seeds if seed in base.seeds)

    def paired(first: Spread | None, second: Spread | None) -> Spread | None:
        if first is None or second is None or not seeds:
            return None
        of_top = dict(zip(top.seeds, first.values, strict=True))
        of_base = dict(zip(base.seeds, second.values, strict=True))
        return Spread(tuple(of_top[seed] - of_base[seed] for seed in seeds))

    return Line(
        row=DIFFERENCE,
        label=spec.label,
        text=("",) * len(top.text),
        paper=tuple(map(_less, top.paper, base.paper)),
        ours=tuple(map(paired, top.ours, base.ours)),
        oracle=tuple(map(paired, top.oracle, base.oracle)),
        seeds=seeds,
    )


def _less(value: float | None, base: float | None) -> float | None:
    """To the two decimals that the paper prints."""
    return None if value is None or base is None else round(value - base, 2)


def _ours(metric: str, evaluations: Iterable[Mapping[str, Any]], costs: Mapping[str, float]) -> Spread | None:
    if metric in COST_NAMES:
        return Spread((costs[metric],)) if metric in costs else None
    return Spread.of([one["metrics"].get(metric) for one in evaluations])


def _all_evaluations(known: Findings) -> list[Mapping[str, Any]]:
    return [one for of_seeds in known.evaluations.values() for one in of_seeds.values()]


def _facts(known: Findings) -> str:
    words, evaluations = [f"preset {known.preset}"], _all_evaluations(known)
    if evaluations:
        images = " or ".join(sorted({str(one["n_images"]) for one in evaluations}))
        thresholds = sorted({str(one["threshold_source"] or "no threshold") for one in evaluations})
        splits = " or ".join(sorted({str(one["split"]) for one in evaluations}))
        words += [f"{images} {splits} images of {known.data_name}", f"protocol {known.protocol}", *thresholds]
    if known.cost_machine:
        words.append(f"costs on {known.cost_machine}")
    return f"Ours: {', '.join(words)}." if evaluations or known.cost_machine else "Ours: nothing yet."
