"""Open a run or an exported file for localizing: its model, threshold, scores of boxes, tiles and empty classes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cdtr.api.models import find_device, find_run, load_method, share_cores
from cdtr.api.thresholds import (
    box_quality,
    calibrated_view,
    choose_view,
    empty_classes,
    given_threshold,
    tile_scale,
    view_threshold,
)
from cdtr.deployment.session import OnnxModel
from cdtr.errors import ConfigError
from cdtr.localization.prediction import LocalizationModel
from cdtr.localization.presence import EmptyClasses
from cdtr.localization.quality import BoxQuality
from cdtr.localization.tile_grid import TileScale

if TYPE_CHECKING:  # exported models run where PyTorch is not installed
    import torch


@dataclass(frozen=True, slots=True)
class Opened:
    """What a ``Localizer`` is made of; ``threshold`` is None where nobody chose one."""

    model: LocalizationModel
    threshold: float | None
    quality: BoxQuality | None
    scale: TileScale | None
    empty: EmptyClasses | None


def open_exported(
    file: str,
    map_location: torch.device | str | None,
    threshold: float | None,
    half: bool,
    workers: int,
    view: str | None,
) -> Opened:
    """Open an exported file, without PyTorch. Arguments and errors are those of ``Localizer.from_pretrained``."""
    if half:
        raise ConfigError(f"{file} has the precision that it was exported in: leave half out")
    if view is not None:
        raise ConfigError(f"{file} has the view that it was exported with: leave view out")
    model = OnnxModel(Path(file), None if map_location is None else str(map_location), workers=workers)
    facts = model.facts
    chosen = facts.threshold if threshold is None else given_threshold(threshold)
    return Opened(model, chosen, facts.box_quality(), facts.tile_scale(), facts.empty())


def open_run(
    run: str,
    map_location: torch.device | str | None,
    threshold: float | None,
    half: bool,
    workers: int,
    view: str | None,
) -> Opened:
    """Open a run folder or a hub id. Arguments and errors are those of ``Localizer.from_pretrained``."""
    device = find_device(map_location)
    from cdtr.api.run_model import RunModel

    folder = find_run(run)
    seen = choose_view(folder, view)
    stored = view_threshold(folder, threshold, seen)
    names, method, config = folder.class_names(), load_method(folder, device), folder.config()
    at_a_time = share_cores(workers, device)
    model = RunModel(method, config, names, device, folder, half=half, workers=at_a_time, view=seen)
    quality = box_quality(folder) if calibrated_view(folder) == seen else None
    chosen = None if stored is None else stored.value
    return Opened(model, chosen, quality, tile_scale(folder, seen), empty_classes(folder, seen))
