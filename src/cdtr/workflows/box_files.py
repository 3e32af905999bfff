"""The files of ``localize``: boxes in any format, heat maps and overlays, written as the images come."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from cdtr.api import Localizer
from cdtr.errors import ConfigError, DataError
from cdtr.formats import LEFT_OUT, Add, Exporter, Target, can_be_written, find_exporter, write_left_out
from cdtr.image_files.written import mark_written
from cdtr.localization.options import DEFAULT_OPTIONS, LocalizeOptions
from cdtr.records import Localization
from cdtr.runs import write_atomic
from cdtr.workflows.images import images_root
from cdtr.workflows.localized import Localized
from cdtr.workflows.reporting import SILENT, Reporter

REVIEW = "review"
_VAL_SHARE = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputFiles:
    """What is written, and where.

    Attributes:
        out: the folder to write.
        formats: names of formats, such as ``coco``; see ``cdtr.formats``.
        heatmaps: whether to write a coloured heat map of each image.
        overlays: whether to write each image with its heat map and boxes.
        overwrite: whether files of an earlier call may be replaced.
        val_share: for the format yolo, the share of the images to measure on, by default 0.2.
        flat: for the format yolo, whether there are no folders below a split.
        copies: for the format yolo, whether images are copied rather than linked.

    Raises:
        ConfigError: a format is unknown, or an option of yolo is given without it.
        DataError: ``out`` is a file.
    """

    out: Path
    formats: tuple[str, ...] = ("coco",)
    heatmaps: bool = False
    overlays: bool = False
    overwrite: bool = False
    val_share: float | None = None
    flat: bool = False
    copies: bool = False

    def __post_init__(self) -> None:
        names = [find_exporter(name).name for name in self.formats]
        if self.out.exists() and not self.out.is_dir():
            raise DataError(f"{self.out} is a file: choose a folder as `out=`")
        if (self.val_share is not None or self.flat or self.copies) and "yolo" not in names:
            raise ConfigError(
                "`val_share=`, `flat=True` and `copies=True` are of the format yolo: add it to `formats=`, or leave "
                "them out"
            )

    @property
    def folders(self) -> list[Path]:
        """The folders of heat maps and overlays, as far as they are written."""
        return [self.out / name for name, on in (("heatmaps", self.heatmaps), ("overlays", self.overlays)) if on]

    def exporters(self) -> list[Exporter]:
        """Return the exporters of the formats, each once."""
        return [find_exporter(name) for name in dict.fromkeys(self.formats)]

    def require_absent(self, files: Sequence[Path] | None = None) -> None:
        """Raise ConfigError if an earlier call wrote any of it and ``overwrite`` is off: it may be in use.

        Args:
            files: those of the formats; None for the formats that were asked for, before a model is loaded.
        """
        files = [self.out / exporter.file_name for exporter in self.exporters()] if files is None else files
        for path in () if self.overwrite else (*files, self.out / LEFT_OUT, *self.folders):
            if path.exists():
                raise ConfigError(f"{path} is there already: choose another `out=`, or give `overwrite=True`")


def write_localizations(
    localizer: Localizer,
    images: Sequence[tuple[str, Path]],
    output: OutputFiles,
    options: LocalizeOptions,
    batch_size: int,
    source: str,
    reporter: Reporter = SILENT,
) -> Localized:
    """Localize images and write all that ``output`` asks for, and the review list where boxes have scores.

    Args:
        localizer: finds the boxes.
        images: (image id, path) pairs of ``expand_images``.
        output: what to write.
        options: how to localize; masks are added for formats that need them.
        batch_size: images in one forward pass.
        source: what found the boxes, for formats that say so.
        reporter: takes notes and progress.

    Raises:
        ConfigError: a file is there already.
        DataError: no image can be read; nothing was written.
    """
    exporters = output.exporters()
    if localizer.quality is not None and all(exporter.name != REVIEW for exporter in exporters):
        exporters.append(find_exporter(REVIEW))
    paths, folders = [output.out / exporter.file_name for exporter in exporters], output.folders
    output.require_absent(paths)
    root, share = images_root(images), _VAL_SHARE if output.val_share is None else output.val_share
    options = replace(options, masks=options.masks or any(exporter.needs_masks for exporter in exporters))
    left_out: list[tuple[str, str]] = []
    left_out_file = output.out / LEFT_OUT
    with ExitStack() as writers:
        adders: list[Add] = [_marker(output.out, [path.name for path in (*paths, *folders)])]
        for exporter, path in zip(exporters, paths, strict=True):
            target = Target(path, localizer.class_names, root, source, share or None, output.flat, output.copies)
            adders.append(writers.enter_context(exporter.open(target)))
        found = localize_images(
            localizer,
            images,
            output.out,
            heatmaps=output.heatmaps,
            overlays=output.overlays,
            batch_size=batch_size,
            options=options,
            adders=adders,
            left_out=left_out,
            reporter=reporter,
        )
        if not found:
            raise DataError(f"none of the {len(left_out)} images could be read: nothing was written")
        if left_out:
            write_left_out(left_out_file, left_out)
        else:
            left_out_file.unlink(missing_ok=True)  # of an earlier call
    return Localized(
        localizations=found,
        files=tuple(paths),
        folders=tuple(folders),
        left_out=dict(left_out),
        left_out_file=left_out_file if left_out else None,
        threshold=localizer.threshold,
        paths=dict(images),
    )


def localize_images(
    localizer: Localizer,
    images: Sequence[tuple[str, Path]],
    out: Path,
    *,
    heatmaps: bool = False,
    overlays: bool = False,
    batch_size: int | None = None,
    options: LocalizeOptions = DEFAULT_OPTIONS,
    adders: Sequence[Callable[[Localization], None]] = (),
    left_out: list[tuple[str, str]] | None = None,
    reporter: Reporter = SILENT,
) -> list[Localization]:
    """Localize image by image and write heat maps and overlays as they come.

    Args:
        localizer: finds the boxes.
        images: (image id, path) pairs.
        out: the folder of the folders ``heatmaps`` and ``overlays``.
        heatmaps: write a coloured heat map of each image.
        overlays: write each image with its heat map and boxes.
        batch_size: images in one forward pass; by default as the model says.
        options: how to localize.
        adders: take each localization as it comes, with its map and masks.
        left_out: gets the id of each image that cannot be read, and the reason.
        reporter: takes notes and progress.

    Returns:
        The localizations without their maps.
    """
    from cdtr.reports.overlays import heat_map, small_overlay

    found = []
    with reporter.progress("localizing images", len(images)) as move:

        def skip(image_id: str, reason: str) -> None:
            reporter.note(f"left out {image_id}: {reason}")
            if left_out is not None:
                left_out.append((image_id, reason))
            move(1)

        named = [(image_id, path) for image_id, path in images if can_be_written(image_id)]
        for image_id, _ in images:
            if not can_be_written(image_id):
                skip(ascii(image_id), "its name holds a character that files of boxes cannot hold: rename it")
        for image, one in localizer.stream(named, batch_size=batch_size, on_broken=skip, options=options):
            for add in adders:
                add(one)
            # The whole name stays, so that a.jpg and a.png do not meet.
            if heatmaps:
                write_image(heat_map(one.map), out / "heatmaps" / f"{one.image_id}.png", reporter)
            if overlays:
                write_image(small_overlay(image, one), out / "overlays" / f"{one.image_id}.jpg", reporter)
            found.append(_without_map(one))
            move(1)
    return found


def write_image(image: Image.Image, path: Path, reporter: Reporter = SILENT) -> None:
    """Write a PNG or JPEG file; a name that is too long gets a warning instead."""
    buffer = BytesIO()
    image.save(buffer, "PNG" if path.suffix == ".png" else "JPEG", quality=90)
    try:
        write_atomic(path, buffer.getvalue())
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        reporter.warn(f"no image of {path.stem}: its name is too long for {path.parent}, rename the image")


def _marker(out: Path, names: Sequence[str]) -> Add:
    """Return a function that notes, at the first localization, which results ``out`` will hold.

    A killed command leaves some of them; below a data set they would be taken for images.
    """
    marked: list[bool] = []

    def add(_localization: Localization) -> None:
        if not marked:
            marked.append(True)
            out.mkdir(parents=True, exist_ok=True)
            mark_written(out, names)

    return add


def _without_map(localization: Localization) -> Localization:
    """Return a localization that is small enough for a list of a million."""
    nothing = np.zeros(0, dtype=np.float32)
    return replace(localization, map=nothing.reshape(0, 0), class_probs=nothing, masks=None)
