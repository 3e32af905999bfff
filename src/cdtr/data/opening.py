"""Open a data set under the settings of a run: with its boxes, and copies between splits left out."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from threading import Lock

from cdtr.account import Account
from cdtr.config import DataConfig
from cdtr.data.datasets import load_source
from cdtr.data.duplicates import describe_copies, find_copies, without
from cdtr.data.empty_classes import without_boxes
from cdtr.errors import AnnotationError
from cdtr.formats import Annotate, Images, no_annotation, open_boxes
from cdtr.records import Annotation, DataSource, Sample

# Looking for copies reads the size of every file; larger sets are searched only with data.deduplicate.
_MAX_IMAGES_SEARCHED = 10_000
_MAX_WARNINGS = 5  # images whose boxes cannot be used are named up to this number, then only counted


def open_data(
    root: str | Path,
    config: DataConfig,
    say: Callable[[str], None] | None = None,
    split: str | None = None,
    strict: bool = False,
) -> DataSource:
    """Find and index a data set under the settings of a run.

    Copies between splits are always reported. With ``data.deduplicate`` they are left out of training rather than of
    the scored split, so that scores stay comparable.

    Args:
        root: The folder of the data set.
        config: The settings of the data.
        say: Gets a line about copies; None for a warning.
        split: The split whose boxes will be read, if it is known: names in a file of boxes that images of several
            splits have are then those of this split.
        strict: Whether an annotation that cannot be used raises an error when it is read; otherwise there is a
            warning, and its image counts as one without boxes.

    Returns:
        The data set.

    Raises:
        DataError: As ``load_source``, or a file of boxes that cannot be used.
    """
    source = load_source(root, config.format)
    if config.boxes == "none":
        source = replace(source, annotated=False, annotate=no_annotation, accounts=source.accounts[:1])
    elif config.boxes != "auto":
        everything = tuple(chain.from_iterable(source.splits.values()))
        images = Images(
            source.root,
            everything,
            source.class_names,
            scope=_scope(source, split),
            size_hw=source.size_hw,
            named=True,
        )
        annotate, account = open_boxes(_find(config.boxes, source.root), images)
        source = replace(source, annotated=True, annotate=annotate, accounts=(*source.accounts[:1], account))
    if not strict:
        source = replace(source, annotate=Forgiving(source.annotate, source.accounts))
    source = without_boxes(source, config.unboxed_classes, config.empty_classes)
    say = say or (lambda line: warnings.warn(line, stacklevel=3))
    if config.deduplicate:
        copies = find_copies(source)
        say(f"{describe_copies(copies)}: left out there" if copies else f"no image of {root} is in two splits")
        return without(source, copies)
    if sum(len(samples) for samples in source.splits.values()) <= _MAX_IMAGES_SEARCHED:
        copies = find_copies(source)
        if copies:
            say(f"{describe_copies(copies)}, byte for byte: data.deduplicate leaves them out of training")
    return source


class Forgiving:
    """A reader of annotations that returns None, with one warning an image, where an annotation cannot be used.

    Args:
        annotate: The reader; raises AnnotationError.
        accounts: Those of the data set; the last one counts the images left out.
    """

    def __init__(self, annotate: Annotate, accounts: Sequence[Account]) -> None:
        self._annotate = annotate
        self._account = accounts[-1] if len(accounts) > 1 else Account("boxes")
        self._warned: set[str] = set()
        self._lock = Lock()

    def __call__(self, sample: Sample) -> Annotation | None:
        """Return the sample's boxes; None, with a note, if they cannot be understood."""
        try:
            return self._annotate(sample)
        except AnnotationError as error:
            with self._lock:
                new = sample.image_id not in self._warned
                self._warned.add(sample.image_id)
                self._account.leave("images whose boxes cannot be used", sample.image_id, serious=False)
            if new and len(self._warned) <= _MAX_WARNINGS:
                more = " (of more images they are only counted)" if len(self._warned) == _MAX_WARNINGS else ""
                warnings.warn(f"boxes left out: {error}{more}", stacklevel=2)
            return None


def _scope(source: DataSource, split: str | None) -> Sequence[Sample] | None:
    """Return the images of a split; a split that is not there, such as held-out images, is part of ``train``."""
    return None if split is None else source.splits.get(split, source.splits.get("train", ()))


def _find(named: str, root: Path) -> Path:
    """Return the path relative to the working folder, or else to the root of the data."""
    path = Path(named).expanduser()
    return path if path.exists() or not (root / path).exists() else root / path
