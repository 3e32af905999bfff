"""What `cdtr pretrain` trains: a method whose transformer a CNN teaches, as a start for other trainings.

After DeiT (Touvron et al. 2021) the class token learns what the teacher says of the image, here without a token of its
own for it; after token labelling (Jiang et al. 2021) each patch token learns what the teacher sees at its place.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cdtr.config import PretrainConfig
from cdtr.model.teacher import Teacher
from cdtr.records import Batch, Method, ModelOutput


class Distilled(nn.Module):
    """``method``, which learns the data's own labels, and two heads beside it that only the teacher's lessons need.

    method: one whose module has a ``backbone``. Of the trained module only ``method`` is kept.
    """

    def __init__(self, method: nn.Module, teacher: Teacher, config: PretrainConfig) -> None:
        super().__init__()
        # Weights that no loss reaches would stop a training on several processes.
        head: Any = method.head
        head.requires_grad_(config.label_weight > 0)
        self.method = method
        self.teacher = teacher
        self.config = config
        backbone: Any = method.backbone
        dim = int(backbone.dim)
        channels = teacher.classes if config.patch_target == "labels" else teacher.features
        self.token_head = nn.Linear(dim, teacher.classes) if config.token_weight else None
        self.patch_head = nn.Conv2d(dim, channels, 1) if config.patch_weight else None

    def forward(self, images: Tensor, auxiliary: bool | None = None) -> ModelOutput:
        """The method's answer; in training with ``token_logits`` (B, K) and ``patches`` (B, K or F, h, w) too."""
        backbone: Any = self.method.backbone
        seen = []
        with backbone.register_forward_hook(lambda _module, _args, tokens: seen.append(tokens)):
            output: ModelOutput = self.method(images, auxiliary)
        if not self.training:
            return output
        (tokens,) = seen
        aux = dict(output.aux)
        if self.token_head is not None:
            aux["token_logits"] = self.token_head(tokens.class_token)
        if self.patch_head is not None:
            aux["patches"] = self.patch_head(tokens.patches)
        return replace(output, aux=aux)

    def losses(self, output: ModelOutput, batch: Batch) -> dict[str, Tensor]:
        """``cls`` from the data's labels, ``token`` and ``patches`` from the teacher, each a scalar, unweighted.

        The teacher looks at the same crop as the pupil (Beyer et al. 2022), but before random erasing.
        """
        method: Method = self.method  # type: ignore[assignment]
        terms = method.losses(output, batch) if self.config.label_weight else {}
        if self.token_head is None and self.patch_head is None:
            return terms
        logits, features = self.teacher(batch.images if batch.clean_images is None else batch.clean_images)
        hard = self.config.target == "hard"
        if self.token_head is not None:
            terms["token"] = teaching_loss(output.aux["token_logits"], logits, hard)
        if self.patch_head is not None:
            patches = output.aux["patches"]
            if self.config.patch_target == "features":
                terms["patches"] = feature_loss(patches, features)
            else:
                terms["patches"] = teaching_loss(
                    patches, _resized(self.teacher.classify_cells(features), patches), hard
                )
        return terms

    def weigh(self, terms: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, float]]:
        """The sum under the fixed weights of ``config``; no lambdas."""
        weights = {
            "cls": self.config.label_weight,
            "token": self.config.token_weight,
            "patches": self.config.patch_weight,
        }
        return torch.stack([weights[name] * term.float() for name, term in terms.items()]).sum(), {}


def teaching_loss(pupil: Tensor, teacher: Tensor, hard: bool = False) -> Tensor:
    """Cross-entropy of the pupil's logits (B, K, ...) with the teacher's probabilities, or with its first choice."""
    targets = teacher.argmax(dim=1) if hard else teacher.float().softmax(dim=1)
    return F.cross_entropy(pupil.float(), targets)


def feature_loss(pupil: Tensor, teacher: Tensor) -> Tensor:
    """1 - cosine between the pupil's (B, F, h, w) and the teacher's (B, F, h', w') at each place; in [0, 2]."""
    return 1 - F.cosine_similarity(pupil.float(), _resized(teacher, pupil), dim=1).mean()


def _resized(maps: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(maps.float(), size=tuple(like.shape[-2:]), mode="bilinear", align_corners=False)
