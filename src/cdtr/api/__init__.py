"""The Python interface: a trained model by its folder, hub id or exported file, and a localizer that takes pictures.

PyTorch is imported where a run is loaded, not before: an exported model needs none.
"""

from cdtr.api.localizer import Localizer
from cdtr.api.models import as_method, find_device, find_run, load_model
from cdtr.api.pictures import ImageLike, OnBroken
from cdtr.api.results import LocalizedImage
from cdtr.api.thresholds import (
    DEFAULT_THRESHOLD,
    box_quality,
    calibrated_threshold,
    choose_threshold,
    protocol_threshold,
    scores_misfit,
)

__all__ = [
    "DEFAULT_THRESHOLD",
    "ImageLike",
    "LocalizedImage",
    "Localizer",
    "OnBroken",
    "as_method",
    "box_quality",
    "calibrated_threshold",
    "choose_threshold",
    "find_device",
    "find_run",
    "load_model",
    "protocol_threshold",
    "scores_misfit",
]
