"""Ways in which a training in a fresh process dies, slows down or goes wrong, by name."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cdtr.errors import CheckpointError
from cdtr.training import loop, prepare, sba_choice, state


def _die(*_: Any, **__: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _die_inside_state() -> None:
    """The state's files are there, the pointer does not name them yet."""
    write = state.write_json

    def write_or_die(path: Path, content: Any) -> None:
        if path.name == "latest.json" and content["position"]["step"] == 4:
            _die()
        write(path, content)

    state.write_json = write_or_die


def _die_in_step(number: int) -> None:
    step = loop.Trainer._step

    def step_or_die(self: Any, batches: Any, rate: float, position: Any) -> Any:
        if position.step == number:
            _die()
        return step(self, batches, rate, position)

    loop.Trainer._step = step_or_die


def _die_in_first_files() -> None:
    """Of the first state that is saved nothing but an empty folder is there."""
    from accelerate import Accelerator

    def start_and_die(_: Any, folder: str) -> None:
        Path(folder).mkdir(parents=True)
        _die()

    Accelerator.save_state = start_and_die


def _die_between_line_and_state() -> None:
    loop.TrainingLog.epoch = _after(loop.TrainingLog.epoch, _die)


def _die_before_config() -> None:
    write = prepare.write_atomic

    def write_or_die(path: Path, content: Any) -> None:
        if path.name == "config.yaml":
            path.with_name(f".{path.name}.1.tmp").write_text("method: cd")
            _die()
        write(path, content)

    prepare.write_atomic = write_or_die


def _slow() -> None:
    loop.Trainer._step = _after(loop.Trainer._step, lambda: time.sleep(0.05))


def _after(function: Callable[..., Any], action: Callable[[], None]) -> Callable[..., Any]:
    def both(*args: Any, **kwargs: Any) -> Any:
        answer = function(*args, **kwargs)
        action()
        return answer

    return both


def _clips_by_rank(*images: str | None) -> Callable[[], None]:
    """Process i loads the CLIP of that name in ``fake_clips``; None cannot load any."""

    def change() -> None:
        import fake_clips

        rank = int(os.environ["RANK"])
        name = images[rank]

        def load(model: str, pretrained: str) -> Any:
            if name is None:
                raise CheckpointError(f"process {rank} has no CLIP")
            return fake_clips.fake_clip(getattr(fake_clips, name))

        sba_choice.load_clip = load

    return change


def _nan_on_rank_1() -> None:
    from cdtr.model.methods.cdtr import Cdtr

    losses = Cdtr.losses

    def broken(self: Any, output: Any, batch: Any) -> Any:
        terms = losses(self, output, batch)
        return {**terms, "csm": terms["csm"] * float("nan")} if os.environ["RANK"] == "1" else terms

    Cdtr.losses = broken


DEATHS = {
    "before the configuration is written": _die_before_config,
    "before the first state": lambda: setattr(loop, "save_state", _die),
    "before the first step": lambda: _die_in_step(0),
    "while a state is saved": _die_inside_state,
    "after a step that no state has": lambda: _die_in_step(5),
    "between an epoch's line and its state": _die_between_line_and_state,
    "before the weights are written": lambda: setattr(loop, "finish_run", _die),
}
CHANGES = {
    **DEATHS,
    "while the first files of a state are written": _die_in_first_files,
    "slow": _slow,
    "nan on rank 1": _nan_on_rank_1,
    "clip guesses on rank 1": _clips_by_rank("brightest_channel", "always_red"),
    "no clip on rank 0": _clips_by_rank(None, "brightest_channel"),
    "no clip on rank 1": _clips_by_rank("brightest_channel", None),
}
