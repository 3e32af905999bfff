"""Make a run folder of a released checkpoint, to evaluate, localize and compare as any other run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import save_file

from cdtr.config import recipe_label
from cdtr.data.datasets import load_source
from cdtr.errors import CheckpointError, ConfigError, DataError
from cdtr.image_files.paths import read_lines
from cdtr.model.official import Released, read_released
from cdtr.runs import RunFolder, atomic_folder, hash_file, library_versions, write_atomic, write_json
from cdtr.workflows.reporting import SILENT, Reporter


@dataclass(frozen=True, slots=True)
class Imported:
    """A run folder that was made of a released checkpoint.

    Attributes:
        run: the folder.
        released: what the file holds; ``description`` and ``left_out`` are for the user.
        class_names: the names of the classes.
    """

    run: RunFolder
    released: Released
    class_names: Sequence[str]


def import_official(
    file: str | Path, out: str | Path, classes: str | Path | None = None, *, reporter: Reporter = SILENT
) -> Imported:
    """Make a run folder of a released checkpoint. The file is read without running code from it.

    Args:
        file: a released checkpoint of CDTR, CATR or TS-CAM (.pth).
        out: the run folder to write, which must be empty or not there.
        classes: names of the classes in their order: the root of a data set, or a text file, one a line; None numbers
            them.
        reporter: takes notes of tensors that are left out and of numbered classes.

    Returns:
        The run, with the released code's settings, protocol and threshold.

    Raises:
        ConfigError: something is in ``out``.
        CheckpointError: the file is no released checkpoint, or the number of classes differs.
        DataError: the names of the classes cannot be read.
    """
    file, out = Path(file), Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"{out} exists and is not an empty folder: choose another `out=`")
    released = read_released(file)
    names = _class_names(None if classes is None else Path(classes), released.classes, file)
    _write_run(released, names, file, out)
    left_out = released.left_out
    if left_out:
        reporter.note(f"left out {len(left_out)} tensors that the model does not use, such as {left_out[0]}")
    if classes is None:
        reporter.note(
            f"the classes are called {names[0]}, ...: to evaluate, import with `classes=DATA`, which has their names"
        )
    return Imported(RunFolder(out), released, names)


def _class_names(source: Path | None, count: int, file: Path) -> Sequence[str]:
    """The names of ``count`` classes: of a data set, of a text file, or numbered from 0."""
    if source is None:
        width = len(str(count - 1))
        return [f"class_{index:0{width}}" for index in range(count)]
    if source.is_dir():
        names: Sequence[str] = load_source(source).class_names
    elif source.is_file():
        names = _without_numbers(read_lines(source))
    else:
        raise DataError(
            f"no file or folder {source}: give `classes=` a data set's root, or a text file, one name a line"
        )
    if len(names) != count:
        raise CheckpointError(f"{file} has {count} classes, {source} has {len(names)}: give the set it was trained on")
    twice = next((name for index, name in enumerate(names) if name in names[:index]), None)
    if twice is not None:
        raise DataError(f"{source} has the class {twice!r} twice: expected a different name on each line")
    return names


def _without_numbers(lines: Sequence[str]) -> Sequence[str]:
    """The names of a list that counts its lines from 1, as CUB's classes.txt does; another list is left as it is."""
    parts = [line.partition(" ") for line in lines]
    counted = all(number == str(line) and name for line, (number, _, name) in enumerate(parts, start=1))
    return [name.strip() for _, _, name in parts] if counted else lines


def _write_run(released: Released, names: Sequence[str], file: Path, out: Path) -> None:
    """Write the whole folder or nothing, so that a killed import leaves no half run."""
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
