"""Runs a method over a loader under a named protocol and feeds the metrics."""

from cdtr.evaluation.calibration import Calibration, calibrate
from cdtr.evaluation.evaluate import evaluate, gather_tallies, tally_answers, tally_images
from cdtr.evaluation.protocols import PROTOCOLS, Protocol, find_protocol
from cdtr.evaluation.result import Evaluation
from cdtr.evaluation.tally import Tally

__all__ = [
    "PROTOCOLS",
    "Calibration",
    "Evaluation",
    "Protocol",
    "Tally",
    "calibrate",
    "evaluate",
    "find_protocol",
    "gather_tallies",
    "tally_answers",
    "tally_images",
]
