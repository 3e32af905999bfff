"""The automatic weighted loss of Eq. 2: each term gets a learned weight and a penalty for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from cdtr.config import WeightingConfig


class AutomaticWeightedLoss(nn.Module):
    """``sum of L / (2 lambda^2) + log(1 + lambda^2)`` with learned lambdas that start at 1.

    ``epsilon`` is added to lambda squared, so that no weight is above 1 / (2 epsilon): a loss that reaches 0 would
    drive its lambda to 0 and the training to NaN. ``mode: fixed`` (Table IX) keeps every lambda at 1: the result is
    ``sum of L / 2``, without epsilon and without the constants ``log 2``, which have no gradient.

    Args:
        names: Names of the terms.
        config: The settings of the weighting.
    """

    def __init__(self, names: Iterable[str], config: WeightingConfig) -> None:
        super().__init__()
        self.names = tuple(names)
        self.epsilon = config.epsilon
        self.fixed = config.mode == "fixed"
        self.params = nn.Parameter(torch.ones(len(self.names)), requires_grad=not self.fixed)

    def forward(self, terms: Mapping[str, Tensor]) -> Tensor:
        """Compute the learned part of Eq. 2. The terms of OCM give Eq. 9 in it.

        Args:
            terms: Scalar loss terms by name; those in ``names`` are used.

        Returns:
            A scalar.
        """
        losses = torch.stack([terms[name].float() for name in self.names])
        if self.fixed:
            return losses.sum() / 2
        squares = self.params.square()
        return (losses / (2 * (squares + self.epsilon)) + torch.log1p(squares)).sum()

    def lambdas(self) -> dict[str, float]:
        """Return the lambdas by the name of their term."""
        return dict(zip(self.names, self.params.detach().tolist(), strict=True))
