"""Saving and restoring the state of a training, so that a resumed one gives the same weights."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated

from accelerate import Accelerator
from accelerate.utils import SAFE_WEIGHTS_NAME
from pydantic import Field
from safetensors.torch import load_file, save
from torch import nn

from cdtr.errors import CheckpointError
from cdtr.files import full_disk_named, hash_file, sync_file, sync_folder
from cdtr.run_files import Count, Tree, check_content, read_run_file
from cdtr.runs import RunFolder, write_atomic, write_json

# Not Accelerate's file for objects of one's own, which is a pickle that it loads with whatever code it holds.
AVERAGE_FILE = "average.safetensors"
POINTER = "latest.json"
_CONTENTS = "contents.json"  # in a state's folder: what the pointer says of it, and a hash of each file
_FOLDER = re.compile(r"step-\d{8,18}")


@dataclass(frozen=True, slots=True)
class Position:
    """The position of a training: the next optimiser step is ``step_in_epoch`` of ``epoch``.

    sums: each term's sum over the steps of the epoch so far, for the epoch's line in the log.
    """

    epoch: int = 0
    step_in_epoch: int = 0
    step: int = 0
    sums: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Saved:
    """A folder under ``state/``, where it stands, and how many processes wrote it.

    files: SHA-256 of each; None for one of an earlier version. passed_over: newer states that are damaged, and how.
    """

    folder: Path
    position: Position
    processes: int
    files: Mapping[str, str] | None = None
    passed_over: tuple[str, ...] = ()


class _Position(Tree):
    epoch: Count
    step_in_epoch: Count
    step: Count
    sums: dict[str, float]


class _Contents(Tree):
    folder: Annotated[str, Field(pattern=_FOLDER.pattern + "$")]
    processes: Annotated[int, Field(ge=1)]
    position: _Position
    files: dict[str, str] | None = None


def save_state(accelerator: Accelerator, run: RunFolder, position: Position, average: nn.Module | None = None) -> None:
    """Save weights, optimiser, random states, average and position under ``state/``.

    Atomic: the pointer is replaced after the new state is complete. The previous state stays, in case this one is
    damaged; older ones are removed.
    """
    folder = run.state / f"step-{position.step:08d}"
    before = _pointed(run)
    if before is not None and before.folder == folder:
        return
    main = accelerator.is_main_process
    if main and folder.exists():
        shutil.rmtree(folder)
    accelerator.wait_for_everyone()
    try:
        with full_disk_named(folder):
            accelerator.save_state(str(folder))
        if main and average is not None:
            tensors = {name: tensor.contiguous() for name, tensor in average.state_dict().items()}
            write_atomic(folder / AVERAGE_FILE, save(tensors))
        accelerator.wait_for_everyone()
        if main:
            content = {"folder": folder.name, "processes": accelerator.num_processes, "position": asdict(position)}
            files = {path.relative_to(folder).as_posix(): hash_file(path) for path in _files_of(folder)}
            write_json(folder / _CONTENTS, {**content, "files": files})
            sync_folder(folder)
            if run.metrics_file.is_file():
                sync_file(run.metrics_file)  # its lines up to here are of this state
            write_json(run.state / POINTER, content)
    except BaseException:
        if main and not _names(run, folder):
            shutil.rmtree(folder, ignore_errors=True)  # a full disk needs the room
        raise
    if main:
        kept = {folder.name, None if before is None else before.folder.name}
        for other in run.state.glob("step-*"):
            if other.name not in kept:
                shutil.rmtree(other)


def saved_state(run: RunFolder) -> Saved | None:
    """Return the newest state that is complete; None before there is one.

    Raises:
        CheckpointError: Where there are states, and none of them is whole.
    """
    faults: list[str] = []
    for saved in _states(run, faults):
        fault = _fault(saved)
        if fault is None:
            return Saved(saved.folder, saved.position, saved.processes, saved.files, tuple(faults))
        faults.append(f"{saved.folder} {fault}")
    if faults:
        raise CheckpointError(f"{faults[0]}, and there is no older state: {_start_again(run)}")
    return None


def restore_state(
    accelerator: Accelerator,
    run: RunFolder,
    average: nn.Module | None = None,
    say: Callable[[str], None] = lambda _line: None,
) -> Position | None:
    """Load the last saved state into ``average`` and what the accelerator has prepared.

    Returns its position, None where there is no state.

    say: is told of a newer state that is damaged.
    """
    saved = saved_state(run)
    if saved is None:
        return None
    if saved.processes != accelerator.num_processes:
        raise CheckpointError(
            f"{run.path} was trained by {saved.processes} processes, now there are {accelerator.num_processes}: "
            "resume with as many"
        )
    accelerator.wait_for_everyone()  # all have chosen the same state before the pointer is set to it
    if saved.passed_over and accelerator.is_main_process:
        say(f"{'; '.join(saved.passed_over)}: going on from {saved.folder.name}")
        content = {"folder": saved.folder.name, "processes": saved.processes, "position": asdict(saved.position)}
        write_json(run.state / POINTER, content)
    with _cannot_be_restored(run, saved):
        accelerator.load_state(str(saved.folder))
        if average is not None:
            average.load_state_dict(load_file(saved.folder / AVERAGE_FILE), strict=True)
    return saved.position


def restore_weights(run: RunFolder, method: nn.Module) -> None:
    """Load the weights of the last saved state into a method, for what is computed with them before ``restore_state``.

    Raises:
        CheckpointError: The state does not fit the method.
    """
    saved = saved_state(run)
    if saved is None:
        return
    with _cannot_be_restored(run, saved):
        found = load_file(saved.folder / SAFE_WEIGHTS_NAME)
        # Several processes save the method within the module that joins their gradients.
        method.load_state_dict({name.removeprefix("module."): tensor for name, tensor in found.items()}, strict=True)


@contextmanager
def _cannot_be_restored(run: RunFolder, saved: Saved) -> Iterator[None]:
    """Raise CheckpointError for anything: a missing or damaged file raises almost anything in Accelerate's readers."""
    try:
        yield
    except Exception as error:
        reason = (str(error).splitlines() or [""])[0][:160]
        raise CheckpointError(
            f"{saved.folder} cannot be restored ({type(error).__name__}: {reason}): {_start_again(run)}"
        ) from error


