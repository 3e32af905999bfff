"""Runs a method over a loader under a named protocol and feeds the metrics."""

from cdtr.evaluation.attention_noise import AttentionNoise, measure_noise
from cdtr.evaluation.box_scores import fit_box_scores
from cdtr.evaluation.calibration import Calibration, calibrate, calibrate_label_free
from cdtr.evaluation.evaluate import evaluate, gather_tallies, tally_answers, tally_images
from cdtr.evaluation.protocols import PROTOCOLS, Protocol, find_protocol
from cdtr.evaluation.result import Evaluation
from cdtr.evaluation.tally import Tally

__all__ = [
    "PROTOCOLS",
    "AttentionNoise",
    "Calibration",
    "Evaluation",
    "Protocol",
    "Tally",
    "calibrate",
    "calibrate_label_free",
    "evaluate",
    "find_protocol",
    "fit_box_scores",
    "gather_tallies",
    "measure_noise",
    "tally_answers",
    "tally_images",
]
