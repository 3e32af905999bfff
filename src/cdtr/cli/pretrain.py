"""`cdtr pretrain`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cdtr.cli._options import ResumeOption, SetOption

DEFAULT_PRESET = "pretrain-small"


def command(
    data: Annotated[Path, typer.Argument(help="A folder with one folder of images a class, or a data set's root.")],
    out: Annotated[Path, typer.Option("--out", help="The run folder to write.")],
    config: Annotated[
        str | None, typer.Option("--config", help="A preset or a YAML file; without it the preset pretrain-small.")
    ] = None,
    overrides: SetOption = None,
    resume: ResumeOption = False,
) -> None:
    """Pretrain a small transformer with an ImageNet CNN as its teacher, where no pretrained one can be had.

    Train with the same backbone.* settings from what it writes.

    Example: cdtr pretrain photos/ --out runs/start
    """
    from cdtr.cli._shared import next_steps, note, progress_console, shell
    from cdtr.cli.train import choose_config, is_main_process
    from cdtr.data.opening import open_data
    from cdtr.training.pretrain import BACKBONE_FILE, pretrain

    settings = choose_config(out, config, overrides or [], resume, DEFAULT_PRESET)
    source = open_data(data, settings.data, note if is_main_process() else lambda _line: None)
    run = pretrain(settings, source, out, resume, progress_console())
    if not is_main_process():
        return
    print(f"wrote {run.path}: {BACKBONE_FILE}, {run.weights.name}, {run.config_file.name} and the logs")
    preset = "small" if config in (None, DEFAULT_PRESET) else config
    weights = f"backbone.weights={out / BACKBONE_FILE}"
    next_steps([shell("cdtr", "train", "DATA", "--out", "RUN", "--config", preset, "--set", weights)])