def _states(run: RunFolder, faults: list[str]) -> Iterator[Saved]:
    """The states up to the one that the pointer names, the newest first. faults: gets what cannot be read."""
    try:
        newest = _pointed(run)
    except CheckpointError as error:
        faults.append(str(error))
        newest = None
    if newest is not None:
        try:
            yield _read_state(newest.folder / _CONTENTS, run)
        except CheckpointError as error:
            if (newest.folder / _CONTENTS).exists() or not newest.folder.exists():
                faults.append(f"{newest.folder} is gone" if not newest.folder.exists() else str(error))
            else:
                yield newest  # of an earlier version
    for folder in sorted(run.state.glob("step-*"), key=lambda path: (len(path.name), path.name), reverse=True):
        if not (folder / _CONTENTS).is_file() or (newest is not None and folder.name == newest.folder.name):
            continue  # was not finished
        try:
            found = _read_state(folder / _CONTENTS, run)
        except CheckpointError as error:
            faults.append(str(error))
            continue
        if newest is None or found.position.step < newest.position.step:
            yield found


def _pointed(run: RunFolder) -> Saved | None:
    """What the pointer names, whole or not; None where there is no pointer."""
    pointer = run.state / POINTER
    return _read_state(pointer, run) if pointer.is_file() else None


def _names(run: RunFolder, folder: Path) -> bool:
    """Whether the pointer names a folder."""
    try:
        pointed = _pointed(run)
    except CheckpointError:
        return True
    return pointed is not None and pointed.folder == folder


def _read_state(path: Path, run: RunFolder) -> Saved:
    advice = _start_again(run)
    content = check_content(read_run_file(path, _Contents, advice), _Contents, str(path), advice)
    position = Position(**content.position.model_dump(include={"epoch", "step_in_epoch", "step", "sums"}))
    return Saved(run.state / content.folder, position, content.processes, content.files)


def _fault(saved: Saved) -> str | None:
    """What is wrong with the files of a state; None where nothing is, and for one of an earlier version."""
    for name, sha256 in (saved.files or {}).items():
        path = saved.folder / name
        try:
            if not path.is_file():
                return f"lacks {name!a:.80}"
            if hash_file(path) != sha256:
                return f"is damaged ({name}: {path.stat().st_size:,} bytes, other ones than were written)"
        except OSError as error:
            return f"cannot be read ({name!a:.80}: {error.strerror or error})"
    return None


def _files_of(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.name != _CONTENTS)


def _start_again(run: RunFolder) -> str:
    return f"remove {run.state} and resume to start again"
