"""The prior of each class against least squares by numpy, and on objects that differ from class to class."""

import numpy as np
import pytest
import torch

from cdtr.model.class_prior import class_directions
from cdtr.model.shared_prior import shared_direction


def _scene(images: int = 40, side: int = 12, both: float = 0.0, own: float = 3.0):
    """Squares at places of their own: feature 2 is high on those of all classes, features 0 and 1 on one class's."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(images, 6, side, side, generator=generator)
    truth, labels = torch.zeros(images, side, side), torch.arange(images) % 2
    for number in range(images):
        top, left = torch.randint(0, side - 4, (2,), generator=generator).tolist()
        truth[number, top : top + 4, left : left + 4] = 1
        features[number, labels[number]] += own * truth[number]
    features[:, 2] += both * truth
    prior = truth + 2 * torch.randn(images, side, side, generator=generator)
    return features, truth, prior, labels


def _maps(features: torch.Tensor, directions: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return torch.einsum("nchw,nc->nhw", features, directions[labels])


def _correlation(maps: torch.Tensor, truth: torch.Tensor) -> float:
    return float(np.corrcoef(maps.flatten().numpy(), truth.flatten().numpy())[0, 1])


def test_a_class_finds_its_own_objects_where_the_shared_direction_mixes_them():
    features, truth, prior, labels = _scene()
    found = class_directions(features, features.flip(-1), [prior], labels, 2)
    assert found.directions.shape == (2, 6)
    assert found.directions[0].argmax() == 0
    assert found.directions[1].argmax() == 1
    shared = shared_direction(features, features.flip(-1), [prior])
    of_all = _correlation(torch.einsum("nchw,c->nhw", features, shared), truth)
    assert _correlation(_maps(features, found.directions, labels), truth) > of_all + 0.1
    assert found.told_apart > 0.9


def test_classes_that_cells_cannot_tell_apart_keep_what_they_share():
    features, truth, prior, labels = _scene(both=3.0, own=0.0)
    found = class_directions(features, features.flip(-1), [prior], labels, 2)
    assert found.told_apart < 0.4
    assert found.directions[:, 2].argmin() >= 0
    assert (found.directions.argmax(dim=1) == 2).all()
    assert _correlation(_maps(features, found.directions, labels), truth) > 0.6


def test_it_is_the_regression_that_numpy_finds():
    features, _, prior, labels = _scene(images=8)
    cells = features.double().permute(0, 2, 3, 1).numpy().reshape(8, -1, 6)
    mirrored = features.flip(-1).double().permute(0, 2, 3, 1).numpy().reshape(8, -1, 6)
    mean = cells.reshape(-1, 6).mean(axis=0)
    x = cells - mean
    covariance = x.reshape(-1, 6).T @ x.reshape(-1, 6) / x[..., 0].size
    unit = np.trace(covariance) / 6 * np.eye(6)
    own = [np.flatnonzero(labels.numpy() == number) for number in (0, 1)]

    def with_deviations(wanted, penalty):
        centred = wanted - wanted.mean()
        common = np.linalg.solve(covariance + penalty * unit, np.einsum("nkc,nk->c", x, centred) / centred.size)
        found = []
        for images in own:
            mine = x[images].reshape(-1, 6)
            rest = centred[images].ravel() - mine @ common
            squares = mine.T @ mine / len(mine)
            found.append(common + np.linalg.solve(squares + 100 / len(images) * unit, mine.T @ rest / len(mine)))
        return np.stack(found)

    def of_labels(values, directions):
        return np.einsum("nkc,nc->nk", values, directions[labels.numpy()])

    simple = ((prior - prior.mean((1, 2), keepdim=True)) / prior.std((1, 2), unbiased=False, keepdim=True)).numpy()
    first = with_deviations(simple.reshape(8, -1).astype(np.float64), 3.0)
    summed = of_labels(cells, first) + of_labels(mirrored, first).reshape(8, 12, 12)[:, :, ::-1].reshape(8, -1)
    low, high = np.quantile(summed, [0.80, 0.92], axis=1)
    wanted = (summed > high[:, None]) / 0.08 - (summed < low[:, None]) / 0.80
    second = with_deviations(wanted, 1.0)

    apart = []
    for number in (0, 1):
        targets = np.full_like(wanted, -5.0)
        targets[own[number]] = wanted[own[number]]
        apart.append(np.linalg.solve(covariance + unit, np.einsum("nkc,nk->c", x, targets) / targets.size))
    apart = np.stack(apart)

    result = class_directions(features, features.flip(-1), [prior], labels, 2)
    spread = [of_labels(cells, part).std(axis=1, ddof=1).mean() for part in (second, apart)]
    expected = second / spread[0] + result.told_apart * apart / spread[1]
    np.testing.assert_allclose(result.directions.numpy(), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("classes", [1, 3])
def test_a_single_class_and_classes_without_images(classes):
    features, truth, prior, _ = _scene(both=3.0, own=0.0)
    labels = torch.zeros(len(features), dtype=torch.int64)
    found = class_directions(features, features.flip(-1), [prior], labels, classes)
    assert found.told_apart == 0
    assert found.directions.shape == (classes, 6)
    for number in range(classes):
        assert _correlation(_maps(features, found.directions, labels + number), truth) > 0.6


def test_images_without_an_object_tell_what_a_single_class_is_not():
    features, truth, prior, labels = _scene(both=3.0, own=0.0)
    features[labels == 1, 2] -= 3 * truth[labels == 1]  # no object in these
    features[:, 4] += 3 * torch.roll(truth, 5, dims=2)  # a mark beside every square, also where there is no object
    known = torch.where(labels == 0, 0, -1)
    towards_marks = prior + torch.roll(truth, 5, dims=2)
    found = class_directions(features, features.flip(-1), [towards_marks], known, 1)
    without = class_directions(
        features[labels == 0], features[labels == 0].flip(-1), [towards_marks[labels == 0]], known[labels == 0], 1
    )
    assert found.told_apart > 0.8
    assert without.told_apart == 0
    ratio = [one.directions[0, 4] / one.directions[0, 2] for one in (found, without)]
    assert ratio[0] < 0.85 * ratio[1], "marks are on all images, so they are less of an object"


def test_constant_features_give_directions_without_numbers_that_are_none():
    ones = torch.ones(4, 4, 5, 5)
    found = class_directions(ones, ones, [torch.zeros(4, 5, 5)], torch.tensor([0, 0, 1, 1]), 2)
    assert torch.isfinite(found.directions).all()
