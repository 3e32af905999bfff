"""What the runs of a table of the paper may take, from one timed training step of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.table import Table

from cdtr.api import find_device
from cdtr.config import Reproduction
from cdtr.cores import threads_each
from cdtr.data.sampler import draws_per_epoch
from cdtr.model.clip import is_named_model
from cdtr.reports.columns import add_number, add_text
from cdtr.text import duration
from cdtr.training.estimate import IMAGES, StepCost, step_cost
from cdtr.workflows.cells import job_count
from cdtr.workflows.paper_runs import PaperPlan, PaperRun, Place, Scale, class_count, result_file
from cdtr.workflows.reporting import Reporter

_LEFT_OUT = (
    "SBA is left out on a CPU: `small_clip=True` trains a small CLIP for it, `overrides=['sba.enabled=true']` takes "
    "the large one"
)


@dataclass(frozen=True, slots=True)
class RunEstimate:
    """What one training may take.

    Attributes:
        run: the training.
        rows: the rows of the table that it serves.
        seeds: the seeds that are still to be trained.
        images: the images of an epoch.
        macs: MACs of one seed; None where nothing is left to do.
        seconds: time of one seed on this machine; None where nothing is left to do.
    """

    run: PaperRun
    rows: Sequence[str]
    seeds: Sequence[int]
    images: int
    macs: float | None
    seconds: float | None


@dataclass(frozen=True, slots=True)
class Estimate:
    """What all trainings of a table may take.

    Attributes:
        runs: each training.
        jobs: how many run at a time.
        device: where they run.
        leaves_sba_out: whether a run leaves SBA out, as its CLIP is too large for a CPU.
    """

    runs: Sequence[RunEstimate]
    jobs: int
    device: torch.device
    leaves_sba_out: bool

    @property
    def trainings(self) -> int:
        """The number of trainings that are still to be done."""
        return sum(len(one.seeds) for one in self.runs)

    @property
    def seconds(self) -> float:
        """The time of all of them on this machine."""
        return sum((one.seconds or 0.0) * len(one.seeds) for one in self.runs) / self.jobs

    def to_table(self, title: str) -> Table:
        """Return the trainings as a table for a terminal."""
        table = Table(title=title, title_justify="left")
        left = ("data", "rows", "run")
        for name in (*left, "seeds to do", "images x epochs", "MACs a seed", "time a seed"):
            (add_text if name in left else add_number)(table, name)
        for one in self.runs:
            seeds = " ".join(map(str, one.seeds)) or "none"
            cells = [one.run.data, ", ".join(one.rows), one.run.key, seeds]
            cells.append(f"{one.images:,} x {one.run.config.train.epochs}")
            if one.macs is not None and one.seconds is not None:
                cells += [f"{one.macs:.2g}", duration(one.seconds)]
            table.add_row(*cells)
        return table

    def lines(self, small_clips: int = 0) -> list[str]:
        """Return what the table does not say, in words.

        Args:
            small_clips: the number of small CLIPs that are still to be trained.
        """
        more = f", and without {small_clips} small CLIPs" if small_clips else ""
        total = (
            f"{self.trainings} trainings to do, about {duration(self.seconds)} with {self.jobs} at a time here "
            f"({self.device}): an estimate from one step of {IMAGES} images each, without reading images, calibration "
            f"and evaluation{more}"
        )
        return [*([_LEFT_OUT] if self.leaves_sba_out else []), total]


def estimate_runs(
    found: Reproduction,
    plan: PaperPlan,
    scale: Scale,
    seeds: Sequence[int],
    out: Path,
    jobs: int | None,
    reporter: Reporter,
) -> Estimate:
    """Time one training step of each run that is not done; without any data, of all runs of the table.

    Without data, the published numbers of images are taken.
    """
    device, names = find_device(None), _rows_of_runs(plan, scale)
    runs = {(run.data, run.key): run for run in (plan.runs if scale.sources else plan.costed).values()}
    runs = {place: run for place, run in runs.items() if place in names}
    left = {place: [s for s in seeds if not result_file(out, run, s).is_file()] for place, run in runs.items()}
    count = job_count(jobs, sum(map(len, left.values())))
    torch.set_num_threads(threads_each(count))
    steps = _time_steps(found, scale, {place: run for place, run in runs.items() if left[place]}, device, reporter)
    estimates = []
    for place, run in runs.items():
        images, step = images_per_epoch(found, scale, run), steps.get(place)
        drawn = images * run.config.train.epochs
        costs = (None, None) if step is None else (drawn * step.multiply_adds, drawn * step.seconds)
        estimates.append(RunEstimate(run, names[place], left[place], images, *costs))
    return Estimate(estimates, count, device, any(_leaves_sba_out(run, scale, device) for run in runs.values()))


def _time_steps(
    found: Reproduction, scale: Scale, runs: Mapping[Place, PaperRun], device: torch.device, reporter: Reporter
) -> dict[Place, StepCost]:
    steps = {}
    with reporter.progress("timing a training step of each run", len(runs)) as advance:
        for place, run in runs.items():
            out = _leaves_sba_out(run, scale, device)
            config = run.config.updated(sba={"enabled": False}) if out else run.config
            small = scale.small_clip and run.uses_sba
            steps[place] = step_cost(config, class_count(found, scale, run.data), small, device)
            advance(1)
    return steps


def _rows_of_runs(plan: PaperPlan, scale: Scale) -> dict[Place, list[str]]:
    """The rows that each training serves, by data set and key."""
    names: dict[Place, list[str]] = {}
    for (data, row), run in plan.costed.items():
        if not scale.only or row in scale.only:
            names.setdefault((data, run.key), []).append(row)
    return names


def _leaves_sba_out(run: PaperRun, scale: Scale, device: torch.device) -> bool:
    """Whether training leaves SBA out: a large CLIP that nobody insisted on, on a CPU."""
    sba = run.config.sba
    return sba.enabled == "auto" and device.type == "cpu" and not scale.small_clip and is_named_model(sba.model)


def images_per_epoch(found: Reproduction, scale: Scale, run: PaperRun) -> int:
    """Return the number of images that an epoch draws; of the published number where no data is given."""
    source = scale.sources.get(run.data)
    images = len(source.splits.get("train", ())) if source else found.data[run.data].train_images
    return draws_per_epoch(round(images * (1 - run.config.data.holdout)), run.config.data.repeats)
