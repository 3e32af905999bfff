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
            to, by the mean of the highest 8% of a map, above chance. It is the weight of what tells a class from the
            others.
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
        labels: (N,) int64, the images' classes; -1 for images without an object, which only tell what a class is not.
        classes: Number of classes K; one without an image gets the direction that all share.
    """
    present = labels >= 0
    wanted, directions = _with_common(
        features[present], mirrored[present], [target[present] for target in targets], labels[present], classes
    )
    everywhere = wanted.new_zeros(len(features), *wanted.shape[1:])
    everywhere[present] = wanted
    apart, told_apart = _apart(features, everywhere, labels, classes)
    combined = directions / _spread(features[present], directions, labels[present])
    combined = combined + told_apart * apart / _spread(features[present], apart, labels[present])
    return ClassDirections(combined, told_apart)


def _with_common(
    features: Tensor, mirrored: Tensor, targets: Sequence[Tensor], labels: Tensor, classes: int
) -> tuple[Tensor, Tensor]:
    """Fit what the images of each class have in common.

    Returns:
        The contrasted maps (N, h, w) that were wanted, and the directions (K, C).
    """
    mean, covariance = moments(features)
    simple = torch.stack([standardised(target.float()) for target in targets]).mean(dim=0)
    first = _with_deviations(features, mean, covariance, simple, PENALTY, labels, classes)
    own = _of_labels(features, first, labels) + _of_labels(mirrored, first, labels).flip(-1)
    wanted = contrasted(own)
    return wanted, _with_deviations(features, mean, covariance, wanted, PENALTY_OF_REFIT, labels, classes)


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


def _apart(features: Tensor, wanted: Tensor, labels: Tensor, classes: int) -> tuple[Tensor, float]:
    """Regress each class against the others.

    The targets of a class are ``wanted`` on its own images and the same low value all over the others.

    Returns:
        Directions (K, C), and how well those of each half tell the images of the other half apart, above chance.
    """
    mean, covariance = moments(features)
    groups = sorted(set(labels.tolist()))
    present = [number for number in groups if number >= 0]
    if len(groups) == 1:
        return torch.zeros(classes, len(mean), device=mean.device), 0.0
    objects, sums = mean.new_zeros(len(features), len(mean)), mean.new_zeros(len(features), len(mean))
    for number, (image, target) in enumerate(zip(features, wanted, strict=True)):
        cells = image.flatten(1).double() - mean[:, None]
        objects[number], sums[number] = cells @ target.flatten().double(), cells.sum(dim=1)
    inverse = torch.linalg.inv(damped(covariance, PENALTY_OF_REFIT, covariance))
    low = _OTHERS / (len(groups) - 1)

    def directions(fitted: Tensor) -> Tensor:
        found = torch.zeros(classes, len(mean), dtype=torch.float64, device=mean.device)
        for number in present:
            own = (labels == number) & fitted
            product = objects[own].sum(dim=0) - low * sums[(labels != number) & fitted].sum(dim=0)
            found[number] = inverse @ product / (int(fitted.sum()) * wanted[0].numel())
        return found

    half = _every_other(labels)
    scores = mean.new_zeros(len(features), len(present))
    highest = max(1, round(OBJECT * wanted[0].numel()))
    for fitted in (half, ~half):
        of_half = directions(fitted)[present]
        for number in (~fitted).nonzero()[:, 0].tolist():
            cells = features[number].flatten(1).double() - mean[:, None]
            scores[number] = (of_half @ cells).topk(highest, dim=1).values.mean(dim=1)
    return directions(torch.ones_like(half)).float(), _above_chance(scores, labels, present)


def _above_chance(scores: Tensor, labels: Tensor, present: Sequence[int]) -> float:
    """How well scores (N, P) of the classes that are present tell them apart, from 0 at chance to 1.

    The accuracy among several classes; with a single one, how often its images have a higher score than those without
    an object.
    """
    own = labels >= 0
    if len(present) == 1:
        right, chance = float((scores[own] > scores[~own].T).double().mean()), 0.5
    else:
        of_present = torch.tensor(present, device=labels.device)
        right = float((of_present[scores[own].argmax(dim=1)] == labels[own]).double().mean())
        chance = 1 / len(present)
    return max(0.0, (right - chance) / (1 - chance))


def _every_other(labels: Tensor) -> Tensor:
    """Every other image of each class, (N,) booleans."""
    chosen = torch.zeros_like(labels, dtype=torch.bool)
    for number in set(labels.tolist()):
        chosen[(labels == number).nonzero()[::2, 0]] = True
    return chosen
