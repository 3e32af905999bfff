"""Saving and restoring everything a training needs to go on as if nothing had happened."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from accelerate import Accelerator
from safetensors.torch import load_file, save
from torch import nn

from cdtr.errors import CheckpointError
from cdtr.runs import RunFolder, write_atomic, write_json

# Not Accelerate's file for objects of one's own, which is a pickle that it loads with whatever code it holds.
AVERAGE_FILE = "average.safetensors"


@dataclass(frozen=True, slots=True)
class Position:
    """Where a training stands: the next thing to do is optimiser step ``step_in_epoch`` of ``epoch``.

    sums: each term's sum over the steps of the epoch so far, for the epoch's line in the log.
    """

    epoch: int = 0
    step_in_epoch: int = 0
    step: int = 0
    sums: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Saved:
    """What the pointer names: a folder under ``state/``, where it stands, and how many processes wrote it."""

    folder: Path
    position: Position
    processes: int


def save_state(accelerator: Accelerator, run: RunFolder, position: Position, average: nn.Module | None = None) -> None:
    """Save weights, optimiser, random states, average and position under ``state/``.

    The pointer moves when all is there, and only then goes what it named before.
    """
    folder = run.state / f"step-{position.step:08d}"
    before = saved_state(run)
    if before is not None and before.folder == folder:
        return
    if accelerator.is_main_process and folder.exists():
        shutil.rmtree(folder)
    accelerator.wait_for_everyone()
    accelerator.save_state(str(folder))
    if accelerator.is_main_process and average is not None:
        tensors = {name: tensor.contiguous() for name, tensor in average.state_dict().items()}
        write_atomic(folder / AVERAGE_FILE, save(tensors))
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        content = {"folder": folder.name, "processes": accelerator.num_processes, "position": asdict(position)}
        write_json(run.state / "latest.json", content)
        for other in run.state.glob("step-*"):
            if other.name != folder.name:
                shutil.rmtree(other)


def saved_state(run: RunFolder) -> Saved | None:
    """The last saved state; None before there is one."""
    pointer = run.state / "latest.json"
    if not pointer.is_file():
        return None
    try:
        content = json.loads(pointer.read_text(encoding="utf-8"))
        folder = run.state / Path(content["folder"]).name
        return Saved(folder, Position(**content["position"]), int(content["processes"]))
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{pointer} cannot be read ({error}): remove {run.state} to start again") from error


def restore_state(accelerator: Accelerator, run: RunFolder, average: nn.Module | None = None) -> Position | None:
    """Load the last saved state into ``average`` and what the accelerator has prepared; None where there is none."""
    saved = saved_state(run)
    if saved is None:
        return None
    if saved.processes != accelerator.num_processes:
        raise CheckpointError(
            f"{run.path} was trained by {saved.processes} processes, now there are {accelerator.num_processes}: "
            "resume with as many"
        )
    try:
        accelerator.load_state(str(saved.folder))
        if average is not None:
            average.load_state_dict(load_file(saved.folder / AVERAGE_FILE), strict=True)
    except Exception as error:
        # A missing or damaged file raises almost anything in Accelerate and the readers below it.
        reason = (str(error).splitlines() or [""])[0][:160]
        raise CheckpointError(
            f"{saved.folder} cannot be restored ({type(error).__name__}: {reason}): remove {run.state} and resume to "
            "start again"
        ) from error
    return saved.position
