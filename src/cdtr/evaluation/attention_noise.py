"""How much of the attention falls outside the true boxes, before training and after (the paper's section III-A)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from cdtr.evaluation.evaluate import Progress
from cdtr.evaluation.forward import answers
from cdtr.evaluation.measure import Annotate
from cdtr.metrics.attention import outside_shares
from cdtr.records import Batch, Method


@dataclass(frozen=True, slots=True)
class AttentionNoise:
    """Shares in [0, 1], each (n,), of n images whose boxes leave some of the image outside.

    area: of the image outside the boxes, which attention that does not care for the object has too. after, before: of
    ``M*_ca`` outside the boxes, of the trained method and of the one that training started with, if that is known.
    """

    image_ids: tuple[str, ...]
    area: npt.NDArray[np.float64]
    after: npt.NDArray[np.float64]
    before: npt.NDArray[np.float64] | None = None

    @property
    def less_after(self) -> float | None:
        """Percent of the images of whose attention less lies outside after the training than before."""
        return None if self.before is None else 100 * float((self.after < self.before).mean())


def measure_noise(
    after: Method,
    before: Method | None,
    batches: Iterable[Batch],
    annotate: Annotate,
    device: torch.device | str = "cpu",
    progress: Progress | None = None,
) -> AttentionNoise | None:
    """The noise of the trained method, and of the untrained one on the same images; None where no image has boxes that
    leave some of it outside. The batches are gone through once for each method; progress is called with 1 for each
    image.
    """
    trained = _outside(after, batches, annotate, device, progress)
    untrained = None if before is None else _outside(before, batches, annotate, device, progress)
    ids = tuple(name for name in trained if untrained is None or name in untrained)
    if not ids:
        return None
    return AttentionNoise(
        image_ids=ids,
        area=np.array([trained[name][1] for name in ids]),
        after=np.array([trained[name][0] for name in ids]),
        before=None if untrained is None else np.array([untrained[name][0] for name in ids]),
    )


def _outside(
    method: Method,
    batches: Iterable[Batch],
    annotate: Annotate,
    device: torch.device | str,
    progress: Progress | None,
) -> dict[str, tuple[float, float]]:
    """The shares of attention and area outside the boxes, by image id."""
    found = {}
    for answer in answers(method, batches, device):
        annotation = annotate(answer.sample)
        if annotation is not None and answer.attention is not None:
            shares = outside_shares(answer.attention, annotation.boxes_xyxy, answer.size_hw, answer.field)
            if shares is not None:
                found[answer.sample.image_id] = shares
        if progress is not None:
            progress(1)
    return found
