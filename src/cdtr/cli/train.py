"""`cdtr train`"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cdtr.cli._options import ResumeOption, SetOption

if TYPE_CHECKING:
    from cdtr.config import Config
    from cdtr.records import DataSource

DEFAULT_PRESET = "small"


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
) -> None:
    """Train on images sorted by class and write a run folder.

    Example: cdtr train photos/ --out runs/photos --set train.epochs=20
    """
    from cdtr.cli._shared import LOCALIZE_REST, next_steps, note, progress_console, shell, tell_reading
    from cdtr.data.opening import open_data
    from cdtr.training.loop import train
    from cdtr.workflows.opening import check_evaluation, find_test_split

    settings = choose_config(
        out, config, [*(overrides or []), *(["data.deduplicate=true"] if deduplicate else [])], resume
    )
    check_evaluation(settings)
    source = open_data(data, settings.data, note if is_main_process() else lambda _line: None)
    if is_main_process():
        tell_reading(source)
        if source.annotated:
            note("read: no boxes, as training needs none (`cdtr data check` reads them)")
    run = train(settings, source, out, resume, progress_console())
    if not is_main_process():
        return
    print(f"wrote {run.path}: {run.weights.name}, {run.config_file.name}, {run.classes_file.name} and the logs")
    # Held-out images give a threshold, so only a split of its own measures what comes after it.
    test = [shell("cdtr", "evaluate", out, "--data", data)] if find_test_split(source) else []
    next_steps(
        [
            *calibration_step(settings, source, out, data),
            *test,
            shell("cdtr", "localize", out) + LOCALIZE_REST + " --overlays",
        ]
    )


def calibration_step(config: Config, source: DataSource, out: Path, data: Path) -> list[str]:
    """The command that chooses a threshold, if any: a run that held out no image may have it from its settings, or
    needs a split with boxes of its own."""
    from cdtr.cli._grid import FULLSUP
    from cdtr.cli._shared import shell

    command = shell("cdtr", "calibrate", out, "--data", data)
    if config.data.holdout:
        return [command + ("" if source.annotated else " --label-free")]
    if config.evaluation.threshold is not None:
        return []
    return [f"{command} --split {FULLSUP}"] if source.splits.get(FULLSUP) else []


def choose_config(
    out: Path, config: str | None, overrides: list[str], resume: bool, default: str = DEFAULT_PRESET
) -> Config:
    """What the user asked for, else the preset ``default``; a resumed run goes on with its own settings when none are
    given."""
    from cdtr.cli._shared import note
    from cdtr.config import load_config, parse_config
    from cdtr.runs import RunFolder

    run = RunFolder(out)
    if resume and config is None and not overrides and run.manifest_file.is_file():
        return parse_config(str(run.manifest("requested_config")["requested_config"]), str(run.manifest_file))
    if config is None and default == DEFAULT_PRESET and is_main_process():
        note(
            f"no --config: taking the preset {DEFAULT_PRESET}, from scratch in minutes on a CPU. With a GPU and a "
            "connection, --config cub starts from pretrained weights and finds better boxes"
        )
    return load_config(config or default, overrides)


def is_main_process() -> bool:
    """Of several processes that torchrun or accelerate started, one prints."""
    return os.environ.get("RANK", "0") == "0"
