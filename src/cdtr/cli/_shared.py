"""What several commands need: a run with the data it was trained on, the held-out images, a progress bar."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from cdtr.account import Account, account_lines
from cdtr.cli._output import is_quiet
from cdtr.data.images import check_images
from cdtr.data.opening import open_data
from cdtr.data.split import hold_out, training_samples
from cdtr.errors import CheckpointError, DataError
from cdtr.records import DataSource, Sample
from cdtr.runs import RunFolder, hash_names
from cdtr.terminal import PlainConsole
from cdtr.text import printable

if TYPE_CHECKING:  # exported models are run where PyTorch is not installed
    from accelerate import PartialState

    from cdtr.config import Config
    from cdtr.data.pixels import View
    from cdtr.evaluation import Protocol

HELD_OUT = "held-out"
LOCALIZE_REST = " IMAGES --out boxes --format coco,csv"
TEST_SPLITS = ("test", "val")  # the first that the data has is the one to measure on


def open_source(run: RunFolder, data: Path, boxes: str | None = None, split: str | None = None) -> DataSource:
    """The data set at ``data``, with other ``boxes`` if given; DataError unless it has the run's classes.

    split: the one that the user has named, whose images the boxes are of where others have their names, too.
    """
    settings = run.config().data
    if boxes is not None:
        settings = settings.model_copy(update={"boxes": boxes})
    source = open_data(data, settings, note, split)
    check_classes(run, source)
    return source


def reading_lines(source: DataSource) -> list[str]:
    """What was read of a data set, what was left out and why: images, and boxes as far as they were asked for."""
    splits = ", ".join(f"{len(samples)} {split}" for split, samples in source.splits.items() if samples)
    images = source.accounts[0] if source.accounts else Account("images")
    images.total = sum(map(len, source.splits.values()))
    return [f"read: {line}" for line in (f"{images.line()} ({splits})", *account_lines(source.accounts[1:]))]


def tell_reading(source: DataSource) -> None:
    """The lines of ``reading_lines``, and a warning of each problem that came up since the set was opened."""
    for account in source.accounts:
        account.warn()
    for line in reading_lines(source):
        note(line)


def check_classes(run: RunFolder, source: DataSource) -> None:
    trained, found = run.class_names(), source.class_names
    if len(trained) != len(found):
        raise DataError(
            f"{run.path} has {len(trained)} classes, the data has {len(found)}: "
            "point --data at data with the same classes, or train again"
        )
    for index, (ours, theirs) in enumerate(zip(trained, found, strict=True)):
        if ours != theirs:
            raise DataError(
                f"{run.path} has {ours!r} as class {index}, the data has {theirs!r}: "
                "point --data at data with the same classes, or train again"
            )


def held_out_samples(run: RunFolder, source: DataSource) -> list[Sample]:
    """The training images that the run did not fit, split again as training did and checked against its manifest."""
    config = run.config()
    good, _ = check_images(training_samples(source), config.data.max_pixels)
    _, held = hold_out(good, config.data.holdout, config.seed)
    noted = (run.manifest().get("splits") or {}).get("held_out") or {}
    if noted.get("sha256") is None:
        raise CheckpointError(f"{run.manifest_file} does not say which images were held out: give --split NAME")
    images, sha256 = noted["images"], noted["sha256"]
    if not images:
        raise DataError(
            f"{run.path} held no image out: name other images with --split, or train with data.holdout above 0"
        )
    if hash_names(sample.image_id for sample in held) != sha256:
        raise DataError(
            f"the images that {run.path} held out ({images}) are not those of {source.root} ({len(held)}): "
            "point --data at the set it was trained on, unchanged"
        )
    return held


def find_split(run: RunFolder, source: DataSource, split: str) -> Sequence[Sample]:
    """The images of a split by name, ``held-out`` among them; DataError lists the choices."""
    if split == HELD_OUT:
        return held_out_samples(run, source)
    samples = source.splits.get(split)
    if not samples:
        choices = [*(name for name, found in source.splits.items() if found), HELD_OUT]
        raise DataError(f"{source.root} has no split {split!r}: choose one of {', '.join(choices)}")
    return samples


def find_test_split(source: DataSource, chosen_on: str | None = None) -> str | None:
    """The split to measure on, which neither training nor the choice of a threshold has seen; None without one."""
    return next((name for name in TEST_SPLITS if name != chosen_on and source.splits.get(name)), None)


def check_evaluation(config: Config) -> None:
    """ConfigError for an unknown protocol or a view that the sizes do not allow: before the training, not after."""
    from cdtr.data.pixels import View
    from cdtr.evaluation import find_protocol

    settings = config.evaluation
    View.of(find_protocol(settings.protocol).view or settings.view, config.data)


def group_by_view(
    run: RunFolder, protocols: Sequence[Protocol], given: str | None = None
) -> dict[View, list[Protocol]]:
    """The protocols by what they show the network: what they say themselves, else the view given, else the run's.

    A protocol whose view the run's sizes do not allow is left out with a note; ConfigError where none is left, and for
    an unknown view.
    """
    from cdtr.api import choose_view
    from cdtr.data.pixels import View
    from cdtr.errors import ConfigError

    groups: dict[View, list[Protocol]] = {}
    faults: dict[str, ConfigError] = {}
    data = run.config().data
    fixed = [protocol for protocol in protocols if protocol.view is not None and protocol.view != given]
    if given is not None and len(fixed) == len(protocols):
        raise ConfigError(f"--view {given}: protocol {fixed[0].name} sees the {fixed[0].view}, leave --view out")
    for protocol in protocols:
        try:
            view = View.of(protocol.view or choose_view(run, given), data)
        except ConfigError as error:
            faults[protocol.name] = error
            continue
        groups.setdefault(view, []).append(protocol)
    if not groups:
        raise next(iter(faults.values()))
    for name, fault in faults.items():
        note(f"protocol {name} is left out: {fault}")
    return groups


def process_state() -> PartialState:
    """Which process of how many this is, as `accelerate launch` or torchrun started it."""
    import torch
    from accelerate import PartialState

    return PartialState(cpu=not torch.cuda.is_available())


@contextmanager
def progress_bar(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar on a terminal, one plain line elsewhere; yields a function that moves it on."""
    console = progress_console()
    if console.quiet or not console.is_terminal:
        note(f"{what}: {total}")
        yield lambda _count: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=32), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(what, total=total)
        yield lambda count: progress.advance(task, count)


