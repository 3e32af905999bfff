"""A second stage that learned the maps or the boxes of a trained run, joined with that run. Not in the paper.

It learned from all training images at once what the first run's maps have in common, of no class. ``refine.target``
``mask``: a segmenter that sees pixels. It repeats neither the grid of the first run's patches nor what that run finds
in single images alone; the map of a class is the product of both. ``box``: a regressor of one box an image, whose map
takes the place of all class maps, as in PSOL (Zhang et al., CVPR 2020). The first run knows the classes.
``cdtr.workflows.refine`` makes the targets.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from cdtr.config import Config, RefineConfig, for_inference
from cdtr.errors import ConfigError
from cdtr.model.backbone import Backbone
from cdtr.model.box_regressor import BoxRegressor, box_loss, box_maps, boxes_of_masks
from cdtr.model.cnn import CnnFeatures
from cdtr.model.maps import scale_maps
from cdtr.model.registry import find_method
from cdtr.model.sba import Sba
from cdtr.model.segmenter import Segmenter
from cdtr.model.weights import check_fit, read_state_dict
from cdtr.records import Batch, Method, ModelOutput

MODULES: frozenset[str] = frozenset()
_CELL = 2  # pixels a side of a cell of a box's map
_FIRST = "first."  # before the names of the first run's weights


class SecondStage(Method):
    """A frozen method and what learns from its maps.

    Args:
        first: The method of the first run; its weights stay as they are.
        config: The settings of the second stage.
    """

    def __init__(self, first: Method, config: RefineConfig) -> None:
        super().__init__()
        self.first = first.requires_grad_(False).eval()
        self.config = config

    def train(self, mode: bool = True) -> SecondStage:
        """Set the second stage's mode; the first method stays in evaluation mode."""
        super().train(mode)
        self.first.eval()
        return self

    def _shrunk(self, images: Tensor) -> Tensor:
        """The images, made smaller where they are larger than the second stage needs."""
        height, width = images.shape[2:]
        scale = self.config.side / max(height, width)
        if scale >= 1:
            return images
        size = max(16, round(height * scale)), max(16, round(width * scale))
        return F.interpolate(images, size=size, mode="bilinear", align_corners=False)


class Refined(SecondStage):
    """A frozen method and a segmenter that learned its maps.

    Args:
        first: The method of the first run; its weights stay as they are.
        segmenter: Tells object from background.
        config: The settings of the second stage.
        same_map: Whether the first method has one map for all classes, which is then scaled once.
    """

    def __init__(self, first: Method, segmenter: Segmenter, config: RefineConfig, same_map: bool = False) -> None:
        super().__init__(first, config)
        self.segmenter = segmenter
        self.same_map = same_map

    def forward(self, images: Tensor, auxiliary: bool | None = None) -> ModelOutput:
        """Compute the first method's class scores, and the product of both stages' maps.

        Args:
            images: (B, 3, H, W), normalised.
            auxiliary: Not used.

        Returns:
            ``maps`` (B, C, h, w) in [0, 1]; ``aux`` has the segmenter's logits (B, h, w) as ``segmentation``. In
            training mode the first method does not run: logits are zeros and maps the segmenter's.
        """
        seen: Tensor = self.segmenter(self._shrunk(images)).float()
        if self.training:
            return ModelOutput(seen.new_zeros(len(seen), 1), seen[:, None], seen.sigmoid(), {"segmentation": seen})
        with torch.no_grad():
            output = self.first(images, auxiliary=False)
        found = output.maps[:, :1] if self.same_map else output.maps
        maps = _resized(scale_maps(found.float()), seen) * seen.sigmoid()[:, None] ** self.config.share
        attention = _resized(output.attention[:, None].float(), seen)[:, 0]
        maps = maps.expand(-1, output.logits.shape[1], -1, -1)
        return ModelOutput(output.logits, maps, attention, {"segmentation": seen})

    def losses(self, output: ModelOutput, batch: Batch) -> dict[str, Tensor]:
        """Compute the cross-entropy of object and background where the targets are sure.

        Args:
            output: Output of ``forward`` in training mode.
            batch: The images; ``prior`` (B, H, W) has the targets, maps in [0, 1].

        Returns:
            ``segmentation``, a scalar: the mean over images of the mean over their pixels, without those whose target
            is within ``refine.trimap`` of ``refine.threshold``.
        """
        if batch.prior is None:
            raise ConfigError("a refined run learns from maps, and the batch has none: expected data.prior_maps")
        logits = output.aux["segmentation"]
        targets = F.adaptive_avg_pool2d(batch.prior.float()[:, None], (logits.shape[1], logits.shape[2])).squeeze(1)
        distance = targets - self.config.threshold
        sure = (distance.abs() >= self.config.trimap).float()
        every = F.binary_cross_entropy_with_logits(logits.float(), (distance > 0).float(), reduction="none")
        of_images = (every * sure).sum(dim=(1, 2)) / sure.sum(dim=(1, 2)).clamp_min(1)
        return {"segmentation": of_images.mean()}


