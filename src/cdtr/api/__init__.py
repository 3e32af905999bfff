"""The Python interface: load a trained model by its folder, hub id or exported file, and localize images with it.

PyTorch is imported when a run is loaded: an exported model does without.
"""

from cdtr.api.input_images import ImageLike, OnBroken
from cdtr.api.localizer import Localizer
from cdtr.api.maps_model import MapsModel
from cdtr.api.models import as_seen, find_device, find_run, load_model
from cdtr.api.results import LocalizedImage, LocalizedImages
from cdtr.api.thresholds import (
    DEFAULT_THRESHOLD,
    box_quality,
    calibrated_threshold,
    calibrated_view,
    choose_threshold,
    choose_view,
    empty_classes,
    find_view,
    protocol_threshold,
    require_view,
    scores_misfit,
    view_threshold,
)
from cdtr.localization.options import LocalizeOptions

__all__ = [
    "DEFAULT_THRESHOLD",
    "ImageLike",
    "LocalizeOptions",
    "LocalizedImage",
    "LocalizedImages",
    "Localizer",
    "MapsModel",
    "OnBroken",
    "as_seen",
    "box_quality",
    "calibrated_threshold",
    "calibrated_view",
    "choose_threshold",
    "choose_view",
    "empty_classes",
    "find_device",
    "find_run",
    "find_view",
    "load_model",
    "protocol_threshold",
    "require_view",
    "scores_misfit",
    "view_threshold",
]
