"""Open what a workflow works on: a run, its data set, a split, the held-out images, the views of protocols."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from cdtr.account import Account, account_lines
from cdtr.data.empty_classes import without_boxes
from cdtr.data.opening import open_data
from cdtr.data.split import hold_out, training_samples
from cdtr.errors import CheckpointError, ConfigError, DataError
from cdtr.image_files.reading import check_images
from cdtr.records import DataSource, Sample
from cdtr.runs import RunFolder, hash_names
from cdtr.workflows.reporting import SILENT, Reporter

if TYPE_CHECKING:  # exported models are run where PyTorch is not installed
    from accelerate import PartialState

    from cdtr.config import Config
    from cdtr.data.pixels import View
    from cdtr.evaluation import Protocol

RunLike: TypeAlias = str | Path | RunFolder
DataLike: TypeAlias = str | Path | DataSource

FULLSUP = "train-fullsup"  # the split on which the WSOL benchmark chooses its thresholds
HELD_OUT = "held-out"  # the name of the split of the training images that the run was not fitted to
TEST_SPLITS = ("test", "val")  # scores are measured on the first of them that the data has


def resolve_run(run: RunLike) -> RunFolder:
    """Return the folder of a trained run.

    Args:
        run: the folder, its path, or a hub id ``owner/name``, which is downloaded.

    Raises:
        CheckpointError: there is no such run, or its training has not finished.
    """
    from cdtr.api import find_run

    return run.require_trained() if isinstance(run, RunFolder) else find_run(run)


def name_of(run: RunLike) -> str:
    """Return the path or hub id that a run goes by."""
    return str(run.path if isinstance(run, RunFolder) else run)


def resolve_data(
    run: RunFolder,
    data: DataLike,
    boxes: str | None = None,
    split: str | None = None,
    reporter: Reporter = SILENT,
) -> DataSource:
    """Return the data set as it is where it is open already, else open it as ``open_source`` does.

    Raises:
        ConfigError: boxes are named for a data set that is open already.
        DataError: the set cannot be read, or has other classes than the run.
    """
    if not isinstance(data, DataSource):
        return open_source(run, Path(data), boxes, split, reporter)
    if boxes is not None:
        raise ConfigError("boxes are named for a data set that is open already: give its path, or leave boxes out")
    check_classes(run, data)
    empty = run.config().data.empty_classes
    return without_boxes(data, (), empty) if empty else data


def open_source(
    run: RunFolder,
    data: Path,
    boxes: str | None = None,
    split: str | None = None,
    reporter: Reporter = SILENT,
) -> DataSource:
    """Open a data set for a run.

    Args:
        run: the trained run.
        data: the folder of the data set.
        boxes: where its boxes are, instead of what the run says.
        split: the split that the user has named, whose images the boxes are of where others share their names.
        reporter: takes the notes of the reader.

    Raises:
        DataError: the set cannot be read, or has other classes than the run.
    """
    settings = run.config().data
    if boxes is not None:
        settings = settings.model_copy(update={"boxes": boxes})
    source = open_data(data, settings, reporter.note, split)
    check_classes(run, source)
    return source


def report_reading(source: DataSource, reporter: Reporter) -> None:
    """Report the lines of ``reading_lines``, and warn of each problem that came up since the set was opened."""
    for account in source.accounts:
        account.warn()
    for line in reading_lines(source):
        reporter.note(line)


def reading_lines(source: DataSource) -> list[str]:
    """Return lines that say what was read of a data set, what was left out and why.

    Args:
        source: the data set; its boxes are counted as far as they were read.
    """
    splits = ", ".join(f"{len(samples)} {split}" for split, samples in source.splits.items() if samples)
    images = source.accounts[0] if source.accounts else Account("images")
    images.total = sum(map(len, source.splits.values()))
    return [f"read: {line}" for line in (f"{images.line()} ({splits})", *account_lines(source.accounts[1:]))]


def check_classes(run: RunFolder, source: DataSource) -> None:
    """Raise DataError unless the data has the classes of the run, in the same order."""
    trained, found = run.class_names(), source.class_names
    if len(trained) != len(found):
        raise DataError(
            f"{run.path} has {len(trained)} classes, the data has {len(found)}: "
            "point `data=` at data with the same classes, or train again"
        )
    for index, (ours, theirs) in enumerate(zip(trained, found, strict=True)):
        if ours != theirs:
            raise DataError(
                f"{run.path} has {ours!r} as class {index}, the data has {theirs!r}: "
                "point `data=` at data with the same classes, or train again"
            )


def held_out_samples(run: RunFolder, source: DataSource) -> list[Sample]:
    """Return the training images that the run was not fitted to.

    They are split again as training did, and checked against the run's manifest.

    Args:
        run: a trained run.
        source: the data set that it was trained on.

    Raises:
        CheckpointError: the manifest does not say which images were held out.
        DataError: the run held no image out, or other images than those of this data set.
    """
    return _checked_split(run, source, "held_out")


def fitted_samples(run: RunFolder, source: DataSource) -> list[Sample]:
    """Return the training images that the run was fitted to, as ``held_out_samples`` returns the others.

    Raises:
        CheckpointError: the manifest does not say which images they were.
        DataError: they are not those of this data set.
    """
    return _checked_split(run, source, "fit")


def _checked_split(run: RunFolder, source: DataSource, name: str) -> list[Sample]:
    """Split the training images again as training did and check a part, ``fit`` or ``held_out``."""
    config = run.config()
    good, _ = check_images(training_samples(source), config.data.max_pixels)
    found = dict(zip(("fit", "held_out"), hold_out(good, config.data.holdout, config.seed), strict=True))[name]
    noted = (run.manifest().get("splits") or {}).get(name) or {}
    if noted.get("sha256") is None:
        raise CheckpointError(f"{run.manifest_file} does not say which images were held out: give `split=NAME`")
    images, sha256 = noted["images"], noted["sha256"]
    if not images:
        raise DataError(
            f"{run.path} held no image out: name other images with `split=`, or train with data.holdout above 0"
        )
    if hash_names(sample.image_id for sample in found) != sha256:
        done = "held out" if name == "held_out" else "was fitted to"
        raise DataError(
            f"the images that {run.path} {done} ({images}) are not those of {source.root} ({len(found)}): "
            "point `data=` at the set it was trained on, unchanged"
        )
    return found


def find_split(run: RunFolder, source: DataSource, split: str) -> Sequence[Sample]:
    """Return the images of a split.

    Args:
        run: the run whose held-out images ``held-out`` stands for.
        source: the data set.
        split: a name of the data set's splits, or ``held-out``.

    Raises:
        DataError: the data has no such split; the error lists the choices.
    """
    if split == HELD_OUT:
        return held_out_samples(run, source)
    samples = source.splits.get(split)
    if not samples:
        choices = [*(name for name, found in source.splits.items() if found), HELD_OUT]
        raise DataError(f"{source.root} has no split {split!r}: choose one of {', '.join(choices)}")
    return samples


def choose_split(run: RunFolder, source: DataSource, split: str | None) -> tuple[str, Sequence[Sample]]:
    """Return the name and the images of a split.

    Args:
        run: the run that is measured.
        source: the data set.
        split: a name; None takes the first of test, val and held-out.

    Raises:
        DataError: the data has no such split.
    """
    if split is None:
        split = find_test_split(source) or HELD_OUT
    return split, find_split(run, source, split)


def find_test_split(source: DataSource, chosen_on: str | None = None) -> str | None:
    """Return the name of the split to measure on; None where the data has none.

    Args:
        source: the data set.
        chosen_on: the split that a threshold was chosen on, which is passed over.
    """
    return next((name for name in TEST_SPLITS if name != chosen_on and source.splits.get(name)), None)


def check_evaluation(config: Config) -> None:
    """Raise ConfigError for an unknown protocol or a view that the sizes do not allow.

    A training calls it at its start, so that the evaluation after it cannot fail for such a reason.
    """
    from cdtr.data.pixels import View
    from cdtr.evaluation import find_protocol

    settings = config.evaluation
    View.of(find_protocol(settings.protocol).view or settings.view, config.data)


def group_by_view(
    run: RunFolder, protocols: Sequence[Protocol], given: str | None = None, reporter: Reporter = SILENT
) -> dict[View, list[Protocol]]:
    """Group protocols by the view of the image that the network gets.

    Args:
        run: the run.
        protocols: the protocols; one whose view the run's sizes do not allow is left out with a note.
        given: the view of protocols that have none of their own; None takes the run's.
        reporter: takes the notes.

    Returns:
        The protocols of each view.

    Raises:
        ConfigError: no protocol is left, the view is unknown, or every protocol has another one.
    """
    from cdtr.api import choose_view
    from cdtr.data.pixels import View

    groups: dict[View, list[Protocol]] = {}
    faults: dict[str, ConfigError] = {}
    data = run.config().data
    fixed = [protocol for protocol in protocols if protocol.view is not None and protocol.view != given]
    if given is not None and len(fixed) == len(protocols):
        raise ConfigError(f"`view={given}`: protocol {fixed[0].name} sees the {fixed[0].view}, leave `view=` out")
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
        reporter.warn(f"protocol {name} is left out: {fault}")
    return groups


def pass_of(view: View, protocols: Sequence[Protocol]) -> str:
    """Return for the title of a pass over the images what its view is, and which protocols ask for it."""
    names = [protocol.name for protocol in protocols]
    plural = "s" if len(names) > 1 else ""
    return f", view {view.name} for the protocol{plural} {' and '.join(names)}"


def process_state() -> PartialState:
    """Return which process of how many this is, as `accelerate launch` or torchrun started it."""
    import torch
    from accelerate import PartialState

    return PartialState(cpu=not torch.cuda.is_available())
