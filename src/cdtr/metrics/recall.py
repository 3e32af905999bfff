"""Mean recall over classes, and what a classifier knows where the classes have very different sizes.

Top-1 Cls of uneven classes says little by itself: naming the largest class for every image scores its share of the
images, and its mean recall is 1 / C.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cdtr.metrics.bootstrap import Interval
from cdtr.metrics.outcomes import mean_over_classes
from cdtr.metrics.record import ImageMetric

_NORMAL_95 = 1.959964  # quantile of the normal distribution, two-sided 95%
_MISSED_BY_CHANCE = 0.05  # largest probability that any class is named as never predicted by chance

METRICS = (
    ImageMetric(
        key="mean_recall",
        title="mean recall",
        order=55,
        value=lambda found: np.asarray(found.top1),
        summary="class_mean",
        needs_box=False,
        needs_class=True,
        compared=False,
    ),
)


@dataclass(frozen=True, slots=True)
class ClassCounts:
    """Numbers of images by class.

    Attributes:
        labels: (C,) images of each class.
        predicted: (C,) images for which it is the most probable class.
        hits: (C,) images of each class that are predicted right.
    """

    labels: npt.NDArray[np.int64]
    predicted: npt.NDArray[np.int64]
    hits: npt.NDArray[np.int64]

    @property
    def images(self) -> int:
        """Number of images."""
        return int(self.labels.sum())

    @property
    def top1_cls(self) -> float:
        """Top-1 Cls in percent."""
        return 100 * float(self.hits.sum()) / self.images

    @property
    def mean_recall(self) -> float:
        """Mean recall in percent, over the classes that have images."""
        return 100 * float(mean_over_classes(self.hits, self.labels))

    @property
    def largest(self) -> int:
        """Label of the largest class."""
        return int(self.labels.argmax())

    @property
    def largest_share(self) -> float:
        """Share of the images that are of the largest class, in percent."""
        return 100 * float(self.labels.max()) / self.images

    @property
    def largest_share_interval(self) -> Interval:
        """95% interval of that share in percent (Wilson 1927)."""
        share, n, z = self.largest_share / 100, self.images, _NORMAL_95
        centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
        reach = z * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
        return 100 * (centre - reach), 100 * (centre + reach)

    @property
    def chance_recall(self) -> Interval:
        """Mean recall in percent of predictions that do not depend on the image: its expectation, and its 97.5% limit.

        The predictions are those of ``predicted``, dealt to the images at random; a constant one has no spread.
        """
        present = self.labels > 0
        rates = self.predicted / self.images
        variance = (rates * (1 - rates))[present] / self.labels[present]
        classes = int(present.sum())
        expected = float(rates[present].sum()) / classes
        return 100 * expected, 100 * (expected + _NORMAL_95 * math.sqrt(float(variance.sum())) / classes)

    @property
    def knows_no_more_than_largest(self) -> bool:
        """Whether neither Top-1 Cls nor mean recall tells the predictions from such that ignore the image.

        Both must fail: balanced training may lose some of the largest class and know all classes.
        """
        if np.count_nonzero(self.labels) < 2:
            return False
        return self.top1_cls <= self.largest_share_interval[1] and self.mean_recall <= self.chance_recall[1] + 1e-9

    @property
    def never_predicted(self) -> list[int]:
        """Labels that are predicted for no image, though the images of the class are enough to expect it.

        A class of n images that is predicted as often as it occurs is missed with probability exp(-n); n must make
        that unlikely for all classes together.
        """
        enough = math.log(np.count_nonzero(self.labels) / _MISSED_BY_CHANCE)
        return [int(label) for label in np.flatnonzero((self.labels >= enough) & (self.predicted == 0))]
