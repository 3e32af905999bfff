"""Localization metrics as the public WSOL evaluator defines them (Choe et al., CVPR 2020).

Start with ``record.py``, the fields that define a metric, and ``outcomes.py``, the rule by which an image is localized.
A metric is a record in the ``METRICS`` of its file (``loc_accuracy.py``, ``max_box_acc.py``, ``pxap.py``);
``registry.py`` finds the files. The accumulators share three methods: ``update`` counts one image, ``merge`` adds
another part of the data set, ``compute`` returns the result.
"""

from cdtr.metrics.baselines import CentredBoxes
from cdtr.metrics.loc_accuracy import LocAccuracy
from cdtr.metrics.max_box_acc import MaxBoxAcc
from cdtr.metrics.outcomes import LOC_IOU, STRICT_LOC_IOU, ImageRow, Outcomes, Presence, localized
from cdtr.metrics.pxap import PxAP
from cdtr.metrics.record import ImageMetric, Metric, PresenceMetric, Presences, SweepCounts, SweepMetric
from cdtr.metrics.registry import all_metrics, image_metrics, metric_titles, presence_metrics, sweep_metrics

__all__ = [
    "LOC_IOU",
    "STRICT_LOC_IOU",
    "CentredBoxes",
    "ImageMetric",
    "ImageRow",
    "LocAccuracy",
    "MaxBoxAcc",
    "Metric",
    "Outcomes",
    "Presence",
    "PresenceMetric",
    "Presences",
    "PxAP",
    "SweepCounts",
    "SweepMetric",
    "all_metrics",
    "image_metrics",
    "localized",
    "metric_titles",
    "presence_metrics",
    "sweep_metrics",
]
