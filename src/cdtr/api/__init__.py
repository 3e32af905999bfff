"""The Python interface: a trained model by its folder, hub id or exported file, and a localizer that takes pictures.

PyTorch is imported where a run is loaded, not before: an exported model needs none.
"""

from cdtr.api.localizer import Localizer
from cdtr.api.maps import MapsEngine
from cdtr.api.models import as_seen, find_device, find_run, load_model
from cdtr.api.pictures import ImageLike, OnBroken
from cdtr.api.results import LocalizedImage
from cdtr.api.thresholds import (
    DEFAULT_THRESHOLD,
    box_quality,
    calibrated_threshold,
    calibrated_view,
    choose_threshold,
    choose_view,
    find_view,
    protocol_threshold,
    require_view,
    scores_misfit,
    view_threshold,
)

__all__ = [
    "DEFAULT_THRESHOLD",
    "ImageLike",
    "LocalizedImage",
    "Localizer",
    "MapsEngine",
    "OnBroken",
    "as_seen",
    "box_quality",
    "calibrated_threshold",
    "calibrated_view",
    "choose_threshold",
    "choose_view",
    "find_device",
    "find_run",
    "find_view",
    "load_model",
    "protocol_threshold",
    "require_view",
    "scores_misfit",
    "view_threshold",
]
