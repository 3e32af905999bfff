"""All metrics, found by their files: in this package and through the entry points ``cdtr.metrics``.

A module defines ``METRICS``, a tuple of ``ImageMetric``, ``SweepMetric`` and ``PresenceMetric`` records. Nothing else
names them.
"""

from __future__ import annotations

import pkgutil
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points

from cdtr.errors import ConfigError
from cdtr.metrics.record import ImageMetric, Metric, PresenceMetric, SweepMetric

_PACKAGE = "cdtr.metrics"
ENTRY_POINTS = "cdtr.metrics"


@cache
def all_metrics() -> tuple[Metric, ...]:
    """Find every metric.

    Returns:
        The records in the order of tables.

    Raises:
        ConfigError: If two metrics have the same key.

    >>> [metric.title for metric in all_metrics()][:2]
    ['GT-known Loc', 'GT-known Loc at IoU 0.7']
    """
    files = pkgutil.iter_modules(import_module(_PACKAGE).__path__)
    modules = [import_module(f"{_PACKAGE}.{file.name}") for file in files]
    modules += [point.load() for point in entry_points(group=ENTRY_POINTS)]
    found: dict[str, Metric] = {}
    for module in modules:
        for metric in getattr(module, "METRICS", ()):
            if metric.key in found:
                raise ConfigError(f"{module.__name__}: there is already a metric {metric.key!r}, choose another key")
            found[metric.key] = metric
    return tuple(sorted(found.values(), key=lambda metric: (metric.order, metric.key)))


def image_metrics() -> tuple[ImageMetric, ...]:
    """List the metrics that have a value for each image, in the order of tables."""
    return tuple(metric for metric in all_metrics() if isinstance(metric, ImageMetric))


def sweep_metrics() -> tuple[SweepMetric, ...]:
    """List the metrics of a whole data set, in the order of tables."""
    return tuple(metric for metric in all_metrics() if isinstance(metric, SweepMetric))


def presence_metrics() -> tuple[PresenceMetric, ...]:
    """List the metrics of whether images have an object, in the order of tables."""
    return tuple(metric for metric in all_metrics() if isinstance(metric, PresenceMetric))


def metric_titles() -> dict[str, str]:
    """Map each key to its title, in the order of tables."""
    return {metric.key: metric.label for metric in all_metrics()}
