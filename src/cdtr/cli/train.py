"""Command line of `cdtr train`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cdtr.cli._options import ResumeOption, SetOption

if TYPE_CHECKING:
    from cdtr.workflows.train import Run


def command(
    data: Annotated[Path, typer.Argument(help="A folder with one folder of images a class, or a data set's root.")],
    out: Annotated[Path, typer.Option("--out", help="The run folder to write.")],
    config: Annotated[
        str | None, typer.Option("--config", help="A preset or a YAML file; without it the preset small.")
    ] = None,
    overrides: SetOption = None,
    resume: ResumeOption = False,
    deduplicate: Annotated[
        bool, typer.Option("--deduplicate", help="Do not train on images that are also in val or test.")
    ] = False,
    prior_maps: Annotated[
        Path | None,
        typer.Option("--prior-maps", help="Maps of another tool as the object prior, .npy or PNG by image id."),
    ] = None,
    taught_with: Annotated[
        str | None,
        typer.Option("--taught-with", help="What that tool learned from: labels, masks, boxes, nothing."),
    ] = None,
) -> None:
    """Train on images sorted by class and write a run folder.

    Example: cdtr train photos/ --out runs/photos --set train.epochs=20
    """
    from cdtr.cli._shared import LOCALIZE_REST, TERMINAL, next_steps, shell
    from cdtr.workflows.opening import find_test_split
    from cdtr.workflows.train import is_main_process, train

    changes = [*(overrides or []), *(["data.deduplicate=true"] if deduplicate else [])]
    if prior_maps is not None:
        changes += ["ocm.prior=maps", f"data.prior_maps={json.dumps(str(prior_maps))}"]
    if taught_with is not None:
        changes.append(f"data.prior_maps_taught_with={json.dumps(taught_with)}")
    run = train(data, out, config, overrides=changes, resume=resume, reporter=TERMINAL)
    if not is_main_process():
        return
    print(f"wrote {run.path}: {run.weights.name}, {run.config_file.name}, {run.classes_file.name} and the logs")
    # Held-out images give a threshold, so only a split of its own measures what comes after it.
    test = [shell("cdtr", "evaluate", out, "--data", data)] if find_test_split(run.source) else []
    localize = shell("cdtr", "localize", out) + LOCALIZE_REST + " --overlays"
    next_steps([*calibration_step(run, data), *test, localize])


def calibration_step(run: Run, data: Path) -> list[str]:
    """Return the command that chooses a threshold, if any.

    A run that held out no image has the threshold of its settings, or needs a split with boxes of its own.
    """
    from cdtr.cli._shared import shell
    from cdtr.workflows.grid import FULLSUP

    command, config = shell("cdtr", "calibrate", run.path, "--data", data), run.config()
    if config.data.holdout:
        return [command + ("" if run.source.annotated else " --label-free")]
    if config.evaluation.threshold is not None:
        return []
    return [f"{command} --split {FULLSUP}"] if run.source.splits.get(FULLSUP) else []
