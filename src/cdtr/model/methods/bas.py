"""BAS, background activation suppression (Wu et al., CVPR 2022).

A generator makes a map of each class in the middle of the CNN. What the map leaves out, the background, must not show
the class to the rest of the CNN, and the map is to be small.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from cdtr.config import Config, Padding
from cdtr.config.modules.bas import BasConfig
from cdtr.model.cnn_backbone import CnnBackbone
from cdtr.model.cnn_method import CnnMethod, of_labels
from cdtr.model.maps import class_loss, pooled_logits
from cdtr.model.sba import Sba
from cdtr.records import Batch, ModelOutput

MODULES: frozenset[str] = frozenset()
BACKBONE = "cnn"
_TINY = 1e-8


class Bas(CnnMethod):
    """A generator of maps behind the level before last, and a classifier at the end.

    Args:
        backbone: The CNN.
        classes: Number of classes C.
        config: The settings of BAS.
        padding: Padding at the image's border.
    """

    def __init__(self, backbone: CnnBackbone, classes: int, config: BasConfig, padding: Padding = "zeros") -> None:
        super().__init__(backbone, levels=2)
        self.config = config
        self.generator = nn.Conv2d(backbone.channels[0], classes, 3, padding=1, padding_mode=padding)
        self.head = nn.Conv2d(backbone.dim, classes, 1)

    def forward(
        self, images: Tensor, auxiliary: bool | None = None, levels: Sequence[Tensor] | None = None
    ) -> ModelOutput:
        """Compute class scores, and one map for all classes.

        Args:
            images: (B, 3, H, W), normalised.
            auxiliary: Not used.
            levels: What ``backbone.levels`` returned for the images, if that is known already.

        Returns:
            ``maps`` (B, C, h, w) are the same for all classes, in [0, 1]: the mean map of the most probable classes, as
            is ``attention``, and ``foreground`` (B, h, w) in ``aux``. In training ``aux`` has what the losses need.
        """
        middle, last = self.backbone.levels(images) if levels is None else levels
        of_classes = self.generator(middle).float().sigmoid()
        class_maps = self.head(last).float().relu()
        logits = pooled_logits(class_maps)
        count = min(self.config.best, logits.shape[1])
        best = logits.topk(count, dim=1).indices[:, :, None, None].expand(-1, -1, *of_classes.shape[2:])
        foreground = self.backbone.resample(0, of_classes.gather(1, best).mean(dim=1, keepdim=True))[:, 0]
        aux = {"foreground": foreground}
        if self.training:
            aux |= {"middle": middle, "of_classes": of_classes, "class_maps": class_maps}
        maps = foreground[:, None].expand(-1, logits.shape[1], -1, -1)
        return ModelOutput(logits, maps, foreground, aux)

    def losses(self, output: ModelOutput, batch: Batch) -> dict[str, Tensor]:
        """Compute ``cls``, ``background``, ``area`` and ``masked``, before weighting."""
        terms, aux, labels = {"cls": class_loss(output.logits, batch.labels, batch.weights)}, output.aux, batch.labels
        if "middle" not in aux:
            return terms
        own = of_labels(aux["of_classes"], labels)[:, None]
        behind = self._logits_behind(aux["middle"].detach() * (1 - own).to(aux["middle"].dtype))
        smaller = F.interpolate(own, size=tuple(aux["class_maps"].shape[2:]), mode="bilinear", align_corners=False)
        rows = range(len(labels))
        return terms | {
            "background": background_ratio(behind[rows, labels], output.logits[rows, labels]).mean(),
            "area": own.mean(),
            "masked": class_loss(pooled_logits(aux["class_maps"] * smaller), labels, batch.weights),
        }

    def weigh(self, terms: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, float]]:
        """Return the sum under the fixed weights of the settings, and no lambdas."""
        weights = {"area": self.config.area_weight, "masked": self.config.masked_weight}
        return torch.stack([weights.get(name, 1.0) * term.float() for name, term in terms.items()]).sum(), {}

    def _logits_behind(self, middle: Tensor) -> Tensor:
        """Logits (B, C) of features of the middle, by the weights as they are: the term teaches the map alone."""
        rest = _Rest(self.backbone, self.head)
        fixed = {name: value.detach() for name, value in rest.named_parameters()}
        fixed |= {name: value.clone() for name, value in rest.named_buffers()}  # statistics of batch norm stay
        logits: Tensor = functional_call(rest, fixed, (middle,))
        return logits


class _Rest(nn.Module):
    """The CNN behind the level before last, with the classifier."""

    def __init__(self, backbone: CnnBackbone, head: nn.Module) -> None:
        super().__init__()
        self.backbone, self.head = backbone, head

    def forward(self, middle: Tensor) -> Tensor:
        last = self.backbone.run(middle, after=self.backbone.ends[self.backbone.taps[0]])
        return pooled_logits(self.head(last).float().relu())


def background_ratio(of_background: Tensor, of_image: Tensor) -> Tensor:
    """The score of the label that the background has, as a share of that of the image.

    Args:
        of_background: (B,), not negative.
        of_image: (B,), not negative; it learns nothing from the ratio.

    Returns:
        (B,) in [0, 1); 0, without a gradient, where the background scores as high as the image.
    """
    whole = of_image.detach()
    return torch.where(of_background < whole, of_background / whole.clamp_min(_TINY), torch.zeros_like(whole))


def build(config: Config, classes: int, backbone: CnnBackbone, sba: Sba | None) -> Bas:
    """Build the method for the classes of a data set; ``sba`` is not used."""
    return Bas(backbone, classes, config.section(BasConfig), config.maps.padding)
