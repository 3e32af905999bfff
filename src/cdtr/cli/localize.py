"""`cdtr localize`"""

from __future__ import annotations

import math
import pkgutil
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated

import typer

from cdtr.cli._options import DeviceOption, ThresholdOption, ViewOption

if TYPE_CHECKING:
    from PIL import Image

    from cdtr.api import Localizer
    from cdtr.records import Localization

REVIEW = "review"
_MOST_WORKERS = 8

# By the names of the files: to import the package would take seconds that --help does not have.
_MODULES = pkgutil.iter_modules([str(Path(__file__).parents[1] / "exports")])
_FORMATS = sorted(module.name.replace("_", "-") for module in _MODULES if not module.name.startswith("_"))


def command(
    run: Annotated[str, typer.Argument(help="A trained run folder, a hub id, or a .onnx file of `cdtr export`.")],
    images: Annotated[list[str], typer.Argument(help="Image files, folders (searched at any depth) or patterns.")],
    out: Annotated[Path, typer.Option("--out", help="The folder to write.")],
    formats: Annotated[
        str, typer.Option("--format", help=f"Formats to write, with commas between: {', '.join(_FORMATS)}.")
    ] = "coco",
    heatmaps: Annotated[bool, typer.Option("--heatmaps", help="Write a coloured heat map of each image.")] = False,
    overlays: Annotated[bool, typer.Option("--overlays", help="Write each image with heat map and boxes.")] = False,
    multi: Annotated[bool, typer.Option("--multi", help="A box for every region, not only the largest.")] = False,
    min_area: Annotated[
        float,
        typer.Option("--min-area", min=0, max=1, help="With --multi, the smallest region, as a share of the image."),
    ] = 0.01,
    top_k: Annotated[int, typer.Option("--top-k", min=1, help="Look for the so many most probable classes.")] = 1,
    min_score: Annotated[
        float,
        typer.Option("--min-score", min=0, max=1, help="Leave out boxes that are less likely to be right than this."),
    ] = 0.0,
    threshold: ThresholdOption = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Write over what an earlier run wrote to --out.")
    ] = False,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Images a batch.")] = 8,
    workers: Annotated[
        int | None,
        typer.Option("--workers", min=1, help="Batches at a time on a CPU; by default one a core, up to 8."),
    ] = None,
    view: ViewOption = None,
    device: DeviceOption = None,
) -> None:
    """Find the object in each image and write its box, and heat maps or overlays if asked.

    Where the run was calibrated with boxes, a box's score is the probability that its IoU with the object is at least
    0.5, and review.csv lists the images, those first where a look would help most. A .onnx file needs no PyTorch.

    Example: cdtr localize runs/neu photos/ --out boxes --format coco,yolo,label-studio --overlays --min-score 0.3
    """
    from cdtr.api import Localizer
    from cdtr.cli._pictures import find_pictures
    from cdtr.cli._shared import require_folder
    from cdtr.data.written import mark_written
    from cdtr.deployment.session import is_exported
    from cdtr.errors import ConfigError, DataError
    from cdtr.exports import Target, find_exporter

    exporters = [find_exporter(name) for name in dict.fromkeys(formats.split(","))]
    require_folder(out)
    pictures = find_pictures(images)
    at_a_time = workers or default_workers(len(pictures), batch_size)
    localizer = Localizer.from_pretrained(run, device, threshold, workers=at_a_time, view=view)
    scored = localizer.quality is not None
    if not scored and (min_score > 0 or any(exporter.name == REVIEW for exporter in exporters)):
        again = " and export the run again" if is_exported(run) else ""
        raise ConfigError(f"{run} has no scores of boxes: run `cdtr calibrate` on data with boxes{again}")
    if scored and all(exporter.name != REVIEW for exporter in exporters):
        exporters.append(find_exporter(REVIEW))
    if scored and threshold is not None:
        warn_of_misfit(localizer)
    folders = [out / name for name, asked in (("heatmaps", heatmaps), ("overlays", overlays)) if asked]
    if not overwrite:
        require_absent([*(out / exporter.file_name for exporter in exporters), *folders])
    with ExitStack() as writers:
        root, source = pictures_root(pictures), f"cdtr/{Path(run).name}"
        targets = [Target(out / exporter.file_name, localizer.class_names, root, source) for exporter in exporters]
        adders = [
            writers.enter_context(exporter.open(target)) for exporter, target in zip(exporters, targets, strict=True)
        ]
        masks = any(exporter.needs_masks for exporter in exporters)
        found = localize_pictures(
            localizer,
            pictures,
            out,
            heatmaps,
            overlays,
            multi,
            top_k,
            batch_size,
            min_area,
            min_score,
            masks,
            adders,
        )
        broken = len(pictures) - len(found)
        if not found:
            raise DataError(f"none of the {broken} images could be read: nothing was written")
    mark_written(out, [path.name for path in (*(target.path for target in targets), *folders)])
    for target in targets:
        print(f"wrote {target.path}")
    for folder in folders:
        print(f"wrote {folder}: {len(found)} pictures")
    boxes = sum(len(one.boxes_xyxy) for one in found)
    without = sum(not len(one.boxes_xyxy) for one in found)
    print(
        f"{boxes} boxes in {len(found)} images at threshold {localizer.threshold:.3g}"
        + (f", {without} without a box" if without else "")
        + (f", {broken} could not be read" if broken else "")
    )


