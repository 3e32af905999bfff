"""Command line of `cdtr pretrain`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cdtr.cli._options import ResumeOption, SetOption


def command(
    data: Annotated[Path, typer.Argument(help="A folder with one folder of images a class, or a data set's root.")],
    out: Annotated[Path, typer.Option("--out", help="The run folder to write.")],
    config: Annotated[
        str | None, typer.Option("--config", help="A preset or a YAML file; without it the preset pretrain-small.")
    ] = None,
    overrides: SetOption = None,
    resume: ResumeOption = False,
) -> None:
    """Pretrain a small transformer by distillation from an ImageNet CNN, where no pretrained one can be had.

    Train with the same backbone.* settings from what it writes.

    Example: cdtr pretrain photos/ --out runs/start
    """
    from cdtr.cli._shared import TERMINAL, next_steps, shell
    from cdtr.workflows.pretrain import DEFAULT_PRESET, pretrain
    from cdtr.workflows.train import is_main_process

    run = pretrain(data, out, config, overrides=overrides or (), resume=resume, reporter=TERMINAL)
    if not is_main_process():
        return
    print(f"wrote {run.path}: {run.backbone.name}, {run.weights.name}, {run.config_file.name} and the logs")
    preset = "small" if config in (None, DEFAULT_PRESET) else config
    weights = f"backbone.weights={run.backbone}"
    next_steps([shell("cdtr", "train", "DATA", "--out", "RUN", "--config", preset, "--set", weights)])
