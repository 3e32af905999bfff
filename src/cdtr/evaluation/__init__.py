"""Run a method over a loader under a named protocol, and compute the metrics.

Start with ``evaluate.py``, which counts images in tallies. ``forward.py`` runs the method, ``measure.py`` compares one
image with its annotation, ``tally.py`` sums over images, ``result.py`` holds the result. ``protocols.py`` lists the
protocols, ``calibration.py`` chooses the map threshold.
"""

from cdtr.evaluation.attention_noise import AttentionNoise, KindShares, measure_noise
from cdtr.evaluation.box_scores import fit_box_scores
from cdtr.evaluation.calibration import (
    Calibration,
    calibrate,
    calibrate_label_free,
    calibrate_predictions,
    calibrate_predictions_label_free,
)
from cdtr.evaluation.evaluate import gather_tallies, tally_images, tally_predictions
from cdtr.evaluation.outputs import ImageMaps, image_maps
from cdtr.evaluation.presence import ObjectScores, ObjectThreshold
from cdtr.evaluation.protocols import PROTOCOLS, Protocol, find_protocol
from cdtr.evaluation.result import Evaluation
from cdtr.evaluation.scored_images import ScoredImage, scored_images
from cdtr.evaluation.tally import Tally

__all__ = [
    "PROTOCOLS",
    "AttentionNoise",
    "Calibration",
    "Evaluation",
    "ImageMaps",
    "KindShares",
    "ObjectScores",
    "ObjectThreshold",
    "Protocol",
    "ScoredImage",
    "Tally",
    "calibrate",
    "calibrate_label_free",
    "calibrate_predictions",
    "calibrate_predictions_label_free",
    "find_protocol",
    "fit_box_scores",
    "gather_tallies",
    "image_maps",
    "measure_noise",
    "scored_images",
    "tally_images",
    "tally_predictions",
]
