"""Semantic Boost Adapter: a frozen CLIP says whether the attention shows the class (section III-F, Eqs. 11-14)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from cdtr.config import DataConfig, SbaConfig
from cdtr.errors import ConfigError
from cdtr.model.clip import FrozenClip
from cdtr.model.maps import scale_maps


class Sba:
    """The loss of Eq. 13. Not a module: CLIP is neither trained nor saved with the method.

    text: (C, E) unit vectors of the classes' prompts, made once for the run.
    """

    def __init__(self, clip: FrozenClip, text: Tensor, config: SbaConfig, data: DataConfig) -> None:
        if config.image == "as_is" and tuple(clip.size_hw) != tuple(data.input_size):
            raise ConfigError(
                f"sba.image as_is needs CLIP's own size {clip.size_hw} as data.input_size, found {data.input_size}: "
                "use sba.image renormalised"
            )
        self.clip = clip
        self.text = text
        self.config = config
        self.mean, self.std = (torch.tensor(v, device=text.device)[:, None, None] for v in (data.mean, data.std))

    def to(self, device: torch.device) -> Sba:
        self.clip.to(device)
        self.text, self.mean, self.std = (t.to(device) for t in (self.text, self.mean, self.std))
        return self

    def loss(self, images: Tensor, m_ca: Tensor, label_maps: Tensor, labels: Tensor) -> Tensor:
        """images: (B, 3, H, W), normalised with the data's mean and std, not erased. m_ca: (B, h, w).
        label_maps: (B, h, w), the class maps of the labels. labels: (B,). A scalar, the mean over the batch.
        """
        mask = self.masks(m_ca, label_maps, images.shape[-2:])
        fore, back = self._similarities(images, mask, self._texts(labels))
        return matching_loss(fore, back, self.config, self.clip.temperature).mean()

    def masks(self, m_ca: Tensor, label_maps: Tensor, size_hw: tuple[int, ...] | torch.Size) -> Tensor:
        """(B, h, w) to (B, 1, H, W); in [0, 1] unless the configuration asks for the literal attention."""
        if self.config.mask == "fused":
            # Features are detached: the gradient goes to the attention only.
            m_ca = m_ca * label_maps.detach()
        if self.config.mask == "scaled" or (self.config.mask == "fused" and self.config.mask_scaling == "minmax"):
            m_ca = scale_maps(m_ca)
        return F.interpolate(
            m_ca[:, None], size=tuple(size_hw), mode="bilinear", align_corners=self.config.align_corners
        )

    def _texts(self, labels: Tensor) -> Tensor:
        if self.config.prompt_by == "batch_position":
            labels = torch.arange(len(labels), device=labels.device) % len(self.text)
        return self.text[labels]

    def _similarities(self, images: Tensor, mask: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
        """Cosine similarity of foreground and background with the prompt, (B,) each, in one pass of 2B images."""
        if self.config.image == "as_is":
            features = self.clip.encode_normalised(torch.cat([images * mask, images * (1 - mask)]))
        else:
            pixels = (images * self.std + self.mean).clamp(0, 1)
            features = self.clip.image_features(torch.cat([pixels * mask, pixels * (1 - mask)]))
        fore, back = (features * text.repeat(2, 1)).sum(dim=-1).chunk(2)
        return fore, back


def matching_loss(fore: Tensor, back: Tensor, config: SbaConfig, temperature: float) -> Tensor:
    """Eq. 13 for similarities (B,) of foreground and background: ``-log(s_f / (s_f + s_b + xi))``.

    ``clamp`` keeps the cosines in [1e-4, 0.9999], where the fraction is a number in (0, 1); ``softmax`` compares them
    at CLIP's temperature; ``literal`` is the equation as printed, NaN for a negative cosine.
    """
    if config.similarity == "softmax":
        return F.softplus((back - fore) * temperature)
    if config.similarity == "clamp":
        fore, back = fore.clamp(1e-4, 0.9999), back.clamp(1e-4, 0.9999)
    return -torch.log(fore / (fore + back + config.xi))
