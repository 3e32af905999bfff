"""A small detector that learns from a few boxes alone, to compare with boxes that were found without any.

FCOS of one class, "object", on a feature pyramid over a frozen CNN: the class of an image is its folder's. Only the
pyramid and the heads are trained, so that the CNN sees each image once.

Reference: Tian et al., "FCOS", ICCV 2019, as torchvision has it; Lin et al., "Feature Pyramid Networks", CVPR 2017.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.fcos import FCOS, FCOSHead
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import FeaturePyramidNetwork

from cdtr.config import Config
from cdtr.data.batches import OnBroken
from cdtr.data.loader import eval_loader
from cdtr.errors import DataError
from cdtr.model.cnn import CnnFeatures, build_cnn_features
from cdtr.records import FloatArray, Sample

STRIDES = (8, 16, 32)
_WIDTH = 64  # channels of the pyramid and the heads
_HEAD_LAYERS = 2
_STEPS, _BATCH = 150, 8
_LEARNING_RATE, _WEIGHT_DECAY = 2.0e-3, 0.05
_CLIP_NORM = 5.0
_PREDICTED_AT_A_TIME = 32
_CANDIDATES = 100  # boxes of a level that compete to be the best


class BoxDetector(nn.Module):
    """A feature pyramid and FCOS heads of one class.

    Args:
        channels: Channels of the CNN's feature maps, one a stride of ``STRIDES``.
        size_hw: Height and width of the images that the maps are of.
        width: Channels of the pyramid and the heads.
    """

    def __init__(self, channels: Sequence[int], size_hw: tuple[int, int], width: int = _WIDTH) -> None:
        super().__init__()
        self.size_hw = size_hw
        self.pyramid = FeaturePyramidNetwork(list(channels), width)
        self.fcos: Any = FCOS(
            _NoBackbone(width),
            num_classes=1,
            anchor_generator=AnchorGenerator(tuple((stride,) for stride in STRIDES), ((1.0,),) * len(STRIDES)),
            head=FCOSHead(width, 1, 1, num_convs=_HEAD_LAYERS),
            score_thresh=0.0,
            detections_per_img=1,
            topk_candidates=_CANDIDATES,
        )

    def loss(self, levels: Sequence[Tensor], boxes_xyxy: Sequence[Tensor]) -> Tensor:
        """Sum FCOS's losses of classes, boxes and centres.

        Args:
            levels: (B, C_i, h_i, w_i) feature maps of B images.
            boxes_xyxy: (N, 4) true boxes of each image, half-open, in pixels of the network's input.

        Returns:
            A scalar.
        """
        outputs, anchors, counts = self._heads(levels)
        targets = [
            {"boxes": boxes, "labels": torch.zeros(len(boxes), dtype=torch.int64, device=boxes.device)}
            for boxes in boxes_xyxy
        ]
        losses: Tensor = torch.stack(list(self.fcos.compute_loss(targets, outputs, anchors, counts).values())).sum()
        return losses

    @torch.inference_mode()
    def best_boxes(self, levels: Sequence[Tensor]) -> Tensor:
        """Find the box with the highest score in each of B images, (B, 4) in pixels of the network's input."""
        outputs, anchors, counts = self._heads(levels)
        by_level = {name: list(torch.split(found, counts, dim=1)) for name, found in outputs.items()}
        sizes = [self.size_hw] * len(anchors)
        found = self.fcos.postprocess_detections(by_level, [list(torch.split(one, counts)) for one in anchors], sizes)
        return torch.stack([one["boxes"][0] for one in found])

    def _heads(self, levels: Sequence[Tensor]) -> tuple[dict[str, Tensor], list[Tensor], list[int]]:
        """The heads' outputs, the anchors of each image, and the number of cells of each level."""
        named = OrderedDict((str(number), level) for number, level in enumerate(levels))
        features = list(self.pyramid(named).values())
        images = ImageList(levels[0].new_empty(len(levels[0]), 3, *self.size_hw), [self.size_hw] * len(levels[0]))
        counts = [feature.shape[2] * feature.shape[3] for feature in features]
        return self.fcos.head(features), self.fcos.anchor_generator(images, features), counts


