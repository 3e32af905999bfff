"""Classes and attention of the images that are held out of training, without any box."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from cdtr.data.batches import known_levels
from cdtr.metrics.outcomes import mean_over_classes
from cdtr.metrics.recall import ClassCounts
from cdtr.model.maps import attention_agreement
from cdtr.records import Batch, ModelOutput

_LABELS, _PREDICTED, _HITS, _LIKENESS = range(4)  # rows of the sums by class


class HeldOut:
    """Sums over the held-out images.

    Args:
        classes: Number of classes C.
        device: Where they are summed.
    """

    def __init__(self, classes: int, device: torch.device) -> None:
        self._sums = torch.zeros(4, device=device)  # Top-1 hits, Top-5 hits, likeness, images
        self._of_class = torch.zeros(4, classes, dtype=torch.float64, device=device)

    def update(self, output: ModelOutput, labels: Tensor) -> None:
        """Count the images of a batch."""
        best = output.logits.topk(min(5, output.logits.shape[1]), dim=1).indices
        top, likeness = best == labels[:, None], attention_agreement(output, labels)
        seen = torch.tensor(len(top), device=top.device)
        self._sums += torch.stack([top[:, 0].sum(), top.sum(), likeness.sum(), seen])
        one = torch.ones_like(likeness)
        for row, classes, values in (
            (_LABELS, labels, one),
            (_PREDICTED, best[:, 0], one),
            (_HITS, labels, top[:, 0]),
            (_LIKENESS, labels, likeness),
        ):
            self._of_class[row].index_add_(0, classes, values.double())

    def gather(self, accelerator: Accelerator) -> None:
        """Add the sums of all other processes."""
        self._sums = accelerator.reduce(self._sums, reduction="sum")
        self._of_class = accelerator.reduce(self._of_class, reduction="sum")

    @property
    def accuracy(self) -> dict[str, float]:
        """Top-1 and Top-5 accuracy in percent; empty without images."""
        first, five, _, seen = self._sums.tolist()
        return {"top1_cls": 100 * first / seen, "top5_cls": 100 * five / seen} if seen else {}

    @property
    def attention(self) -> dict[str, float]:
        """Correlation of the attention with the label's class map, in [-1, 1], as ``class_map``; empty without images.

        The mean over the images of ``attention_agreement``.
        """
        _, _, likeness, seen = self._sums.tolist()
        return {"class_map": likeness / seen} if seen else {}

    @property
    def attention_over_classes(self) -> float:
        """The same correlation, as the mean over classes of the mean of their images; NaN without images.

        Most images of an uneven set are of one class, perhaps one without objects.
        """
        sums = self._of_class.cpu().numpy()
        return float(mean_over_classes(sums[_LIKENESS], sums[_LABELS]))

    @property
    def counts(self) -> ClassCounts:
        """Images by label, by predicted class, and hits by label."""
        labels, predicted, hits, _ = self._of_class.round().long().cpu().numpy()
        return ClassCounts(labels, predicted, hits)


@torch.inference_mode()
def measure_held_out(model: nn.Module, batches: Iterable[Batch], classes: int, accelerator: Accelerator) -> HeldOut:
    """Run a model over the held-out images of each process, in evaluation mode.

    Args:
        model: Without DDP's wrapper, which synchronises at every batch: processes may have different numbers of them.
        batches: Of this process, on its device.
        classes: Number of classes C.
        accelerator: Of the training.

    Returns:
        The sums over all processes.
    """
    model.eval()
    found = HeldOut(classes, accelerator.device)
    for batch in batches:
        with accelerator.autocast():
            output: ModelOutput = model(batch.images, **known_levels(batch))
        found.update(output, batch.labels)
    found.gather(accelerator)
    return found