class Boxed(SecondStage):
    """A frozen method and a regressor that learned its boxes.

    Args:
        first: The method of the first run; its weights stay as they are.
        regressor: Regresses the box of an image.
        config: The settings of the second stage.
        map_hw: Rows and columns of the map that a box is drawn in.
    """

    def __init__(self, first: Method, regressor: BoxRegressor, config: RefineConfig, map_hw: tuple[int, int]) -> None:
        super().__init__(first, config)
        self.regressor = regressor
        self.map_hw = map_hw

    @property
    def cnn(self) -> CnnFeatures | None:
        """The first run's frozen CNN, whose features the regressor looks at; None if it looks at the pixels."""
        return frozen_cnn(self.first)

    def forward(
        self, images: Tensor, auxiliary: bool | None = None, levels: Sequence[Tensor] | None = None
    ) -> ModelOutput:
        """Compute the first method's class scores, and the map of the regressed box for every class.

        Args:
            images: (B, 3, H, W), normalised.
            auxiliary: Not used.
            levels: Feature maps of the images' ``cnn``, if they are known already.

        Returns:
            ``maps`` (B, C, h, w) in [0, 1], all the same; ``aux`` has the boxes (B, 4) as ``box_cxcywh``, shares of
            the image. In training mode the first method does not run: logits are zeros.
        """
        cnn = self.cnn
        if cnn is not None and levels is None:
            levels = cnn.levels(images)
        boxes = self.regressor(images if cnn is not None else self._shrunk(images), cnn, levels)
        maps, aux = box_maps(boxes, self.map_hw), {"box_cxcywh": boxes}
        if self.training:
            return ModelOutput(boxes.new_zeros(len(boxes), 1), maps[:, None], maps, aux)
        with torch.no_grad():
            known = {} if levels is None else {"levels": levels}
            output = self.first(images, auxiliary=False, **known)
        attention = _resized(output.attention[:, None].float(), maps)[:, 0]
        return ModelOutput(output.logits, maps[:, None].expand(-1, output.logits.shape[1], -1, -1), attention, aux)

    def losses(self, output: ModelOutput, batch: Batch) -> dict[str, Tensor]:
        """Compute the loss of the boxes.

        Args:
            output: Output of ``forward`` in training mode.
            batch: The images; ``prior`` (B, H, W) has the targets, masks of one box each.

        Returns:
            ``box``, a scalar: ``box_loss`` over the images whose mask shows a box.
        """
        if batch.prior is None:
            raise ConfigError("a refined run learns from maps, and the batch has none: expected data.prior_maps")
        targets, present = boxes_of_masks(batch.prior.float())
        return {"box": box_loss(output.aux["box_cxcywh"], targets, present)}


def frozen_cnn(method: Method) -> CnnFeatures | None:
    """The frozen CNN that a method's patches come from; None without one."""
    cnn = getattr(method, "cnn", None)
    return cnn if isinstance(cnn, CnnFeatures) and cnn.frozen else None


def _resized(maps: Tensor, like: Tensor) -> Tensor:
    """Resize maps (B, K, h, w) to the last two sides of ``like``."""
    return F.interpolate(maps, size=(like.shape[-2], like.shape[-1]), mode="bilinear", align_corners=False)


def build(config: Config, classes: int, backbone: Backbone, sba: Sba | None) -> SecondStage:
    """Build both stages.

    Args:
        config: The settings of the first run with those of the second stage in ``refine``.
        classes: Number of classes C.
        backbone: The transformer of the first run.
        sba: Not used.
    """
    inner = config.refine.method
    if inner == config.method:
        raise ConfigError("refine.method is the method of the first run: expected another one than refined")
    first = find_method(inner).build(for_inference(config.updated(method=inner)), classes, backbone, None)
    refine, padding, size_hw = config.refine, config.maps.padding, config.data.input_size
    if refine.target == "box":
        regressor = BoxRegressor(frozen_cnn(first), refine.width, padding)
        return Boxed(first, regressor, refine, (size_hw[0] // _CELL, size_hw[1] // _CELL))
    same_map = config.maps.fuse in {"attention", "pseudo"}
    return Refined(first, Segmenter(refine.width, padding), refine, same_map)


def load_first(method: SecondStage, weights: Path) -> None:
    """Load the weights of a first run, or of the first run of a refined one.

    Raises:
        CheckpointError: They do not fit.
    """
    state = read_state_dict(weights)
    if any(name.startswith(_FIRST) for name in state):
        state = {name.removeprefix(_FIRST): value for name, value in state.items() if name.startswith(_FIRST)}
    known = method.first.state_dict()
    check_fit(state, method.first, weights)
    method.first.load_state_dict({name: value for name, value in state.items() if name in known}, strict=False)
