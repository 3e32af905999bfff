"""Where an image may have its object: unlike its border, or unlike most of itself."""

import numpy as np
import pytest
import torch

from cdtr.model.priors import PRIORS, border, contrast, rarity


def centred(features: np.ndarray) -> np.ndarray:
    """(D, h, w) to (h * w, D), each descriptor less the image's mean."""
    flat = features.reshape(len(features), -1).T
    return flat - flat.mean(axis=0)


def slow_rarity(features: np.ndarray, blur: int) -> np.ndarray:
    """One image (D, h, w), patch by patch."""
    _, height, width = features.shape
    patches = centred(features)
    alike = np.array([np.mean([one @ other > 0 for other in patches]) for one in patches]).reshape(height, width)
    padded = np.pad(alike, blur // 2, mode="edge")
    return -np.array([[padded[y : y + blur, x : x + blur].mean() for x in range(width)] for y in range(height)])


def slow_border(features: np.ndarray) -> np.ndarray:
    """One image (D, h, w), patch by patch."""
    _, height, width = features.shape
    patches = centred(features).reshape(height, width, -1)
    places = [(y, x) for y in range(height) for x in range(width) if y in (0, height - 1) or x in (0, width - 1)]

    def cosine(one: np.ndarray, other: np.ndarray) -> float:
        return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))

    return np.array(
        [
            [-np.mean([cosine(patches[y, x], patches[place]) for place in places]) for x in range(width)]
            for y in range(height)
        ]
    )


@pytest.mark.parametrize("blur", [1, 3])
def test_rarity_equals_the_slow_one(blur: int) -> None:
    features = torch.randn(3, 5, 4, 6, generator=torch.Generator().manual_seed(0))
    expected = np.stack([slow_rarity(one, blur) for one in features.double().numpy()])
    np.testing.assert_allclose(rarity(features, blur), expected, atol=1e-6)


def test_border_equals_the_slow_one() -> None:
    features = torch.randn(3, 5, 4, 6, generator=torch.Generator().manual_seed(2))
    expected = np.stack([slow_border(one) for one in features.double().numpy()])
    np.testing.assert_allclose(border(features), expected, atol=1e-6)


def slow_contrast(colours: np.ndarray) -> np.ndarray:
    """One image (D, h, w), patch by patch."""
    _, height, width = colours.shape
    places = [(y, x) for y in range(height) for x in range(width) if y in (0, height - 1) or x in (0, width - 1)]
    mean = np.mean([colours[:, y, x] for y, x in places], axis=0)
    far = np.array([[np.linalg.norm(colours[:, y, x] - mean) for x in range(width)] for y in range(height)])
    return far / far.max()


def test_contrast_equals_the_slow_one() -> None:
    colours = torch.randn(3, 3, 4, 6, generator=torch.Generator().manual_seed(3))
    expected = np.stack([slow_contrast(one) for one in colours.double().numpy()])
    np.testing.assert_allclose(contrast(colours), expected, atol=1e-6)


def test_contrast_tells_a_bright_spot_from_the_grey_around_it() -> None:
    """A slice of a head: black around it, grey tissue, a white spot. The border's cosines see one thing, the head."""
    colours = torch.zeros(1, 3, 9, 9)
    colours[:, :, 1:8, 1:8] = 0.5
    colours[:, :, 3:5, 3:5] = 1
    (found,) = contrast(colours)
    assert found[3:5, 3:5].unique().tolist() == [1]
    assert found.sum() == pytest.approx(4 + 0.5 * 45)


def pictures(rows: slice, columns: slice) -> torch.Tensor:
    """Two noisy images (2, 8, 8, 8) of one descriptor, and another one at these places."""
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(2, 8, 8, 8, generator=generator) * 0.1 + torch.randn(2, 8, 1, 1, generator=generator)
    features[:, :, rows, columns] += torch.randn(2, 8, 1, 1, generator=generator)
    return features


@pytest.mark.parametrize(
    ("prior", "rows", "columns"),
    [
        ("rarity", slice(2, 5), slice(3, 6)),
        ("contrast", slice(2, 5), slice(3, 6)),
        ("border", slice(2, 5), slice(3, 6)),
        ("border", slice(1, 7), slice(1, 7)),
        ("border", slice(1, 8), slice(1, 7)),
    ],
    ids=[
        "rarity: small",
        "contrast: small",
        "border: small",
        "border: over half the image",
        "border: that touches one side",
    ],
)
def test_it_is_high_on_the_object(prior: str, rows: slice, columns: slice) -> None:
    found = PRIORS[prior](pictures(rows, columns))  # type: ignore[index]
    inside = torch.zeros(8, 8, dtype=torch.bool)
    inside[rows, columns] = True
    assert found[:, inside].amin() > found[:, ~inside].amax()
    assert found.abs().amax() <= 1


@pytest.mark.parametrize("prior", sorted(PRIORS))
def test_a_constant_image_shows_nothing_and_has_no_gradient(prior: str) -> None:
    features = torch.ones(1, 4, 3, 3, requires_grad=True)
    found = PRIORS[prior](features)  # type: ignore[index]
    assert not found.requires_grad
    assert found.unique().tolist() == [0]
