"""The shared prior against least squares by numpy, and on features that hide an object from each single image."""

import numpy as np
import torch

from cdtr.model.shared_prior import shared_direction


def _scene(images: int = 40, side: int = 12):
    """Features of which one is high on a square at a place of its own, and a noisy prior of that square."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(images, 6, side, side, generator=generator)
    truth = torch.zeros(images, side, side)
    for number in range(images):
        top, left = torch.randint(0, side - 4, (2,), generator=generator).tolist()
        truth[number, top : top + 4, left : left + 4] = 1
    features[:, 2] += 3 * truth
    prior = truth + 2 * torch.randn(images, side, side, generator=generator)
    return features, truth, prior


def _separation(maps: torch.Tensor, truth: torch.Tensor) -> float:
    """Share of pairs of an object's cell and another that are in the right order."""
    found, wanted = maps.flatten().numpy(), truth.flatten().numpy() > 0
    order = np.argsort(np.argsort(found))
    high = wanted.sum()
    return float((order[wanted].sum() - high * (high - 1) / 2) / (high * (~wanted).sum()))


def test_the_direction_is_better_than_the_prior_that_taught_it():
    features, truth, prior = _scene()
    direction = shared_direction(features, features.flip(-1), [prior])
    found = torch.einsum("nchw,c->nhw", features, direction)
    assert direction.shape == (6,)
    assert direction.abs().argmax() == 2
    assert direction[2] > 0
    torch.testing.assert_close(direction.norm(), torch.tensor(1.0))
    assert _separation(found, truth) > _separation(prior, truth) + 0.15


def test_it_is_the_ridge_regression_that_numpy_finds():
    features, _, prior = _scene(images=8)
    cells = features.double().permute(0, 2, 3, 1).reshape(-1, 6).numpy()
    scaled = (prior - prior.mean((1, 2), keepdim=True)) / prior.std((1, 2), unbiased=False, keepdim=True)

    def ridge(targets, penalty):
        centred = cells - cells.mean(axis=0)
        covariance = centred.T @ centred / len(cells)
        damped = covariance + penalty * np.trace(covariance) / 6 * np.eye(6)
        return np.linalg.solve(damped, centred.T @ (targets - targets.mean()) / len(cells))

    first = ridge(scaled.double().flatten().numpy(), 3.0)
    along = (cells @ first).reshape(8, 12, 12)
    mirrored = features.flip(-1).double().permute(0, 2, 3, 1).numpy() @ first
    summed = along + mirrored[:, :, ::-1]
    wanted = np.zeros_like(summed)
    for image, target in zip(summed, wanted, strict=True):
        low, high = np.quantile(image, [0.80, 0.92])
        target += (image > high) / 0.08 - (image < low) / 0.80
    second = ridge(wanted.ravel(), 1.0)
    found = shared_direction(features, features.flip(-1), [prior])
    np.testing.assert_allclose(found.numpy(), second / np.linalg.norm(second), rtol=1e-3, atol=1e-4)


def test_constant_features_give_a_direction_without_numbers_that_are_none():
    found = shared_direction(torch.ones(3, 4, 5, 5), torch.ones(3, 4, 5, 5), [torch.zeros(3, 5, 5)])
    assert torch.isfinite(found).all()
