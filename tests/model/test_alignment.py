"""The alignment of attention and class evidence."""

import numpy as np
import pytest
import torch

from cdtr.model.alignment import alignment_loss, correlation


def test_correlation_equals_numpys() -> None:
    first, second = torch.randn(2, 5, 4, 6, generator=torch.Generator().manual_seed(0))
    expected = [np.corrcoef(a.flatten(), b.flatten())[0, 1] for a, b in zip(first, second, strict=True)]
    np.testing.assert_allclose(correlation(first, second), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("sign", "loss"), [(1.0, 0.0), (-1.0, 2.0), (0.0, 1.0)], ids=["aligned", "inside out", "constant"]
)
def test_the_loss_knows_the_sign(sign: float, loss: float) -> None:
    evidence = torch.randn(3, 4, 4, generator=torch.Generator().manual_seed(1))
    assert alignment_loss(2 + 0.01 * sign * evidence, evidence).item() == pytest.approx(loss, abs=1e-4)


def test_only_the_attention_learns_and_it_turns_round() -> None:
    evidence = torch.randn(1, 4, 4, generator=torch.Generator().manual_seed(2)).requires_grad_()
    attention = (-evidence.detach()).clone().requires_grad_()
    optimiser = torch.optim.SGD([attention], lr=1.0)
    for _ in range(200):
        optimiser.zero_grad()
        # A little off the exact opposite, where the correlation has no slope.
        alignment_loss(attention + torch.linspace(0, 0.1, 16).reshape(1, 4, 4), evidence).backward()
        optimiser.step()
    assert evidence.grad is None
    assert correlation(attention.detach(), evidence.detach()).item() > 0.9
