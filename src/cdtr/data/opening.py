"""A data set as a run's settings want it: its boxes, the classes whose boxes count, and copies left out."""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Callable
from dataclasses import replace
from itertools import chain
from pathlib import Path

from cdtr.config import DataConfig
from cdtr.data.annotations import Annotate, Images, no_annotation, open_boxes
from cdtr.data.datasets import load_source
from cdtr.data.duplicates import describe_copies, find_copies, without
from cdtr.errors import DataError
from cdtr.records import Annotation, DataSource, Sample

# Looking for copies stats every file; larger sets are searched only if asked for.
_SEARCHED_UNASKED = 10_000


def open_data(root: str | Path, config: DataConfig, say: Callable[[str], None] | None = None) -> DataSource:
    """Find and index the data set at ``root`` under the settings ``config``.

    Copies between splits are always reported, to ``say`` or as a warning; with ``deduplicate`` they are left out, of
    training rather than of the scored split, so that scores stay comparable. Raises DataError as ``load_source``.
    """
    source = load_source(root, config.format)
    if config.boxes == "none":
        source = replace(source, annotated=False, annotate=no_annotation)
    elif config.boxes != "auto":
        images = Images(source.root, chain.from_iterable(source.splits.values()), source.class_names)
        source = replace(source, annotated=True, annotate=open_boxes(_find(config.boxes, source.root), images))
    if config.unboxed_classes:
        source = replace(source, annotate=_without_classes(source, config.unboxed_classes))
    say = say or (lambda line: warnings.warn(line, stacklevel=3))
    if config.deduplicate:
        copies = find_copies(source)
        say(f"{describe_copies(copies)}: left out there" if copies else f"no image of {root} is in two splits")
        return without(source, copies)
    if sum(len(samples) for samples in source.splits.values()) <= _SEARCHED_UNASKED:
        copies = find_copies(source)
        if copies:
            say(f"{describe_copies(copies)}, byte for byte: data.deduplicate leaves them out of training")
    return source


def _find(named: str, root: Path) -> Path:
    """As seen from here, else from the data's root."""
    path = Path(named).expanduser()
    return path if path.exists() or not (root / path).exists() else root / path


def _without_classes(source: DataSource, names: tuple[str, ...]) -> Annotate:
    for name in names:
        if name not in source.class_names:
            close = difflib.get_close_matches(name, source.class_names, n=1)
            hint = f", did you mean {close[0]!r}?" if close else f": it has {', '.join(source.class_names[:5])}"
            raise DataError(f"data.unboxed_classes has {name!r}, no class of {source.root}{hint}")
    labels = {source.class_names.index(name) for name in names}
    annotate = source.annotate

    def of_other_classes(sample: Sample) -> Annotation | None:
        return None if sample.label in labels else annotate(sample)

    return of_other_classes
