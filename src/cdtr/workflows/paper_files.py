"""The files of a reproduction: the table beside the paper's, the numbers of a figure, and its images."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch

from cdtr.api import find_device
from cdtr.config import Config, Reproduction, load_config, recipe_label
from cdtr.evaluation import find_protocol
from cdtr.json_tree import parse_json
from cdtr.model.cost import Cost, measure_costs
from cdtr.model.methods import build_method
from cdtr.reports.ablation_table import collect
from cdtr.reports.figures import figure_png
from cdtr.reports.paper_figure import (
    iou_data,
    iou_figure,
    sweep_figure,
    sweep_values,
    training_data,
    training_figure,
)
from cdtr.reports.paper_table import COST_NAMES, Findings, Part, compare, to_csv, to_latex, to_markdown
from cdtr.runs import RunFolder, write_json
from cdtr.workflows.paper_gallery import gallery_files
from cdtr.workflows.paper_runs import PaperPlan, PaperRun, Scale, class_count, result_file, run_folder
from cdtr.workflows.reporting import Reporter

COST_IMAGES, COST_ROUNDS = 8, 3
INPUT_SIZE, PAPER_INPUT = "input size", (224, 224)  # a column of Tables VI and XI, and what it has in every row
ByPlace = Mapping[str, Mapping[str, Mapping[int, Any]]]  # data set, row, seed


@dataclass(frozen=True, slots=True)
class PaperFiles:
    """What is known of a table, and the files about it.

    Attributes:
        parts: the lines of the table, one part a data set.
        files: content by file name.
    """

    parts: Sequence[Part]
    files: Mapping[str, str | bytes]


def make_files(
    found: Reproduction,
    plan: PaperPlan,
    scale: Scale,
    seeds: Sequence[int],
    out: Path,
    protocol: str | None,
    images: int | None,
    reporter: Reporter,
) -> PaperFiles:
    """Compare whatever runs are done with the paper.

    Args:
        found: the table or figure.
        plan: its runs.
        scale: what the user chose.
        seeds: of the runs.
        out: the folder of everything.
        protocol: how ours are scored; None takes the preset's.
        images: how many a data set a figure shows; None takes the figure's own number.
        reporter: takes notes and progress.
    """
    findings = {data: _findings(found, data, plan, scale, seeds, out, protocol, reporter) for data in found.data}
    parts, files = compare(found, findings), dict[str, str | bytes]()
    if found.table.metrics:
        values = sweep_values(found) if found.table.figure and found.table.figure.kind == "sweep" else None
        files[f"{found.name}.md"] = to_markdown(found, parts)
        files[f"{found.name}.tex"] = to_latex(found, parts)
        files[f"{found.name}.csv"] = to_csv(found, parts, values)
    files |= _figure_files(found, parts, findings, _run_folders(plan, seeds, out))
    rules = {data: find_protocol(known.protocol) for data, known in findings.items()}
    files |= gallery_files(found, plan, scale, seeds[0], out, rules, images, reporter)
    return PaperFiles(parts, files)


def _figure_files(
    found: Reproduction, parts: Sequence[Part], findings: Mapping[str, Findings], runs: ByPlace
) -> Iterator[tuple[str, str | bytes]]:
    spec, name = found.table.figure, found.name
    evaluations = {data: known.evaluations for data, known in findings.items()}
    if spec is None:
        return
    if spec.kind == "sweep":
        yield f"{name}.png", figure_png(sweep_figure(found, parts))
    elif spec.kind == "iou":
        yield f"{name}-data.csv", iou_data(found, evaluations)
        yield f"{name}.png", figure_png(iou_figure(found, parts, evaluations))
    else:
        field = "lambdas" if spec.kind == "lambdas" else "terms"
        yield f"{name}.csv", training_data(found, runs, field)
        yield f"{name}.png", figure_png(training_figure(found, parts, runs, field))


def _run_folders(plan: PaperPlan, seeds: Sequence[int], out: Path) -> dict[str, dict[str, dict[int, RunFolder]]]:
    """The runs that have finished training."""
    folders: dict[str, dict[str, dict[int, RunFolder]]] = {}
    for (data, row), run in plan.runs.items():
        for seed in seeds:
            folder = RunFolder(run_folder(out, run, seed))
            if folder.weights.is_file():
                folders.setdefault(data, {}).setdefault(row, {})[seed] = folder
    return folders


def _findings(
    found: Reproduction,
    data: str,
    plan: PaperPlan,
    scale: Scale,
    seeds: Sequence[int],
    out: Path,
    protocol: str | None,
    reporter: Reporter,
) -> Findings:
    """What is known about one data set of the table."""
    config = load_config(scale.presets[data], scale.overrides)
    rules = protocol or config.evaluation.protocol
    runs = {row: run for (where, row), run in plan.runs.items() if where == data}
    collected = collect({(row, seed): result_file(out, run, seed) for row, run in runs.items() for seed in seeds})
    evaluations: dict[str, dict[int, dict[str, Any]]] = {}
    for (row, seed), tree in collected.items():
        if rules not in tree["protocols"]:
            reporter.note(f"{row}, seed {seed}: not measured under protocol {rules}, whose view its sizes do not allow")
            continue
        evaluations.setdefault(row, {})[seed] = {**tree["protocols"][rules], "split": tree["split"]}
    notes = {row: reason for (where, row), reason in plan.reasons.items() if where == data}
    notes |= {row: text for row, run in runs.items() if (text := _note(run, evaluations.get(row, {}), seeds, out))}
    costed = {row: run for (where, row), run in plan.costed.items() if where == data}
    if INPUT_SIZE in found.table.columns:
        for row, run in costed.items():
            notes[row] = ", ".join(filter(None, (_size_note(run.config), notes.get(row, ""))))
    measured = _costs(found, data, costed, scale, out, reporter) if set(found.table.metrics) & set(COST_NAMES) else {}
    return Findings(
        protocol=rules,
        preset=", ".join([scale.presets[data], *scale.overrides]),
        data_name=scale.sources[data].root.name if data in scale.sources else None,
        evaluations=evaluations,
        costs={row: measured["costs"][run.key] for row, run in costed.items()} if measured else {},
        notes=notes,
        cost_machine=measured.get("machine", ""),
        recipes={row: recipe_label(run.config) for row, run in costed.items()},
        on_gpu=measured.get("device") == "cuda",
    )


def _note(run: PaperRun, done: Mapping[int, Any], seeds: Sequence[int], out: Path) -> str:
    words = []
    for module in run.wanted:
        off = [seed for seed in done if not _is_on(RunFolder(run_folder(out, run, seed)).config(), module)]
        if off:
            where = "" if len(off) == len(done) else f" in seeds {', '.join(map(str, off))}"
            words.append(f"without {module.upper()}{where}")
    if len(done) < len(seeds):
        words.append(f"{len(done)} of {len(seeds)} seeds done")
    return ", ".join(words)


def _size_note(config: Config) -> str:
    """A note where the table names the paper's input size and ours is another one."""
    height, width = config.data.input_size
    return "" if (height, width) == PAPER_INPUT else f"ours at {height}×{width} pixels"


