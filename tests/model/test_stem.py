"""The convolutional stem's layers."""

import pytest
import torch
from torch import nn

from cdtr.config import Padding
from cdtr.model.stem import halving_layers


@pytest.mark.parametrize("steps", [2, 3, 4])
def test_a_cell_is_centred_on_its_patch(steps: int) -> None:
    """With positive weights everywhere, what a cell sees is spread evenly about its middle."""
    layers = halving_layers(1, [1] * steps).eval()
    for layer in layers:
        if isinstance(layer, nn.Conv2d):
            nn.init.constant_(layer.weight, 1 / 9)
    patch, cell = 2**steps, 3
    image = torch.ones(1, 1, 8 * patch, 8 * patch, requires_grad=True)
    layers(image)[0, 0, cell, cell].backward()
    assert image.grad is not None
    weights = image.grad[0, 0].sum(dim=0)
    centre = (weights * torch.arange(len(weights))).sum() / weights.sum()
    assert abs(centre.item() - (cell * patch + (patch - 1) / 2)) <= 0.51


@pytest.mark.parametrize(("padding", "constant"), [("zeros", False), ("replicate", True)])
def test_a_constant_image_stays_constant_where_the_border_repeats(padding: Padding, constant: bool) -> None:
    layers = halving_layers(1, [2, 2], padding).eval()
    for layer in layers:
        if isinstance(layer, nn.Conv2d):
            nn.init.uniform_(layer.weight, 0.1, 1)
    found = layers(torch.ones(1, 1, 16, 16))
    assert torch.allclose(found, found[..., :1, :1].expand_as(found)) is constant
