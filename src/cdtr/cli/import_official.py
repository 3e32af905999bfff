"""`cdtr import-official`"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from cdtr.model.official import Released


def command(
    file: Annotated[Path, typer.Argument(help="A released checkpoint of CDTR, CATR or TS-CAM (.pth).")],
    out: Annotated[Path, typer.Option("--out", help="The run folder to write.")],
    classes: Annotated[
        Path | None,
        typer.Option(
            "--classes", help="Names of the classes in their order: a data set's root, or a file, one a line."
        ),
    ] = None,
) -> None:
    """Make a run folder of a released checkpoint, to evaluate, localize and compare as any other run.

    CDTR and CATR (CUB and ILSVRC, K = 9 and 10) and TS-CAM (DeiT) are told apart by their tensors. The file is read
    without running code from it. The run has the released code's settings, protocol and threshold.

    Example: cdtr import-official CDTR_CUB.pth --out runs/cdtr-cub --classes CUB_200_2011
    """
    from cdtr.cli._shared import LOCALIZE_REST, next_steps, note, shell
    from cdtr.errors import ConfigError
    from cdtr.model.official import read_released

    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"{out} exists and is not an empty folder: choose another --out")
    released = read_released(file)
    names = class_names(classes, released.classes, file)
    write_run(released, names, file, out)
    print(f"{file}: {released.description}")
    if released.left_out:
        note(f"left out {len(released.left_out)} tensors that the model does not use, such as {released.left_out[0]}")
    print(f"wrote {out}")
    if classes is None:
        note(f"the classes are called {names[0]}, ...: to evaluate, import with --classes DATA, which has their names")
        next_steps([shell("cdtr", "localize", out) + LOCALIZE_REST])
    else:
        next_steps([shell("cdtr", "evaluate", out, "--data", "DATA"), shell("cdtr", "localize", out) + LOCALIZE_REST])


def class_names(source: Path | None, count: int, file: Path) -> Sequence[str]:
    """The names of ``count`` classes: of a data set, of a text file, or numbered from 0."""
    from cdtr.data.datasets import load_source
    from cdtr.data.files import read_lines
    from cdtr.errors import CheckpointError, DataError

    if source is None:
        width = len(str(count - 1))
        return [f"class_{index:0{width}}" for index in range(count)]
    if source.is_dir():
        names: Sequence[str] = load_source(source).class_names
    elif source.is_file():
        names = without_numbers(read_lines(source))
    else:
        raise DataError(
            f"no file or folder {source}: give --classes a data set's root, or a text file, one name a line"
        )
    if len(names) != count:
        raise CheckpointError(f"{file} has {count} classes, {source} has {len(names)}: give the set it was trained on")
    twice = next((name for index, name in enumerate(names) if name in names[:index]), None)
    if twice is not None:
        raise DataError(f"{source} has the class {twice!r} twice: expected a different name on each line")
    return names


def without_numbers(lines: Sequence[str]) -> Sequence[str]:
    """The names of a list that counts its lines from 1, as CUB's classes.txt does; another list is left as it is."""
    parts = [line.partition(" ") for line in lines]
    counted = all(number == str(line) and name for line, (number, _, name) in enumerate(parts, start=1))
    return [name.strip() for _, _, name in parts] if counted else lines


def write_run(released: Released, names: Sequence[str], file: Path, out: Path) -> None:
    """Write the whole folder or nothing, so that a killed import leaves no half run."""
    from safetensors.torch import save_file

    from cdtr.config import recipe_label
    from cdtr.runs import RunFolder, atomic_folder, hash_file, library_versions, write_atomic, write_json

    origin = {"file": file.name, "bytes": file.stat().st_size, "sha256": hash_file(file), "model": released.description}
    manifest = {
        "versions": library_versions(),
        "recipe": recipe_label(released.config),
        "imported": {**origin, "left_out": list(released.left_out)},
        "data": {"format": None, "classes": released.classes},
    }
    # Resolved, as a dot has no name to put a temporary one beside.
    with atomic_folder(out.resolve(), RunFolder(out).weights.name) as folder:
        run = RunFolder(folder)
        write_atomic(run.config_file, released.config.to_yaml())
        write_atomic(run.classes_file, "".join(f"{name}\n" for name in names))
        write_json(run.manifest_file, manifest)
        save_file({name: tensor.contiguous() for name, tensor in released.state.items()}, run.weights)
