"""Localize images and write boxes, heat maps and overlays: what ``cdtr localize`` does, from Python."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from cdtr import cores
from cdtr.api import Localizer, calibrated_threshold, scores_misfit
from cdtr.deployment.session import OnnxModel, is_exported
from cdtr.errors import ConfigError, DataError
from cdtr.image_files.reading import read_size
from cdtr.localization.options import DEFAULT_OPTIONS, LocalizeOptions
from cdtr.localization.quality import CLASS_SCORES
from cdtr.localization.tile_grid import Tiling
from cdtr.threshold import ThresholdSource
from cdtr.workflows.box_files import REVIEW, OutputFiles, write_localizations
from cdtr.workflows.images import expand_images
from cdtr.workflows.localized import Localized
from cdtr.workflows.reporting import SILENT, Reporter

if TYPE_CHECKING:
    from cdtr.localization.options import OptionChanges

_MOST_WORKERS = 8


def localize(
    run: str | os.PathLike[str],
    images: str | Path | Iterable[str | Path],
    out: str | Path,
    formats: str | Sequence[str] = "coco",
    *,
    heatmaps: bool = False,
    overlays: bool = False,
    overwrite: bool = False,
    val_share: float | None = None,
    flat: bool = False,
    copies: bool = False,
    device: str | None = None,
    view: str | None = None,
    batch_size: int = 8,
    workers: int | None = None,
    reporter: Reporter = SILENT,
    options: LocalizeOptions = DEFAULT_OPTIONS,
    **changes: Unpack[OptionChanges],
) -> Localized:
    """Find the object in each image and write its box, and heat maps or overlays if asked.

    Args:
        run: a run, its folder, a hub id, or an ``.onnx`` file of ``cdtr.export``.
        images: image files, folders (searched at any depth) or patterns.
        out: the folder to write.
        formats: names of formats, a sequence or with commas between, such as ``"coco,csv"``.
        heatmaps: also write a coloured heat map of each image.
        overlays: also write each image with its heat map and boxes.
        overwrite: replace what an earlier call wrote.
        val_share: for the format yolo, the share of the images to measure on, by default 0.2.
        flat: for the format yolo, no folders below a split.
        copies: for the format yolo, copy the images rather than link them.
        device: cpu, cuda, ...; by default CUDA where there is one.
        view: what the network sees of an image; by default as the run was calibrated.
        batch_size: images in one forward pass, and tiles of a large image.
        workers: batches at a time on a CPU; by default one a core, up to 8.
        reporter: takes notes and progress.
        options: how to localize.
        changes: single fields of ``LocalizeOptions``, such as ``multi=True``.

    Returns:
        The localizations without their maps, and the files that were written.

    Raises:
        ConfigError: an option is wrong, or a file is there already.
        DataError: no image can be read.

    Example:
        >>> cdtr.localize("runs/neu", "photos/", "boxes", "coco,csv", multi=True)  # doctest: +SKIP
        Localized(53 boxes in 48 images at threshold 0.32; coco.json, boxes.csv)
    """
    run = os.fspath(run)
    output = OutputFiles(
        out=Path(out),
        formats=split_formats(formats),
        heatmaps=heatmaps,
        overlays=overlays,
        overwrite=overwrite,
        val_share=val_share,
        flat=flat,
        copies=copies,
    )
    chosen = options.updated(**changes)
    output.require_absent()
    found = expand_images(as_arguments(images))
    at_a_time = workers or default_workers(len(found), batch_size)
    localizer = Localizer.from_pretrained(run, device, chosen.threshold, workers=at_a_time, view=view)
    require_scores(localizer, output, chosen, run)
    tiling = localizer.tiling(chosen.tiles, batch_size)  # refused before anything is written
    if tiling is not None:
        reporter.note(_tiling_line(tiling, found, localizer.model.max_pixels))
    if localizer.quality is None:
        reporter.note(CLASS_SCORES)
    if localizer.quality is not None and chosen.threshold is not None:
        _warn_of_misfit(localizer, reporter)
    return write_localizations(localizer, found, output, chosen, batch_size, f"cdtr/{Path(run).name}", reporter)


def _tiling_line(tiling: Tiling, images: Sequence[tuple[str, Path]], max_pixels: int) -> str:
    """Say how large tiles are and how many there will be, by the headers of the images."""
    counts, whole = [], 0
    for _, path in images:
        try:
            size_hw = read_size(path, max_pixels)
        except DataError:
            continue  # left out, and reported, when its turn comes
        if not tiling.cuts(size_hw):
            whole += 1
        elif tiling.fault(size_hw) is None:
            counts.append(len(tiling.tiles(size_hw)))
    height, width = tiling.tile_hw
    others = f"; {whole} are localized whole" if whole else ""
    return f"tiles of {width} x {height} pixels: {sum(counts)} tiles in {len(counts)} of {len(images)} images{others}"


def split_formats(formats: str | Sequence[str]) -> tuple[str, ...]:
    """Return names of formats that may come as one text with commas between."""
    return tuple(formats.split(",") if isinstance(formats, str) else formats)


def as_arguments(images: str | Path | Iterable[str | Path]) -> list[str]:
    """Return files, folders and patterns as a list; ConfigError for an empty one."""
    found = [os.fspath(images)] if isinstance(images, str | Path) else [os.fspath(image) for image in images]
    if not found:
        raise ConfigError("no images: name files, folders or patterns of images after the run")
    return found


def default_workers(n_images: int, batch_size: int) -> int:
    """Return a batch a core, as far as there are batches and large images fit into memory."""
    return max(min(_MOST_WORKERS, cores.core_count(), math.ceil(n_images / batch_size)), 1)


def require_scores(localizer: Localizer, output: OutputFiles, options: LocalizeOptions, origin: str) -> None:
    """Raise ConfigError where calibrated scores of boxes are asked for and the localizer has none."""
    asked = options.min_score > 0 or any(exporter.name == REVIEW for exporter in output.exporters())
    if localizer.quality is not None or not asked:
        return
    if localizer.run is None and not is_exported(origin):
        raise ConfigError(f"maps of {origin} have no scores of boxes: leave `min_score=` and the format review out")
    again = " and export the run again" if is_exported(origin) else ""
    raise ConfigError(f"{origin} has no scores of boxes: run `cdtr calibrate` on data with boxes{again}")


def _warn_of_misfit(localizer: Localizer, reporter: Reporter) -> None:
    """Warn where scores of boxes were fitted at another threshold than the one in use."""
    if isinstance(localizer.model, OnnxModel):
        facts = localizer.model.facts
        fitted_at, stored = facts.calibrated_threshold, facts.map_threshold()
        # A file that was exported before it had this fact has a calibrated threshold, if it has scores.
        if fitted_at is None and stored is not None and stored.source is ThresholdSource.CALIBRATED:
            fitted_at = stored.value
    else:
        fitted_at = None if localizer.run is None else calibrated_threshold(localizer.run)
    misfit = scores_misfit(fitted_at, localizer.threshold)
    if misfit is not None:
        reporter.warn(f"the scores of boxes may be wrong: {misfit}")
