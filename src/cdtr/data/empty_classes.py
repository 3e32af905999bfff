"""Classes whose images have no object, such as good parts: their labels, and names that suggest such a class."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Sequence
from dataclasses import replace

from cdtr.errors import DataError
from cdtr.records import Annotation, DataSource, Sample

# Compared without capitals, spaces and hyphens.
_WORDS = {
    *("good", "ok", "okay", "normal", "healthy", "background", "negative", "none", "no", "clean", "nothing", "empty"),
    *("defectfree", "flawless", "intact", "undamaged", "nondefective"),
}
_WITHOUT = re.compile("no(defect|tumou?r|finding|damage|object|anomaly|crack|fault|disease|lesion|flaw|scratch)s?")


def class_labels(names: Sequence[str], class_names: Sequence[str], setting: str, origin: str) -> tuple[int, ...]:
    """Return the labels of classes that a setting names.

    Args:
        names: The classes.
        class_names: All classes in the order of the labels.
        setting: The setting, such as ``data.empty_classes``, for the message.
        origin: Whose classes they are, for the message.

    Raises:
        DataError: A name is no class; the message names the nearest one.
    """
    for name in names:
        if name not in class_names:
            close = difflib.get_close_matches(name, class_names, n=1)
            hint = f", did you mean {close[0]!r}?" if close else f": it has {', '.join(class_names[:5])}"
            raise DataError(f"{setting} has {name!r}, no class of {origin}{hint}")
    return tuple(sorted({class_names.index(name) for name in names}))


def empty_labels(names: Sequence[str], class_names: Sequence[str], origin: str) -> tuple[int, ...]:
    """Return the labels of ``data.empty_classes``, ascending.

    Args:
        names: The classes without an object.
        class_names: All classes in the order of the labels.
        origin: Whose classes they are, for the message.

    Raises:
        DataError: A name is no class, or every class is named.
    """
    labels = class_labels(names, class_names, "data.empty_classes", origin)
    if labels and len(labels) == len(class_names):
        raise DataError(
            f"data.empty_classes names all {len(labels)} classes of {origin}: expected at least one class with an "
            "object, leave it out"
        )
    return labels


def without_boxes(source: DataSource, unboxed: Sequence[str], empty: Sequence[str]) -> DataSource:
    """Return a data set whose images of some classes have no annotation: scores then leave their boxes out.

    Args:
        source: The data set.
        unboxed: The classes of ``data.unboxed_classes``.
        empty: The classes of ``data.empty_classes``.

    Raises:
        DataError: As ``empty_labels``.
    """
    origin = str(source.root)
    labels = {
        *class_labels(unboxed, source.class_names, "data.unboxed_classes", origin),
        *empty_labels(empty, source.class_names, origin),
    }
    annotate: Callable[[Sample], Annotation | None] = source.annotate

    def of_other_classes(sample: Sample) -> Annotation | None:
        return None if sample.label in labels else annotate(sample)

    return replace(source, annotate=of_other_classes) if labels else source


def suggested_empty(class_names: Sequence[str]) -> list[str]:
    """List the classes whose names say that their images have no object; none if that would be all classes.

    >>> suggested_empty(["crack", "good", "no_defect", "NoTumor", "goods"])
    ['good', 'no_defect', 'NoTumor']
    """
    found = [name for name in class_names if _says_empty(re.sub(r"[\W_]", "", name).lower())]
    return found if len(found) < len(class_names) else []


def _says_empty(word: str) -> bool:
    return word in _WORDS or _WITHOUT.fullmatch(word) is not None


def suggestion(class_names: Sequence[str]) -> str | None:
    """Return a line that says what to set for classes that seem to have no object; None where none does."""
    found = suggested_empty(class_names)
    if not found:
        return None
    names = ", ".join(found)
    return (
        f"the name{'s' if len(found) > 1 else ''} {names} suggest{'' if len(found) > 1 else 's'} images without an "
        f"object: with data.empty_classes=[{names}] they are classified and never get a box"
    )
