"""Where an image is unlike most of itself."""

import numpy as np
import pytest
import torch

from cdtr.model.rarity import rarity


def slow_rarity(features: np.ndarray, blur: int) -> np.ndarray:
    """One image (D, h, w), patch by patch."""
    depth, height, width = features.shape
    flat = features.reshape(depth, -1).T
    centred = flat - flat.mean(axis=0)
    alike = np.array([np.mean([one @ other > 0 for other in centred]) for one in centred]).reshape(height, width)
    padded = np.pad(alike, blur // 2, mode="edge")
    return -np.array([[padded[y : y + blur, x : x + blur].mean() for x in range(width)] for y in range(height)])


@pytest.mark.parametrize("blur", [1, 3])
def test_equals_the_slow_one(blur: int) -> None:
    features = torch.randn(3, 5, 4, 6, generator=torch.Generator().manual_seed(0))
    expected = np.stack([slow_rarity(one, blur) for one in features.double().numpy()])
    np.testing.assert_allclose(rarity(features, blur), expected, atol=1e-6)


def test_the_small_part_is_the_rare_one() -> None:
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(2, 8, 8, 8, generator=generator) * 0.1 + torch.randn(2, 8, 1, 1, generator=generator)
    features[:, :, 2:5, 3:6] += torch.randn(2, 8, 1, 1, generator=generator)
    found = rarity(features, blur=1)
    assert found[:, 2:5, 3:6].amin() > found.clone().index_fill_(1, torch.tensor([2, 3, 4]), -1).amax()
    assert (found >= -1).all()
    assert (found <= 0).all()


def test_a_constant_image_has_no_rare_part_and_no_gradient() -> None:
    features = torch.ones(1, 4, 3, 3, requires_grad=True)
    found = rarity(features)
    assert not found.requires_grad
    assert found.unique().tolist() == [0]
