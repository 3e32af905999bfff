"""What the formats in Pascal VOC's layout share: ``labelmap.txt``, its colours, and the list of the images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from cdtr.errors import DataError
from cdtr.formats._target import Target
from cdtr.runs import atomic_folder

FILE = "labelmap.txt"


@contextmanager
def open_voc_folder(target: Target, task: str) -> Iterator[tuple[Path, list[str]]]:
    """Open a folder in VOC's layout.

    Args:
        target: Where to write.
        task: The folder below ``ImageSets``.

    Yields:
        The folder, and a list to which the name of each image is added; at the end it is written to
        ``ImageSets/TASK/default.txt``, and the classes to ``labelmap.txt``.
    """
    check_label_names(target.class_names)
    names: list[str] = []
    with atomic_folder(target.path, FILE) as folder:
        yield folder, names
        (folder / "ImageSets" / task).mkdir(parents=True)
        listed = "".join(f"{name}\n" for name in names)
        (folder / "ImageSets" / task / "default.txt").write_text(listed, encoding="utf-8")
        write_label_map(folder, target.class_names)


def check_label_names(class_names: Sequence[str]) -> None:
    """Raise DataError for a class name that ``labelmap.txt`` cannot hold."""
    for name in class_names:
        if ":" in name or name.startswith("#") or name != name.strip():
            raise DataError(f"class {name!r}: {FILE} holds no colon, no # in front, no blank at an end: rename it")


def write_label_map(folder: Path, class_names: Sequence[str]) -> None:
    """Write ``name:red,green,blue::`` for each class, the background first."""
    background = "background" if "background" not in class_names else "__background__"
    lines = ["# label:color_rgb:parts:actions"]
    for index, name in enumerate([background, *class_names]):
        lines.append(f"{name}:{','.join(map(str, voc_colour(index)))}::")
    (folder / FILE).write_text("\n".join(lines) + "\n", encoding="utf-8")


def voc_colour(index: int) -> tuple[int, int, int]:
    """Return red, green and blue of a class, unique for 2^24 indices, as in VOC's development kit."""
    red = green = blue = 0
    for shift in range(7, -1, -1):
        red |= (index & 1) << shift
        green |= (index >> 1 & 1) << shift
        blue |= (index >> 2 & 1) << shift
        index >>= 3
    return red, green, blue