def warn_of_misfit(localizer: Localizer) -> None:
    """Say that scores of boxes are for another threshold's boxes than the one that was given."""
    from cdtr.api import calibrated_threshold, scores_misfit
    from cdtr.cli._shared import note
    from cdtr.deployment.session import OnnxEngine

    if isinstance(localizer.engine, OnnxEngine):
        facts = localizer.engine.facts
        fitted_at = facts.threshold if (facts.threshold_source or "").startswith("calibrated") else None
    else:
        fitted_at = None if localizer.run is None else calibrated_threshold(localizer.run)
    misfit = scores_misfit(fitted_at, localizer.threshold)
    if misfit is not None:
        note(f"warning: the scores of boxes may be wrong: {misfit}")


def default_workers(n_images: int, batch_size: int) -> int:
    """A batch a core, as far as there are batches; not more than memory for large pictures allows."""
    from cdtr.cores import core_count

    return max(min(_MOST_WORKERS, core_count(), math.ceil(n_images / batch_size)), 1)


def require_absent(paths: Sequence[Path]) -> None:
    """ConfigError if an earlier run wrote one of these: somebody may have gone on with it."""
    from cdtr.errors import ConfigError

    for path in paths:
        if path.exists():
            raise ConfigError(f"{path} is there already: choose another --out, or give --overwrite")


def localize_pictures(
    localizer: Localizer,
    pictures: Sequence[tuple[str, Path]],
    out: Path,
    heatmaps: bool = False,
    overlays: bool = False,
    multi: bool = False,
    top_k: int = 1,
    batch_size: int | None = None,
    min_area_share: float = 0.01,
    min_score: float = 0.0,
    masks: bool = False,
    adders: Sequence[Callable[[Localization], None]] = (),
) -> list[Localization]:
    """Localize image by image and write the pictures asked for as they come; the answers are kept without maps.

    adders: take each answer with its map, and its masks if those are asked for, as it comes.
    """
    from cdtr.cli._shared import note, progress_bar
    from cdtr.exports import can_be_written
    from cdtr.reports.overlays import heat_map, overlay

    found = []
    with progress_bar("localizing images", len(pictures)) as move:

        def skip(image_id: str, reason: str) -> None:
            note(f"left out {image_id}: {reason}")
            move(1)

        named = [(image_id, path) for image_id, path in pictures if can_be_written(image_id)]
        for image_id, _ in pictures:
            if not can_be_written(image_id):
                skip(ascii(image_id), "its name holds a character that files of boxes cannot hold: rename it")
        settings = top_k, multi, batch_size, skip, min_area_share, min_score, masks
        for picture, answer in localizer.stream(named, *settings):
            # The whole name stays, so that a.jpg and a.png do not meet.
            if heatmaps:
                write_picture(heat_map(answer.map), out / "heatmaps" / f"{answer.image_id}.png")
            if overlays:
                write_picture(overlay(picture, answer), out / "overlays" / f"{answer.image_id}.jpg")
            for add in adders:
                add(answer)
            found.append(without_map(answer))
            move(1)
    return found


def without_map(localization: Localization) -> Localization:
    """What a list of a million images can hold."""
    from dataclasses import replace

    import numpy as np

    nothing = np.zeros(0, dtype=np.float32)
    return replace(localization, map=nothing.reshape(0, 0), class_probs=nothing, masks=None)


def pictures_root(pictures: Sequence[tuple[str, Path]]) -> Path:
    """The folder that the ids of ``find_pictures`` are relative to."""
    image_id, path = pictures[0]
    return path.parents[len(PurePosixPath(image_id).parts) - 1]


def write_picture(picture: Image.Image, path: Path) -> None:
    import errno
    from io import BytesIO

    from cdtr.cli._shared import note
    from cdtr.runs import write_atomic

    buffer = BytesIO()
    picture.save(buffer, "PNG" if path.suffix == ".png" else "JPEG", quality=90)
    try:
        write_atomic(path, buffer.getvalue())
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        note(f"warning: no picture of {path.stem}: its name is too long for {path.parent}, rename the image")
