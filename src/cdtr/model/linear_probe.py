"""A linear classifier of pooled features, fitted at once: logistic regression with a penalty on the weights."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_PENALTY = 0.01  # times the sum of the squared weights of features of unit variance
_STEPS = 100  # of L-BFGS at most


def fit_probe(features: Tensor, labels: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Fit the weights and biases of a linear classifier.

    Args:
        features: (N, D), one row an image.
        labels: (N,) int64, the classes.
        classes: Number of classes C.

    Returns:
        Weights (C, D) and biases (C,) for the features as they are.
    """
    exact = features.float()
    mean, spread = exact.mean(dim=0), exact.std(dim=0, unbiased=False).clamp_min(1e-6)
    scaled = (exact - mean) / spread
    weights = torch.zeros(classes, exact.shape[1], device=features.device, requires_grad=True)
    biases = torch.zeros(classes, device=features.device, requires_grad=True)
    optimiser = torch.optim.LBFGS([weights, biases], max_iter=_STEPS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        value = F.cross_entropy(F.linear(scaled, weights, biases), labels) + _PENALTY * weights.square().sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    with torch.enable_grad():
        optimiser.step(loss)  # type: ignore[no-untyped-call]
    own = weights.detach() / spread
    return own, biases.detach() - own @ mean
