"""Command line of `cdtr train-clip`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cdtr.cli._options import JsonOption


def command(
    data: Annotated[Path, typer.Argument(help="A folder with one folder of images a class, or a data set's root.")],
    out: Annotated[Path, typer.Option("--out", help="The folder to write, for sba.model.")],
    config: Annotated[str, typer.Option("--config", help="A preset or a YAML file.")] = "small",
    epochs: Annotated[int | None, typer.Option("--epochs", min=1, help="Passes over the training images.")] = None,
    lr: Annotated[float | None, typer.Option("--lr", help="The highest learning rate.")] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="One setting, such as seed=1; may be repeated.")
    ] = None,
    json_file: JsonOption = None,
) -> None:
    """Train a small CLIP on the class labels, for SBA where no pretrained CLIP knows the classes.

    Example: cdtr train-clip photos/ --out runs/clip
    """
    from dataclasses import asdict, replace

    from cdtr.cli._output import write_results
    from cdtr.cli._shared import next_steps, progress_console, require_outputs, shell
    from cdtr.config import load_config
    from cdtr.data.opening import open_data
    from cdtr.errors import ConfigError
    from cdtr.training.clip import SmallClip, train_clip

    require_outputs(json_file)
    settings = SmallClip()
    if lr is not None and not lr > 0:
        raise ConfigError(f"--lr {lr}: expected a number above 0, such as {settings.lr}")
    settings = replace(settings, epochs=epochs or settings.epochs, lr=lr or settings.lr)
    loaded = load_config(config, overrides or [])
    fit = train_clip(loaded, open_data(data, loaded.data), out, settings, progress_console())
    print(fit.line("held-out training images"))
    print(f"wrote {out}: an open_clip model")
    write_results(json_file, {"clip": str(out), "fit": asdict(fit)})
    next_steps([shell("cdtr", "train", data, "--out", "RUN", "--set", f"sba.model={out}")])
