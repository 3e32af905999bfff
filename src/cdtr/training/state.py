"""Saving and restoring everything a training needs to go on as if nothing had happened."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from accelerate import Accelerator

from cdtr.errors import CheckpointError
from cdtr.runs import RunFolder, write_json


@dataclass(frozen=True, slots=True)
class Position:
    """Where a training stands: the next thing to do is optimiser step ``step_in_epoch`` of ``epoch``.

    sums: each term's sum over the steps of the epoch so far, for the epoch's line in the log.
    """

    epoch: int = 0
    step_in_epoch: int = 0
    step: int = 0
    sums: Mapping[str, float] = field(default_factory=dict)


def save_state(accelerator: Accelerator, run: RunFolder, position: Position) -> None:
    """Save weights, optimiser, random states and position under ``state/``; the pointer moves when all is there."""
    folder = run.state / f"step-{position.step:08d}"
    if accelerator.is_main_process and folder.exists():
        shutil.rmtree(folder)
    accelerator.wait_for_everyone()
    accelerator.save_state(str(folder))
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        content = {"folder": folder.name, "processes": accelerator.num_processes, "position": asdict(position)}
        write_json(run.state / "latest.json", content)
        for other in run.state.glob("step-*"):
            if other.name != folder.name:
                shutil.rmtree(other)


def restore_state(accelerator: Accelerator, run: RunFolder) -> Position:
    """Load the last saved state into what the accelerator has prepared; the beginning where there is none."""
    pointer = run.state / "latest.json"
    if not pointer.is_file():
        return Position()
    try:
        content = json.loads(pointer.read_text(encoding="utf-8"))
        folder, position = run.state / Path(content["folder"]).name, Position(**content["position"])
        processes = int(content["processes"])
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{pointer} cannot be read ({error}): remove {run.state} to start again") from error
    if processes != accelerator.num_processes:
        raise CheckpointError(
            f"{run.path} was trained by {processes} processes, now there are {accelerator.num_processes}: "
            "resume with as many"
        )
    accelerator.load_state(str(folder))
    return position
