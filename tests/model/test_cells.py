"""Where cells look, against receptive-field arithmetic, and resampling to cells that tile the image."""

import numpy as np
import pytest
import timm
import torch
from torch import nn

from cdtr.errors import ConfigError
from cdtr.model.cells import Axis, probe_cells, resampling


def _last_two(network, images):
    last, levels = network.forward_intermediates(images)
    return [*levels[-2:-1], last]


# First cell and step of the last two feature maps, by hand: a layer with kernel k, stride s and padding p to the left
# moves the first cell by ((k - 1) / 2 - p) times the product of the strides before it.
BY_HAND = {
    # 7x7 stride 2 padding 3, then 3x3 stride 2 padding 1 everywhere: the first pixel of each patch.
    "resnet18": (224, [(0, 16), (0, 32)]),
    # TensorFlow's padding of even sizes is 0 on the left: 1 + 2 + 4 + 8 + 16 of 3x3 kernels; 5x5 ones have 1 there.
    "tf_efficientnet_lite0": (224, [(15, 16), (31, 32)]),
    # Patches without overlap: their middles.
    "convnext_atto": (64, [(7.5, 16), (15.5, 32)]),
    # Convolutions without padding at the start.
    "inception_v3": (299, [(21, 16), (37, 32)]),
    "mobilenetv3_small_050": (96, [(0, 16), (0, 32)]),  # with gates that see the whole image
}


@pytest.mark.parametrize("name", BY_HAND)
def test_cells_look_where_arithmetic_says(name):
    size, wanted = BY_HAND[name]
    found = probe_cells(timm.create_model(name).eval(), _last_two, (size, size))
    for (rows, columns), (first, step) in zip(found, wanted, strict=True):
        assert rows.first == pytest.approx(first, abs=0.05)
        assert rows.step == step
        assert columns == rows


def test_the_probed_network_is_left_alone():
    network = timm.create_model("test_efficientnet").eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    probe_cells(network, _last_two, (64, 96))
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_rows_and_columns_are_told_apart():
    ((rows, columns),) = probe_cells(nn.Conv2d(3, 4, (3, 5), stride=(2, 4)), lambda net, x: [net(x)], (32, 64))
    assert rows == Axis(1, 2, 15)
    assert columns == Axis(2, 4, 15)


def test_a_map_of_one_cell_is_refused():
    with pytest.raises(ConfigError, match=r"data\.input_size 32x64 leaves the backbone a map of 1 cells a side"):
        probe_cells(nn.Conv2d(3, 4, 32, stride=32), lambda net, x: [net(x)], (32, 64))


def test_cells_that_tile_the_image_stay_as_they_are():
    assert torch.equal(resampling(Axis(7.5, 16, 14), 14, 224), torch.eye(14))
    assert torch.equal(resampling(Axis(0, 16, 14).tiling(224), 14, 224), torch.eye(14))


@pytest.mark.parametrize(("first", "step", "cells", "wanted"), [(0, 16, 14, 14), (31, 32, 7, 14), (21, 16, 12, 28)])
def test_resampling_is_linear_interpolation_at_the_cells_places(first, step, cells, wanted):
    values = np.random.default_rng(0).normal(size=cells)
    middles = (np.arange(wanted) + 0.5) * 224 / wanted - 0.5
    expected = np.interp(middles, first + step * np.arange(cells), values)
    found = resampling(Axis(first, step, cells), wanted, 224) @ torch.tensor(values, dtype=torch.float32)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-6)