def _is_on(config: Config, module: str) -> bool:
    return bool(getattr(config, module).enabled)


def _costs(
    found: Reproduction, data: str, runs: Mapping[str, PaperRun], scale: Scale, out: Path, reporter: Reporter
) -> dict[str, Any]:
    """The cost of each row's method by its key, measured once and kept in the folder ``costs``."""
    path = out / "costs" / f"{found.name}-{data}.json"
    device, classes = find_device(None), class_count(found, scale, data)
    keys = sorted({run.key for run in runs.values()})
    wanted = {"machine": _machine(device), "device": device.type, "classes": classes, "keys": keys}
    wanted["measures"] = [field.name for field in fields(Cost)]
    if path.is_file():
        kept: dict[str, Any] = parse_json(path.read_text(encoding="utf-8"))
        if {name: kept.get(name) for name in wanted} == wanted:
            return kept
    if not runs:
        return {}
    reporter.note(f"measuring the cost of {len(keys)} methods on {wanted['machine']}")
    configs = {run.key: run.config for run in runs.values()}
    models = {key: build_method(config, classes, load_weights=False).to(device) for key, config in configs.items()}
    size = next(iter(configs.values())).data.input_size
    costs = measure_costs(models, torch.randn(COST_IMAGES, 3, *size, device=device), COST_ROUNDS)
    content = {**wanted, "costs": {key: cost.to_json() for key, cost in costs.items()}}
    write_json(path, content)
    return content


def _machine(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{torch.get_num_threads()} threads of {platform.machine()}, batches of {COST_IMAGES}"