def progress_console() -> PlainConsole:
    """Where progress is shown; with --quiet it shows nothing."""
    return PlainConsole(stderr=True, quiet=is_quiet())


def note(message: str) -> None:
    """A line beside the results; with --quiet warnings alone."""
    if not is_quiet() or message.startswith("warning:"):
        print(printable(message), file=sys.stderr)


def report_broken(sample: Sample, reason: str) -> None:
    note(f"left out {sample.image_id}: {reason}")


def require_folder(out: Path, option: str = "--out") -> None:
    """DataError if something that is no folder is in the way."""
    if out.exists() and not out.is_dir():
        raise DataError(f"{out} is a file: choose a folder as {option}")


def require_outputs(json_file: Path | None, figures: Path | None = None) -> None:
    """DataError if --json is a folder or --figures a file, to be said before anything is measured."""
    if json_file is not None and json_file.is_dir():
        raise DataError(f"{json_file} is a folder: name the file to write as --json, such as {json_file / 'n.json'}")
    if figures is not None:
        require_folder(figures, "--figures")


def shell(*words: object) -> str:
    """A command that can be pasted into a shell, whatever its files are called."""
    return shlex.join(map(str, words))


def next_steps(commands: Sequence[str]) -> None:
    if is_quiet():
        return
    print("next:")
    for line in commands:
        print(f"  {line}")
