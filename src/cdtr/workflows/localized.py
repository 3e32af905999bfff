"""What ``localize`` found and wrote."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cdtr.records import Localization
from cdtr.reports.notebook import html_localizations, html_text


@dataclass(frozen=True, slots=True, repr=False)
class Localized:
    """What ``localize`` found and wrote.

    Attributes:
        localizations: of each image that could be read, without maps, class probabilities and masks.
        files: the files of the formats, or their folders.
        folders: the folders of heat maps and overlays.
        left_out: why an image was left out, by its id; also in ``left_out_file``.
        left_out_file: the list of them; None where there are none.
        threshold: the map threshold that was used.
        paths: the file of each image, by its id.
    """

    localizations: list[Localization]
    files: tuple[Path, ...]
    folders: tuple[Path, ...]
    left_out: dict[str, str] = field(default_factory=dict)
    left_out_file: Path | None = None
    threshold: float = 0.0
    paths: Mapping[str, Path] = field(default_factory=dict)

    @property
    def boxes(self) -> int:
        """The number of boxes."""
        return sum(len(one.boxes_xyxy) for one in self.localizations)

    @property
    def without_box(self) -> int:
        """The number of images without a box."""
        return sum(not len(one.boxes_xyxy) for one in self.localizations)

    def to_json(self) -> dict[str, Any]:
        """Return the counts, the threshold and the names of the files."""
        return {
            "threshold": self.threshold,
            "boxes": self.boxes,
            "images": len(self.localizations),
            "without_box": self.without_box,
            "left_out": self.left_out,
            "files": [str(path) for path in (*self.files, *self.folders)],
        }

    def lines(self) -> list[str]:
        """Return what was written, and the number of boxes, for people."""
        written = [f"wrote {path}" for path in self.files]
        written += [f"wrote {folder}: {len(self.localizations)} images" for folder in self.folders]
        if self.left_out_file is not None:
            written.append(f"wrote {self.left_out_file}: {len(self.left_out)} images that could not be read")
        return [*written, str(self)]

    def __str__(self) -> str:
        return (
            f"{self.boxes} boxes in {len(self.localizations)} images at threshold {self.threshold:.3g}"
            + (f", {self.without_box} without a box" if self.without_box else "")
            + (f", {len(self.left_out)} could not be read" if self.left_out else "")
        )

    def __repr__(self) -> str:
        return f"Localized({self}; {', '.join(path.name for path in (*self.files, *self.folders))})"

    def _repr_html_(self) -> str:
        return f"<p>{html_text(repr(self))}</p>{html_localizations(self.localizations, self.paths)}"
