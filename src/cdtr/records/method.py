"""The base class of localization methods. Apart from the other records, because it needs PyTorch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from cdtr.records import Batch, ModelOutput


class Method(nn.Module, ABC):
    """A localization method: a module that maps images to class scores and localization maps.

    A subclass implements ``forward`` and ``losses``. Letters of shapes: B images, C classes, H W pixels, h w patches.

    Attributes:
        lr_factors: Factors of ``train.lr`` by the name of an attribute that is a module, where they are not 1.
    """

    lr_factors: Mapping[str, float] = MappingProxyType({})

    if TYPE_CHECKING:

        def __call__(self, images: Tensor, auxiliary: bool | None = None) -> ModelOutput:
            """Run ``forward``."""
            ...

    @abstractmethod
    def forward(self, images: Tensor, auxiliary: bool | None = None) -> ModelOutput:
        """Compute class scores and localization maps.

        Args:
            images: (B, 3, H, W), normalised with the mean and standard deviation of the data's settings.
            auxiliary: Whether to run the branches that only losses need; None runs them in training mode.

        Returns:
            The same record in training and evaluation mode; the branches' outputs are in ``aux``.
        """

    @abstractmethod
    def losses(self, output: ModelOutput, batch: Batch) -> dict[str, Tensor]:
        """Compute the loss terms.

        Args:
            output: Output of ``forward`` in training mode.
            batch: The images that it was computed from, with their labels.

        Returns:
            Scalar tensors by the name of the term, before weighting. The log uses the same names.
        """

    def start_epoch(self, epoch: int, epochs: int) -> None:
        """Note that training begins an epoch, or goes on in it; by default nothing depends on it.

        Args:
            epoch: From 0.
            epochs: Of the whole training.
        """
        return

    def weigh(self, terms: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, float]]:
        """Combine the loss terms to the loss that is minimised; by default their sum.

        Args:
            terms: Output of ``losses``.

        Returns:
            The loss, a scalar, and the learned weights by the name of the term (the lambdas of Eq. 2) for the log;
            an empty dictionary without learned weights.
        """
        return torch.stack([term.float() for term in terms.values()]).sum(), {}
