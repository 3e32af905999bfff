"""PatchProjection against the convolution that it stands in for."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from cdtr.model.patches import PatchProjection, is_patch_convolution


@pytest.mark.parametrize(
    ("size_hw", "bias"), [((8, 8), False), ((8, 12), True), ((11, 9), False)], ids=["square", "wide", "cut"]
)
def test_values_and_gradients_are_the_convolutions(size_hw: tuple[int, int], bias: bool) -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(3, 5, 4, stride=4, bias=bias)
    images = torch.randn(2, 3, *size_hw, requires_grad=True)
    answers = []
    for layer in (conv, PatchProjection(conv)):
        output = layer(images)
        (gradient,) = torch.autograd.grad(output.square().sum(), images)
        answers.append((output, gradient))
    torch.testing.assert_close(answers[0], answers[1])


def test_weights_keep_their_names() -> None:
    conv = nn.Conv2d(3, 5, 4, stride=4)
    assert PatchProjection(conv).state_dict().keys() == conv.state_dict().keys()


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        (nn.Conv2d(3, 5, 4, stride=4), True),
        (nn.Conv2d(3, 5, 4, stride=2), False),
        (nn.Conv2d(3, 5, 4, stride=4, padding=1), False),
        (nn.Conv2d(3, 6, 4, stride=4, groups=3), False),
        (nn.Linear(3, 5), False),
    ],
    ids=["patches", "overlap", "padding", "groups", "linear"],
)
def test_only_plain_patch_convolutions_are_replaced(module: nn.Module, expected: bool) -> None:
    assert is_patch_convolution(module) is expected
