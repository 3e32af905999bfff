"""One forward pass for each batch: what evaluation and calibration need of each image, on the CPU."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cdtr.errors import CheckpointError
from cdtr.localization.maps import check_outputs, class_maps, mirrored_maps
from cdtr.localization.presence import EmptyClasses
from cdtr.metrics import Presence
from cdtr.records import Batch, Field, FloatArray, Method, ModelOutput, Sample


@dataclass(frozen=True, slots=True)
class ImagePrediction:
    """Prediction of a method for one image.

    Attributes:
        sample: The image.
        size_hw: Height and width of the source image.
        label: Index of the true class.
        predicted: Index of the predicted class.
        prob: Probability of the predicted class, in [0, 1].
        in_top5: Whether the true class is among the five most probable classes.
        label_map: (h, w) map of the true class.
        predicted_map: (h, w) map of the predicted class.
        as_given: Whether maps of the frame's size are scored as they are; they must lie within [0, 1].
        mirrored_map: (h, w) map of the predicted class in the mirrored image, mirrored back; None unless asked for.
        attention: (h, w) of the class token; None for maps from elsewhere.
        field: Part of the image that the maps cover; None for all of it.
        presence: Whether the image has an object; None if every class has one.
        gets_box: Whether localizing gives the box of the predicted class: its class has an object, and so has the image
            by the rule of the run.
    """

    sample: Sample
    size_hw: tuple[int, int]
    label: int
    predicted: int
    prob: float
    in_top5: bool
    label_map: FloatArray
    predicted_map: FloatArray
    as_given: bool = False
    mirrored_map: FloatArray | None = None
    attention: FloatArray | None = None
    field: Field | None = None
    presence: Presence | None = None
    gets_box: bool = True


def predict(
    method: Method,
    batches: Iterable[Batch],
    device: torch.device | str,
    mirrored: bool = False,
    empty: EmptyClasses | None = None,
) -> Iterator[ImagePrediction]:
    """Run a method in evaluation mode over batches.

    Args:
        method: A module's mode is restored afterwards.
        batches: Of an evaluation loader.
        device: Where the method runs; it is moved there.
        mirrored: Whether to run it on the mirrored images as well.
        empty: The classes without an object; None if every class has one.

    Yields:
        The prediction for each image, in the order of the batches.

    Raises:
        CheckpointError: If the method has fewer classes than the data, or its output is not finite.
    """
    with in_evaluation(method, device):
        for batch in batches:
            yield from _predict_batch(method, batch, device, mirrored, empty)


@contextmanager
def in_evaluation(method: Method, device: torch.device | str) -> Iterator[None]:
    """Move a module to the device and into evaluation mode; its mode is restored afterwards."""
    module = method if isinstance(method, nn.Module) else None
    was_training = module is not None and module.training
    if module is not None:
        module.to(device).eval()
    try:
        yield
    finally:
        if module is not None:
            module.train(was_training)


def _predict_batch(
    method: Method, batch: Batch, device: torch.device | str, mirrored: bool, empty: EmptyClasses | None
) -> list[ImagePrediction]:
    with torch.inference_mode():
        images = batch.images.to(device, non_blocking=True)
        output = method(images, auxiliary=False)
        _check(output, batch.labels)
        probabilities = output.logits.float().softmax(dim=1)
        best = output.logits.topk(min(5, output.logits.shape[1]), dim=1).indices.cpu()
        labels = batch.labels.cpu()
        maps = class_maps(output, torch.stack([labels, best[:, 0]], dim=1)).float().cpu().numpy()
        turned = mirrored_maps(method, images, best[:, :1]).cpu().numpy()[:, 0] if mirrored else None
        probs = probabilities.cpu().gather(1, best[:, :1])[:, 0].tolist()
        attention = output.attention.float().cpu().numpy()
    in_top5 = (best == labels[:, None]).any(dim=1).tolist()
    predicted = best[:, 0].tolist()
    presences = _presences(empty, probabilities.cpu(), labels)
    return [
        ImagePrediction(
            sample=sample,
            size_hw=batch.sizes_hw[i],
            label=int(labels[i]),
            predicted=predicted[i],
            prob=probs[i],
            in_top5=in_top5[i],
            label_map=maps[i, 0],
            predicted_map=maps[i, 1],
            mirrored_map=None if turned is None else turned[i],
            attention=attention[i],
            field=batch.field_of(i),
            presence=presences[i] if presences else None,
            gets_box=empty is None or (presences[i].boxed and predicted[i] not in empty.labels),
        )
        for i, sample in enumerate(batch.samples)
    ]


def _presences(empty: EmptyClasses | None, probabilities: Tensor, labels: Tensor) -> list[Presence]:
    """Whether each image has an object; nothing where every class has one."""
    if empty is None:
        return []
    values = probabilities.double().numpy()
    true = ~empty.is_empty(labels.numpy())
    columns = empty.object_probability(values).tolist(), empty.has_object(values).tolist(), true.tolist()
    return [Presence(*parts) for parts in zip(*columns, strict=True)]


def _check(output: ModelOutput, labels: Tensor) -> None:
    n_classes = output.logits.shape[1]
    if labels.numel() and int(labels.max()) >= n_classes:
        raise CheckpointError(
            f"the method has {n_classes} classes, the data has label {int(labels.max())}: "
            "train again or point `data=` at the data set that it was trained on"
        )
    check_outputs(output.logits.float(), output.maps.float())
