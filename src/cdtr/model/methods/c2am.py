"""C2AM, contrastive learning of a class-agnostic map (Xie et al., CVPR 2022): two regions of every image, told apart.

One channel divides each image into two regions. Over a batch the features of the first regions are alike, those of the
second regions too, and both are unlike. No label is used for it; class scores come from a classifier of their own.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from cdtr.config import Config, Padding
from cdtr.config.modules.c2am import C2amConfig
from cdtr.model.cnn_backbone import CnnBackbone
from cdtr.model.cnn_method import CnnMethod
from cdtr.model.maps import class_loss, pooled_logits
from cdtr.model.norm import SyncedBatchNorm2d
from cdtr.model.sba import Sba
from cdtr.records import Batch, ModelOutput

MODULES: frozenset[str] = frozenset()
BACKBONE = "cnn"
_LOWEST, _HIGHEST = 5e-4, 0.9995  # of a cosine


class C2am(CnnMethod):
    """A map of the object of any class, and a classifier that teaches the CNN nothing.

    Args:
        backbone: The CNN; its last two levels are joined.
        classes: Number of classes C.
        config: The settings of C2AM.
        padding: Padding at the image's border.

    Attributes:
        votes: Images of the first epoch whose border was in the first region, less those where it was not: where most
            are, the object is the second region.
    """

    votes: Tensor

    def __init__(self, backbone: CnnBackbone, classes: int, config: C2amConfig, padding: Padding = "zeros") -> None:
        super().__init__(backbone, levels=2)
        self.alpha = config.alpha
        self.region = nn.Sequential(
            nn.Conv2d(sum(backbone.channels), 1, 3, padding=1, padding_mode=padding, bias=False), SyncedBatchNorm2d(1)
        )
        self.head = nn.Conv2d(backbone.dim, classes, 1)
        self.register_buffer("votes", torch.zeros(()))
        self._votes_count = True

    def start_epoch(self, epoch: int, epochs: int) -> None:
        """Images vote on the sign in the first epoch."""
        self._votes_count = epoch == 0

    def forward(
        self, images: Tensor, auxiliary: bool | None = None, levels: Sequence[Tensor] | None = None
    ) -> ModelOutput:
        """Compute class scores, and one map for all classes.

        Args:
            images: (B, 3, H, W), normalised.
            auxiliary: Not used.
            levels: What ``backbone.levels`` returned for the images, if that is known already.

        Returns:
            ``maps`` (B, C, h, w) are the same for all classes, in [0, 1], as is ``attention``; ``aux`` has them as
            ``foreground`` (B, h, w), and the mean features (B, D) of both regions, ``v_f`` and ``v_b``.
        """
        known = self.backbone(images, levels)
        joined = torch.cat(known, dim=1)
        first = self.region(joined).float().sigmoid()
        cells = first.shape[-2] * first.shape[-1]
        mean_first = (first * joined).sum(dim=(2, 3)) / cells
        mean_second = ((1 - first) * joined).sum(dim=(2, 3)) / cells
        if self.training and self._votes_count:
            self._vote(first.detach())
        is_second = (self.votes > 0).float()
        foreground = (is_second + (1 - 2 * is_second) * first)[:, 0]
        x_out: Tensor = self.head(known[-1].detach()).float()
        maps = foreground[:, None].expand(-1, x_out.shape[1], -1, -1)
        aux = {"foreground": foreground, "v_f": mean_first, "v_b": mean_second}
        return ModelOutput(pooled_logits(x_out), maps, foreground, aux)

    @torch.no_grad()
    def _vote(self, first: Tensor) -> None:
        """Count the images (B, 1, h, w) whose border is mostly in the first region, over all processes."""
        outermost = torch.ones(first.shape[2:], dtype=torch.bool, device=first.device)
        outermost[1:-1, 1:-1] = False
        votes = (first[:, 0, outermost] > 0.5).float().mean(dim=1).sub(0.5).sign().sum()
        if dist.is_available() and dist.is_initialized():
            dist.all_reduce(votes)
        self.votes += votes

    def losses(self, output: ModelOutput, batch: Batch) -> dict[str, Tensor]:
        """Compute ``cls`` of the classifier, ``apart`` of both regions, ``object`` and ``background`` of each."""
        first, second = (F.normalize(output.aux[name], dim=1) for name in ("v_f", "v_b"))
        return {
            "cls": class_loss(output.logits, batch.labels, batch.weights),
            "apart": apart_term(second, first),
            "object": alike_term(first, self.alpha),
            "background": alike_term(second, self.alpha),
        }


def apart_term(first: Tensor, second: Tensor) -> Tensor:
    """The mean of -log(1 - cosine) over all pairs of unit vectors (B, D) and (B, D)."""
    return -torch.log(1 - _cosines(first, second)).mean()


def alike_term(vectors: Tensor, alpha: float) -> Tensor:
    """The mean of -log cosine over all pairs of unit vectors (B, D); the less alike a pair the less it weighs.

    The weight is exp(-alpha rank), where the rank of a vector itself is -1 and that of the nearest other one 0.
    """
    cosines = _cosines(vectors, vectors)
    order = cosines.detach().argsort(dim=1, descending=True, stable=True)
    ranks = order.argsort(dim=1).to(cosines.dtype) - 1
    return (torch.exp(-alpha * ranks) * -torch.log(cosines)).mean()


def _cosines(first: Tensor, second: Tensor) -> Tensor:
    return (first @ second.T).clamp(_LOWEST, _HIGHEST)


def build(config: Config, classes: int, backbone: CnnBackbone, sba: Sba | None) -> C2am:
    """Build the method for the classes of a data set; ``sba`` is not used."""
    return C2am(backbone, classes, config.section(C2amConfig), config.maps.padding)
