"""The estimate that `cdtr reproduce --dry-run` prints: the runs, and what they may take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from rich.table import Table

from cdtr.api import find_device
from cdtr.cli._cells import job_count
from cdtr.cli._paper_runs import PaperPlan, PaperRun, Place, Scale, by_reason, class_count, result_file
from cdtr.cli._shared import progress_bar
from cdtr.config import Reproduction
from cdtr.cores import threads_each
from cdtr.data.sampler import draws_per_epoch
from cdtr.model.clip import is_named_model
from cdtr.reports.columns import add_number, add_text
from cdtr.terminal import PlainConsole
from cdtr.training.estimate import IMAGES, StepCost, step_cost

LEFT_OUT = (
    "SBA is left out on a CPU: --small-clip trains a small CLIP for it, --set sba.enabled=true takes the large one"
)


def estimate(
    found: Reproduction, plan: PaperPlan, scale: Scale, seeds: Sequence[int], out: Path, clips: int, jobs: int | None
) -> None:
    """Print the runs, whether each is done, and what those to do may take, from one timed training step of each.

    Without any data, all of the table's runs at the published numbers of images. clips: small CLIPs to be trained.
    """
    device, names = find_device(None), _rows_of_runs(plan, scale)
    runs = {(run.data, run.key): run for run in (plan.runs if scale.sources else plan.costed).values()}
    runs = {place: run for place, run in runs.items() if place in names}
    left = {place: [s for s in seeds if not result_file(out, run, s).is_file()] for place, run in runs.items()}
    trainings = sum(map(len, left.values()))
    count = job_count(jobs, trainings)
    torch.set_num_threads(threads_each(count))
    steps = _time_steps(found, scale, {place: run for place, run in runs.items() if left[place]}, device)
    table, total = _table(found), 0.0
    for place, run in runs.items():
        images, epochs = _images(found, scale, run), run.config.train.epochs
        cells = [run.data, ", ".join(names[place]), run.key, " ".join(map(str, left[place])) or "none"]
        cells.append(f"{images:,} x {epochs}")
        if step := steps.get(place):
            seconds = images * epochs * step.seconds
            total += seconds * len(left[place])
            cells += [f"{images * epochs * step.multiply_adds:.2g}", _duration(seconds)]
        table.add_row(*cells)
    PlainConsole().print(table)
    for reason, rows in by_reason(plan):
        print(f"not run: {rows}: {reason}")
    if any(_leaves_sba_out(run, scale, device) for run in runs.values()):
        print(LEFT_OUT)
    print(
        f"{trainings} trainings to do, about {_duration(total / count)} with {count} at a time here ({device}): "
        f"an estimate from one step of {IMAGES} images each, without reading images, calibration and evaluation"
        + (f", and without {clips} small CLIPs" if clips else "")
    )


def _time_steps(
    found: Reproduction, scale: Scale, runs: Mapping[Place, PaperRun], device: torch.device
) -> dict[Place, StepCost]:
    steps = {}
    with progress_bar("timing a training step of each run", len(runs)) as move:
        for place, run in runs.items():
            out = _leaves_sba_out(run, scale, device)
            config = run.config.updated(sba={"enabled": False}) if out else run.config
            small = scale.small_clip and run.uses_sba
            steps[place] = step_cost(config, class_count(found, scale, run.data), small, device)
            move(1)
    return steps


def _rows_of_runs(plan: PaperPlan, scale: Scale) -> dict[Place, list[str]]:
    """The rows that each training serves, by data set and key."""
    names: dict[Place, list[str]] = {}
    for (data, row), run in plan.costed.items():
        if not scale.only or row in scale.only:
            names.setdefault((data, run.key), []).append(row)
    return names


def _table(found: Reproduction) -> Table:
    table = Table(title=f"{found.caption}: the runs", title_justify="left")
    left = ("data", "rows", "run")
    for name in (*left, "seeds to do", "images x epochs", "multiply-adds a seed", "time a seed"):
        (add_text if name in left else add_number)(table, name)
    return table


def _leaves_sba_out(run: PaperRun, scale: Scale, device: torch.device) -> bool:
    """Whether training leaves SBA out: a large CLIP that nobody insisted on, on a CPU."""
    sba = run.config.sba
    return sba.enabled == "auto" and device.type == "cpu" and not scale.small_clip and is_named_model(sba.model)


def _images(found: Reproduction, scale: Scale, run: PaperRun) -> int:
    """Images that an epoch draws; of the published number where no data is given."""
    source = scale.sources.get(run.data)
    images = len(source.splits.get("train", ())) if source else found.data[run.data].train_images
    return draws_per_epoch(round(images * (1 - run.config.data.holdout)), run.config.data.repeats)


def _duration(seconds: float) -> str:
    for unit, size in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
