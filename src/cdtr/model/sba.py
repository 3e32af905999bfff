"""Semantic Boost Adapter: a frozen CLIP compares masked images with the class (section III-F, Eqs. 11 to 14)."""

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

    Args:
        clip: The frozen CLIP.
        text: (C, E), unit vectors of the classes' prompts (Eq. 12), made once for a run.
        config: The settings of SBA.
        data: The settings of the data, for the normalisation of the images.

    Raises:
        ConfigError: ``sba.image`` is ``as_is`` and the images do not have CLIP's size.
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
        """Move CLIP and the constants to a device, in place."""
        self.clip.to(device)
        self.text, self.mean, self.std = (t.to(device) for t in (self.text, self.mean, self.std))
        return self

    def loss(self, images: Tensor, m_ca: Tensor, label_maps: Tensor, labels: Tensor) -> Tensor:
        """Compute ``L_sba`` of Eq. 13.

        Args:
            images: (B, 3, H, W), normalised with the data's mean and standard deviation, without random erasing.
            m_ca: (B, h, w), the mean attention ``M*_ca``.
            label_maps: (B, h, w), the class maps of the labels.
            labels: (B,) int64.

        Returns:
            A scalar, the mean over the batch.
        """
        mask = self.masks(m_ca, label_maps, images.shape[-2:])
        fore, back = self.similarities(images, mask, self._texts(labels))
        return matching_loss(fore, back, self.config, self.clip.temperature).mean()

    def masks(self, m_ca: Tensor, label_maps: Tensor, size_hw: tuple[int, ...] | torch.Size) -> Tensor:
        """Resize the attention to masks of the images.

        Args:
            m_ca: (B, h, w), the mean attention ``M*_ca``.
            label_maps: (B, h, w), the class maps of the labels, for ``sba.mask`` ``fused``.
            size_hw: Height and width of the images in pixels.

        Returns:
            (B, 1, H, W), in [0, 1] unless ``sba.mask`` is ``literal`` or ``sba.mask_scaling`` is ``none``.
        """
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

    def image_features(self, images: Tensor, mask: Tensor) -> Tensor:
        """Compute ``v_f`` and ``v_b`` of Eq. 11: CLIP's features of foreground and background, in one pass.

        Args:
            images: (B, 3, H, W), normalised.
            mask: (B, 1, H, W), see ``masks``.

        Returns:
            (2B, E), unit vectors, first those of the foregrounds.
        """
        if self.config.image == "as_is":
            return self.clip.encode_normalised(torch.cat([images * mask, images * (1 - mask)]))
        pixels = (images * self.std + self.mean).clamp(0, 1)
        return self.clip.image_features(torch.cat([pixels * mask, pixels * (1 - mask)]))

    def similarities(self, images: Tensor, mask: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
        """Compute ``s_f`` and ``s_b`` of Eq. 14.

        Args:
            images: (B, 3, H, W), normalised.
            mask: (B, 1, H, W), see ``masks``.
            text: (B, E), the unit vectors of the labels' prompts.

        Returns:
            The cosine similarity of foreground and of background with the prompt, (B,) each.
        """
        features = self.image_features(images, mask)
        fore, back = (features * text.repeat(2, 1)).sum(dim=-1).chunk(2)
        return fore, back


def matching_loss(fore: Tensor, back: Tensor, config: SbaConfig, temperature: float) -> Tensor:
    """Compute Eq. 13, ``-log(s_f / (s_f + s_b + xi))``, for each image.

    ``sba.similarity`` ``clamp`` keeps the cosines in [1e-4, 0.9999], so that the fraction is in (0, 1); ``softmax``
    compares them at CLIP's temperature; ``literal`` is the equation as printed, NaN for a negative cosine.

    Args:
        fore: (B,), similarity ``s_f`` of the foreground with the prompt.
        back: (B,), similarity ``s_b`` of the background.
        config: The settings of SBA.
        temperature: CLIP's logit scale, for ``softmax``.

    Returns:
        (B,).
    """
    if config.similarity == "softmax":
        return F.softplus((back - fore) * temperature)
    if config.similarity == "clamp":
        fore, back = fore.clamp(1e-4, 0.9999), back.clamp(1e-4, 0.9999)
    return -torch.log(fore / (fore + back + config.xi))
