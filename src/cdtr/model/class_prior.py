"""The object prior ``by_class``: for each class a direction in a pretrained CNN's features. Not in the paper.

What differs from its surroundings in all training images is the prior ``shared``. Objects of one class have more in
common: scratches are bright and thin, patches are dark and wide. A direction of each class is the shared one plus a
deviation, a ridge regression on the images of that class, with a penalty that falls as its images become more: a class
of ten images stays close to ``shared``, one of a hundred goes its own way.

Where a linear function of single cells can tell the classes, as defects of steel and not kinds of birds, it also tells
where they are: a second direction is high on the objects of a class and low on all of the other classes' images. It is
added in proportion to how well it classifies images that it was not fitted to, which needs no box.

1. As ``shared``, with the deviations of the classes: a regression of simple priors, then of its own contrasted maps.
2. A regression that tells each class from the others, times its accuracy above chance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cdtr.model.maps import standardised
from cdtr.model.shared_prior import OBJECT, PENALTY, PENALTY_OF_REFIT, along, contrasted, damped, moments, ridge

_PENALTY_OF_CLASS = 100.0  # divided by the number of images of a class
_OTHERS = 5.0  # how low the images of other classes shall be, beside 1 / 80% for a class's own background
_TINY = torch.finfo(torch.float32).tiny


@dataclass(frozen=True, slots=True)
class ClassDirections:
    """What ``class_directions`` finds.

    Attributes:
        directions: (K, C) float32; the product with a cell's features is higher on objects of the class.
        told_apart: In [0, 1], how well single cells tell the classes apart: the accuracy on images that were not fitted
            to, above chance. It is the weight of what tells a class from the others.
    """

    directions: Tensor
    told_apart: float


def class_directions(
    features: Tensor, mirrored: Tensor, targets: Sequence[Tensor], labels: Tensor, classes: int
) -> ClassDirections:
    """Fit for each class the direction in which its objects differ from their surroundings and from other classes.

    Args:
        features: (N, C, h, w), features of N images; float16 saves memory.
        mirrored: (N, C, h, w), features of the mirrored images.
        targets: Maps (N, h, w) of priors, higher on objects.
        labels: (N,) int64, the images' classes.
        classes: Number of classes K; one without an image gets the direction that all share.
    """
    mean, covariance = moments(features)
    simple = torch.stack([standardised(target.float()) for target in targets]).mean(dim=0)
    first = _with_deviations(features, mean, covariance, simple, PENALTY, labels, classes)
    own = _of_labels(features, first, labels) + _of_labels(mirrored, first, labels).flip(-1)
    wanted = contrasted(own)
    directions = _with_deviations(features, mean, covariance, wanted, PENALTY_OF_REFIT, labels, classes)
    apart, told_apart = _apart(features, mean, covariance, wanted, labels, classes)
    combined = directions / _spread(features, directions, labels)
    combined = combined + told_apart * apart / _spread(features, apart, labels)
    return ClassDirections(combined, told_apart)


def _of_labels(features: Tensor, directions: Tensor, labels: Tensor) -> Tensor:
    """The maps (N, h, w) of the images' own classes."""
    return torch.cat([along(image[None], directions[label]) for image, label in zip(features, labels, strict=True)])


def _spread(features: Tensor, directions: Tensor, labels: Tensor) -> Tensor:
    """The mean over images of the deviation of their own class's map."""
    return _of_labels(features, directions, labels).flatten(1).std(dim=1).mean().clamp_min(_TINY)


def _with_deviations(
    features: Tensor, mean: Tensor, covariance: Tensor, wanted: Tensor, penalty: float, labels: Tensor, classes: int
) -> Tensor:
    """The common regression of ``wanted`` plus that of what it leaves, on the images of each class: (K, C)."""
    common = ridge(features, mean, covariance, wanted, penalty).double()
    centred = (wanted - wanted.mean()).double()
    found = common.repeat(classes, 1)
    for number in sorted(set(labels.tolist())):
        images = (labels == number).nonzero()[:, 0].tolist()
        squares, product = torch.zeros_like(covariance), torch.zeros_like(mean)
        for image in images:
            cells = features[image].flatten(1).double() - mean[:, None]
            squares += cells @ cells.T
            product += cells @ (centred[image].flatten() - common @ cells)
        count = len(images) * wanted[0].numel()
        own = damped(squares / count, _PENALTY_OF_CLASS / len(images), covariance)
        found[number] += torch.linalg.solve(own, product / count)
    return found.float()


def _apart(
    features: Tensor, mean: Tensor, covariance: Tensor, wanted: Tensor, labels: Tensor, classes: int
) -> tuple[Tensor, float]:
    """Regress each class against the others.

    The targets of a class are ``wanted`` on its own images and the same low value all over the others.

    Returns:
        Directions (K, C), and the accuracy above chance of each half's directions on the images of the other half, by
        the mean of the highest 8% of a map.
    """
    present = sorted(set(labels.tolist()))
    if len(present) < 2:
        return torch.zeros(classes, len(mean), device=mean.device), 0.0
    objects, sums = mean.new_zeros(len(features), len(mean)), mean.new_zeros(len(features), len(mean))
    for number, (image, target) in enumerate(zip(features, wanted, strict=True)):
        cells = image.flatten(1).double() - mean[:, None]
        objects[number], sums[number] = cells @ target.flatten().double(), cells.sum(dim=1)
    inverse = torch.linalg.inv(damped(covariance, PENALTY_OF_REFIT, covariance))
    low = _OTHERS / (len(present) - 1)

    def directions(fitted: Tensor) -> Tensor:
        found = torch.zeros(classes, len(mean), dtype=torch.float64, device=mean.device)
        for number in present:
            own = (labels == number) & fitted
            product = objects[own].sum(dim=0) - low * sums[(labels != number) & fitted].sum(dim=0)
            found[number] = inverse @ product / (int(fitted.sum()) * wanted[0].numel())
        return found

    halves = _halves(labels)
    right = 0
    highest = max(1, round(OBJECT * wanted[0].numel()))
    for fitted in (halves, ~halves):
        of_half = directions(fitted)[present]
        for image in (~fitted).nonzero()[:, 0].tolist():
            cells = features[image].flatten(1).double() - mean[:, None]
            scores = (of_half @ cells).topk(highest, dim=1).values.mean(dim=1)
            right += present[int(scores.argmax())] == int(labels[image])
    accuracy = right / len(labels)
    chance = 1 / len(present)
    return directions(torch.ones_like(halves)).float(), max(0.0, (accuracy - chance) / (1 - chance))


def _halves(labels: Tensor) -> Tensor:
    """Every other image of each class, (N,) booleans."""
    halves = torch.zeros_like(labels, dtype=torch.bool)
    for number in set(labels.tolist()):
        halves[(labels == number).nonzero()[::2, 0]] = True
    return halves
