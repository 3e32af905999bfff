"""Distillation of a CNN into a transformer (`cdtr pretrain`), as a start for other trainings.

As in DeiT (Touvron et al. 2021) the class token learns the teacher's classes of the image, here without a distillation
token. As in token labelling (Jiang et al. 2021) each patch token learns the teacher's classes at its place.
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


class Distilled(Method):
    """A method that learns the data's labels, and two heads beside it that only distillation needs.

    Args:
        method: The student; a method with a ``backbone`` and a ``head``. Training keeps only its weights.
        teacher: The frozen CNN.
        config: The settings of distillation.
    """

    def __init__(self, method: Method, teacher: Teacher, config: PretrainConfig) -> None:
        super().__init__()
        # DistributedDataParallel waits for the gradient of every weight that requires one.
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
        """Compute the student's output; in training with ``token_logits`` (B, K) and ``patches`` (B, K or F, h, w)."""
        backbone: Any = self.method.backbone
        seen = []
        with backbone.register_forward_hook(lambda _module, _args, tokens: seen.append(tokens)):
            output = self.method(images, auxiliary)
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
        """Compute ``cls`` from the data's labels, ``token`` and ``patches`` from the teacher's outputs.

        The teacher gets the same crop as the student (Beyer et al. 2022), but before random erasing.

        Returns:
            Scalars, means over the batch, before weighting.
        """
        terms = self.method.losses(output, batch) if self.config.label_weight else {}
        if self.token_head is None and self.patch_head is None:
            return terms
        logits, features = self.teacher(batch.images if batch.clean_images is None else batch.clean_images)
        hard = self.config.target == "hard"
        if self.token_head is not None:
            terms["token"] = distillation_loss(output.aux["token_logits"], logits, hard)
        if self.patch_head is not None:
            patches = output.aux["patches"]
            if self.config.patch_target == "features":
                terms["patches"] = feature_loss(patches, features)
            else:
                terms["patches"] = distillation_loss(
                    patches, _resized(self.teacher.classify_cells(features), patches), hard
                )
        return terms

    def weigh(self, terms: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, float]]:
        """Return the sum under the fixed weights of the settings, and no lambdas."""
        weights = {
            "cls": self.config.label_weight,
            "token": self.config.token_weight,
            "patches": self.config.patch_weight,
        }
        return torch.stack([weights[name] * term.float() for name, term in terms.items()]).sum(), {}


def distillation_loss(student: Tensor, teacher: Tensor, hard: bool = False) -> Tensor:
    """Compute the cross-entropy of the student's logits with the teacher's classes.

    Args:
        student: (B, K, ...) logits.
        teacher: (B, K, ...) logits.
        hard: Compare with the teacher's most probable class instead of its probabilities.

    Returns:
        A scalar, the mean over all places.
    """
    targets = teacher.argmax(dim=1) if hard else teacher.float().softmax(dim=1)
    return F.cross_entropy(student.float(), targets)


def feature_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Compute 1 - cosine of the features at each place.

    Args:
        student: (B, F, h, w).
        teacher: (B, F, h', w'), resized to the student's grid.

    Returns:
        A scalar in [0, 2], the mean over all places.
    """
    return 1 - F.cosine_similarity(student.float(), _resized(teacher, student), dim=1).mean()


def _resized(maps: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(maps.float(), size=tuple(like.shape[-2:]), mode="bilinear", align_corners=False)
