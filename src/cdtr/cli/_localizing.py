"""Localizing many images and writing what was asked for as they come."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image

    from cdtr.api import Localizer
    from cdtr.records import Localization

_MOST_WORKERS = 8


def warn_of_misfit(localizer: Localizer) -> None:
    """Say that scores of boxes are for another threshold's boxes than the one that was given."""
    from cdtr.api import calibrated_threshold, scores_misfit
    from cdtr.cli._shared import warn
    from cdtr.deployment.session import OnnxEngine
    from cdtr.threshold import ThresholdSource

    if isinstance(localizer.engine, OnnxEngine):
        found = localizer.engine.facts.map_threshold()
        fitted_at = found.value if found is not None and found.source is ThresholdSource.CALIBRATED else None
    else:
        fitted_at = None if localizer.run is None else calibrated_threshold(localizer.run)
    misfit = scores_misfit(fitted_at, localizer.threshold)
    if misfit is not None:
        warn(f"the scores of boxes may be wrong: {misfit}")


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
    left_out: list[tuple[str, str]] | None = None,
) -> list[Localization]:
    """Localize image by image and write the pictures asked for as they come; the answers are kept without maps.

    adders: take each answer with its map, and its masks if those are asked for, as it comes. left_out: gets the images
    that cannot be read, and why.
    """
    from cdtr.cli._shared import note, progress_bar
    from cdtr.formats import can_be_written
    from cdtr.reports.overlays import heat_map, overlay

    found = []
    with progress_bar("localizing images", len(pictures)) as move:

        def skip(image_id: str, reason: str) -> None:
            note(f"left out {image_id}: {reason}")
            if left_out is not None:
                left_out.append((image_id, reason))
            move(1)

        named = [(image_id, path) for image_id, path in pictures if can_be_written(image_id)]
        for image_id, _ in pictures:
            if not can_be_written(image_id):
                skip(ascii(image_id), "its name holds a character that files of boxes cannot hold: rename it")
        settings = top_k, multi, batch_size, skip, min_area_share, min_score, masks
        for picture, answer in localizer.stream(named, *settings):
            for add in adders:
                add(answer)
            # The whole name stays, so that a.jpg and a.png do not meet.
            if heatmaps:
                write_picture(heat_map(answer.map), out / "heatmaps" / f"{answer.image_id}.png")
            if overlays:
                write_picture(overlay(picture, answer), out / "overlays" / f"{answer.image_id}.jpg")
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

    from cdtr.cli._shared import warn
    from cdtr.runs import write_atomic

    buffer = BytesIO()
    picture.save(buffer, "PNG" if path.suffix == ".png" else "JPEG", quality=90)
    try:
        write_atomic(path, buffer.getvalue())
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        warn(f"no picture of {path.stem}: its name is too long for {path.parent}, rename the image")
