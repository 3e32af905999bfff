"""Flags that several commands share, and the two ways to declare one."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from cdtr.errors import DataError


def argument(text: str) -> Any:
    """Declare an argument without a flag by its help."""
    return typer.Argument(help=text)


def option(text: str, *flag: str, **rules: Any) -> Any:
    """Declare an option by its help, its flag where it is not the parameter's name, and rules of typer as ``min``."""
    return typer.Option(*flag, help=text, **rules)


def name_switches(command: Callable[..., None]) -> None:
    """Give each switch of a command its flag alone, where typer would add a ``--no-flag``."""
    for name, parameter in inspect.signature(command).parameters.items():
        kind, info = parameter.annotation.__origin__, parameter.annotation.__metadata__[0]
        if kind is bool and info.default is ...:  # typer keeps the first flag there
            info.param_decls = (f"--{name.replace('_', '-')}",)


def require_folder(param: typer.CallbackParam, value: Path | None) -> Path | None:
    """Raise DataError if a file is in the place of a folder to write, before anything is measured."""
    if value is not None and value.exists() and not value.is_dir():
        raise DataError(f"{value} is a file: choose a folder as {param.opts[0]}")
    return value


def require_file(param: typer.CallbackParam, value: Path | None) -> Path | None:
    """Raise DataError if a folder is in the place of a file to write, before anything is measured."""
    if value is not None and value.is_dir():
        raise DataError(f"{value} is a folder: name the file to write as {param.opts[0]}, such as {value / 'n.json'}")
    return value


RunArgument = Annotated[str, argument("A trained run folder, or a hub id.")]
DataArgument = Annotated[Path, argument("A folder with one folder of images a class, or a data set's root.")]
RunOutOption = Annotated[Path, option("The run folder to write.")]
ConfigOption = Annotated[str | None, option("A preset or a YAML file; by default imagenet.")]
SetOption = Annotated[list[str] | None, option("One setting, such as train.epochs=20; may be repeated.", "--set")]
ResumeOption = Annotated[bool, option("Go on with a run that was stopped.")]
SplitOption = Annotated[
    str | None, option("test, val, train or held-out; by default the first of test, val, held-out.")
]
BoxesOption = Annotated[str | None, option("A file or folder of boxes, where they do not lie in the data set.")]
ThresholdOption = Annotated[float | None, option("Of the map, from 0 to 1; by default the calibrated one.")]
ViewOption = Annotated[
    str | None, option("What the network sees: whole, mirrored, crop or tiled; by default as the run was calibrated.")
]
DeviceOption = Annotated[str | None, option("cpu, cuda, ...")]
JobsOption = Annotated[int | None, option("Trainings at a time; by default one a GPU, else one a core.", min=1)]
RowsOption = Annotated[str | None, option("Only these rows, by name, with commas.")]
JsonOption = Annotated[
    Path | None,
    option("Write the results as JSON to this file; - is standard output.", "--json", callback=require_file),
]
FiguresOption = Annotated[Path | None, option("Write figures (PNG) to this folder.", callback=require_folder)]