class _NoBackbone(nn.Module):
    """Tells torchvision the width of the features, which are computed elsewhere."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.out_channels = width


@dataclass(frozen=True, slots=True)
class SeenImages:
    """Images as a frozen CNN saw them.

    Attributes:
        samples: The N images that could be read.
        sizes_hw: Their heights and widths in pixels.
        input_hw: Height and width of what the network saw of each.
        levels: (N, C_i, h_i, w_i) float16, one a stride of ``STRIDES``.
        mirrored: The same of the mirrored images; empty where they are not needed.
    """

    samples: tuple[Sample, ...]
    sizes_hw: tuple[tuple[int, int], ...]
    input_hw: tuple[int, int]
    levels: tuple[Tensor, ...]
    mirrored: tuple[Tensor, ...] = ()


def detector_cnn(config: Config) -> CnnFeatures:
    """Build the frozen CNN of a configuration with the strides that the detector needs."""
    cnn = config.backbone.cnn.model_copy(update={"reductions": STRIDES, "frozen": True})
    height, width = config.data.input_size
    return build_cnn_features(cnn, config.data, (max(1, height // 16), max(1, width // 16)), load_weights=True)


def see_images(
    cnn: CnnFeatures, config: Config, samples: Sequence[Sample], mirrored: bool, on_broken: OnBroken | None = None
) -> SeenImages:
    """Run the CNN once over images.

    Args:
        cnn: The frozen CNN.
        config: Size and normalisation of the images.
        samples: The images.
        mirrored: Whether to keep what it makes of the mirrored images too.
        on_broken: Called with an image that cannot be read and the reason; None warns.

    Raises:
        DataError: None can be read.
    """
    device = next(cnn.network.parameters()).device
    read: list[Sample] = []
    sizes: list[tuple[int, int]] = []
    parts: tuple[list[list[Tensor]], list[list[Tensor]]] = ([], [])
    with torch.no_grad():
        for batch in eval_loader(samples, config, on_broken=on_broken):
            images = batch.images.to(device)
            parts[0].append([level.half() for level in cnn.levels(images)])
            if mirrored:
                parts[1].append([level.half() for level in cnn.levels(images.flip(-1))])
            read += batch.samples
            sizes += batch.sizes_hw
    if not read:
        raise DataError("no image to detect objects in can be read: replace the files")
    plain, turned = (tuple(torch.cat(level) for level in zip(*part, strict=True)) for part in parts)
    return SeenImages(tuple(read), tuple(sizes), config.data.input_size, plain, turned)


def settle_on(cnn: CnnFeatures, seen: SeenImages) -> None:
    """Normalise the CNN's channels by their statistics over some images."""
    means = [level.float().mean(dim=(0, 2, 3)) for level in seen.levels]
    variances = [level.float().var(dim=(0, 2, 3)).clamp_min(1e-8) for level in seen.levels]
    cnn.settle(means, variances)


def train_detector(
    cnn: CnnFeatures, seen: SeenImages, rows: Sequence[int], boxes_xyxy: Sequence[FloatArray], seed: int = 0
) -> BoxDetector:
    """Train a detector from random weights on some images and their boxes.

    Args:
        cnn: The frozen CNN, settled.
        seen: What it made of the images, mirrored ones too.
        rows: The images to learn from.
        boxes_xyxy: (N, 4) true boxes of each of these, half-open, in pixels of the source.
        seed: Of weights and batches.
    """
    device = seen.levels[0].device
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        detector = BoxDetector(cnn.channels, seen.input_hw).to(device).train()
    targets = [
        torch.from_numpy(_scaled(boxes, seen.sizes_hw[row], seen.input_hw)).float().to(device)
        for row, boxes in zip(rows, boxes_xyxy, strict=True)
    ]
    optimiser = torch.optim.AdamW(detector.parameters(), lr=_LEARNING_RATE, weight_decay=_WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, _LEARNING_RATE, total_steps=_STEPS, pct_start=0.1)
    random = np.random.default_rng(seed)
    for _ in range(_STEPS):
        places = random.choice(len(rows), _BATCH, replace=len(rows) < _BATCH).tolist()
        turned = (random.random(_BATCH) < 0.5).tolist()
        levels = [
            torch.stack([two[flip][rows[place]] for place, flip in zip(places, turned, strict=True)])
            for two in zip(seen.levels, seen.mirrored, strict=True)
        ]
        boxes = [
            _mirrored(targets[place], seen.input_hw[1]) if flip else targets[place]
            for place, flip in zip(places, turned, strict=True)
        ]
        loss = detector.loss(_normalised(cnn, levels), boxes)
        optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(detector.parameters(), _CLIP_NORM)
        optimiser.step()
        schedule.step()
    return detector.eval()


def detect(cnn: CnnFeatures, detector: BoxDetector, seen: SeenImages) -> FloatArray:
    """Find the best box of each image, (N, 4) half-open in pixels of the source."""
    parts = []
    for start in range(0, len(seen.samples), _PREDICTED_AT_A_TIME):
        some = slice(start, start + _PREDICTED_AT_A_TIME)
        found = detector.best_boxes(_normalised(cnn, [level[some] for level in seen.levels])).cpu().numpy()
        parts += [_scaled(box, seen.input_hw, size_hw) for box, size_hw in zip(found, seen.sizes_hw[some], strict=True)]
    boxes: FloatArray = np.stack(parts).astype(np.float64)
    return boxes


def _normalised(cnn: CnnFeatures, levels: Sequence[Tensor]) -> Sequence[Tensor]:
    normalised: Sequence[Tensor] = cnn(levels[0], levels)  # of images it needs none, as their maps are there
    return normalised


def _scaled(boxes_xyxy: FloatArray, from_hw: tuple[int, int], to_hw: tuple[int, int]) -> FloatArray:
    scaled: FloatArray = boxes_xyxy * np.array([to_hw[1] / from_hw[1], to_hw[0] / from_hw[0]] * 2)
    return scaled


def _mirrored(boxes_xyxy: Tensor, width: int) -> Tensor:
    x0, y0, x1, y1 = boxes_xyxy.unbind(dim=1)
    return torch.stack([width - x1, y0, width - x0, y1], dim=1)
