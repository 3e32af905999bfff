"""CSM's encoder and decoder against a loop over pixels (section III-C)."""

import pytest
import torch

from cdtr.config import CsmConfig
from cdtr.errors import ConfigError
from cdtr.model.csm import Csm
from oracles import model_oracles as oracle


def expected_maps(csm, attention, size):
    x_a = attention.flatten(1, 2)
    x_e = oracle.max_pool_2(x_a) if min(x_a.shape[-2:]) > 1 else x_a
    for layers in csm.encoder:
        x_e = oracle.conv_norm_act(layers, x_e)
    up = torch.stack([torch.stack([oracle.resize(grid, *size) for grid in image]) for image in x_e])
    x_d = torch.cat([x_a, up], dim=1)
    for layers in csm.decoder:
        x_d = oracle.conv_norm_act(layers, x_d)
    return oracle.conv(x_d, csm.head.weight)


@pytest.mark.parametrize("norm", [True, False], ids=["norm", "plain"])
@pytest.mark.parametrize("grid", [(4, 4), (5, 5), (4, 6), (3, 2)], ids=["even", "odd", "rectangle", "mixed"])
@torch.no_grad()
def test_maps_equal_the_oracle(grid, norm):
    csm = Csm(maps=4, classes=3, config=CsmConfig(g=2, norm=norm))
    attention = torch.rand(2, 2, 2, *grid)
    expected = expected_maps(csm, attention, grid)
    torch.testing.assert_close(csm(attention), expected, rtol=1e-3, atol=1e-4)


@torch.no_grad()
def test_factor2_equals_size_on_an_even_grid_only():
    csm = Csm(maps=4, classes=3, config=CsmConfig(g=2, upsample="factor2"))
    attention = torch.rand(2, 2, 2, 4, 6)
    torch.testing.assert_close(csm(attention), expected_maps(csm, attention, (4, 6)), rtol=1e-3, atol=1e-4)
    with pytest.raises(ConfigError, match=r"factor2 .* even grid, found 7x7"):
        csm(torch.rand(2, 2, 2, 7, 7))


@pytest.mark.parametrize("grid", [(1, 1), (1, 4), (7, 7), (37, 37)], ids=str)
def test_any_grid_keeps_its_size(grid):
    csm = Csm(maps=4, classes=3, config=CsmConfig(g=2))
    assert csm(torch.rand(2, 2, 2, *grid)).shape == (2, 3, *grid)


@pytest.mark.parametrize(("factor", "width"), [(1, 8), (2, 16)], ids=["paper-G", "released-2G"])
def test_encoder_width(factor, width):
    csm = Csm(maps=4, classes=3, config=CsmConfig(g=8, width_factor=factor))
    assert csm.encoder[1][0].weight.shape == (width, width, 3, 3)
    assert csm.head.bias is None


def test_every_attention_map_is_read():
    csm = Csm(maps=6, classes=3, config=CsmConfig(g=2))
    attention = torch.rand(2, 3, 2, 4, 4, requires_grad=True)
    (csm(attention) * torch.randn(2, 3, 4, 4)).sum().backward()
    assert (attention.grad.abs().amax(dim=(0, 3, 4)) > 0).all()
