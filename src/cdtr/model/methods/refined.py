"""A second stage: a segmenter that learned the maps of a trained run, joined with that run. Not in the paper.

The segmenter sees pixels, and learned from all training images at once what the first run's maps have in common. It
repeats neither the grid of the first run's patches nor what that run finds in single images alone; the first run in
turn knows the classes. The map of a class is the product of both. ``cdtr.workflows.refine`` makes the targets.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from cdtr.config import Config, RefineConfig, for_inference
from cdtr.errors import ConfigError
from cdtr.model.backbone import Backbone
from cdtr.model.maps import scale_maps
from cdtr.model.registry import find_method
from cdtr.model.sba import Sba
from cdtr.model.segmenter import Segmenter
from cdtr.model.weights import check_fit, read_state_dict
from cdtr.records import Batch, Method, ModelOutput

MODULES: frozenset[str] = frozenset()
_FIRST = "first."  # before the names of the first run's weights


class Refined(Method):
    """A frozen method and a segmenter that learned its maps.

    Args:
        first: The method of the first run; its weights stay as they are.
        segmenter: Tells object from background.
        config: The settings of the second stage.
        same_map: Whether the first method has one map for all classes, which is then scaled once.
    """

    def __init__(self, first: Method, segmenter: Segmenter, config: RefineConfig, same_map: bool = False) -> None:
        super().__init__()
        self.first = first.requires_grad_(False).eval()
        self.segmenter = segmenter
        self.config = config
        self.same_map = same_map

    def train(self, mode: bool = True) -> Refined:
        """Set the segmenter's mode; the first method stays in evaluation mode."""
        super().train(mode)
        self.first.eval()
        return self

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

    def _shrunk(self, images: Tensor) -> Tensor:
        """The images, made smaller where they are larger than the segmenter needs."""
        height, width = images.shape[2:]
        scale = self.config.side / max(height, width)
        if scale >= 1:
            return images
        size = max(16, round(height * scale)), max(16, round(width * scale))
        return F.interpolate(images, size=size, mode="bilinear", align_corners=False)


def _resized(maps: Tensor, like: Tensor) -> Tensor:
    """Resize maps (B, K, h, w) to the last two sides of ``like``."""
    return F.interpolate(maps, size=(like.shape[-2], like.shape[-1]), mode="bilinear", align_corners=False)


def build(config: Config, classes: int, backbone: Backbone, sba: Sba | None) -> Refined:
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
    same_map = config.maps.fuse in {"attention", "pseudo"}
    return Refined(first, Segmenter(config.refine.width, config.maps.padding), config.refine, same_map)


def load_first(method: Refined, weights: Path) -> None:
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
