"""The automatic weighted loss of Eq. 2: each term gets a learned weight that it has to pay for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from cdtr.config import WeightingConfig


class AutomaticWeightedLoss(nn.Module):
    """``sum of L / (2 lambda^2) + log(1 + lambda^2)`` with learned lambdas that start at 1.

    ``epsilon`` is added to lambda squared, so that no weight passes 1 / (2 epsilon): a loss that reaches 0 would
    drive its lambda to 0 and the run to NaN. ``mode: fixed`` (Table IX) keeps every lambda at 1, so that it is
    ``sum of L / 2``: exactly, without epsilon, and without the constants ``log 2``, which have no gradient and would
    only lift the loss in the log.
    """

    def __init__(self, names: Iterable[str], config: WeightingConfig) -> None:
        super().__init__()
        self.names = tuple(names)
        self.epsilon = config.epsilon
        self.fixed = config.mode == "fixed"
        self.params = nn.Parameter(torch.ones(len(self.names)), requires_grad=not self.fixed)

    def forward(self, terms: Mapping[str, Tensor]) -> Tensor:
        """Named scalar terms, exactly those it was made for, to one scalar."""
        losses = torch.stack([terms[name].float() for name in self.names])
        if self.fixed:
            return losses.sum() / 2
        squares = self.params.square()
        return (losses / (2 * (squares + self.epsilon)) + torch.log1p(squares)).sum()

    def lambdas(self) -> dict[str, float]:
        return dict(zip(self.names, self.params.detach().tolist(), strict=True))
