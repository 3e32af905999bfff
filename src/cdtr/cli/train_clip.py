"""Command line of `cdtr train-clip`."""

from pathlib import Path
from typing import Annotated

from cdtr.cli._options import DataArgument, JsonOption, SetOption, option


def command(
    data: DataArgument,
    out: Annotated[Path, option("The folder to write, for sba.model.")],
    config: Annotated[str, option("A preset or a YAML file.")] = "small",
    epochs: Annotated[int | None, option("Passes over the training images.", min=1)] = None,
    lr: Annotated[float | None, option("The highest learning rate.")] = None,
    overrides: SetOption = None,
    json_file: JsonOption = None,
) -> None:
    """Train a small CLIP on the class labels, for SBA where no pretrained CLIP knows the classes.

    Example: cdtr train-clip photos/ --out runs/clip
    """
    from dataclasses import asdict

    from cdtr.cli._output import TERMINAL, next_steps, write_results
    from cdtr.workflows.train_clip import train_clip

    fit = train_clip(data, out, config, epochs=epochs, lr=lr, overrides=overrides or (), reporter=TERMINAL)
    print(fit.line("held-out training images"))
    print(f"wrote {out}: an open_clip model")
    write_results(json_file, {"clip": str(out), "fit": asdict(fit)})
    next_steps(("train", data, "--out", "RUN", "--set", f"sba.model={out}"))
