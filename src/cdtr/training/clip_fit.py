"""The CLIP-fit probe: zero-shot accuracy on the classes, sensitivity to masks, and preference for the object."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from cdtr.config import DataConfig, Prior, SbaConfig
from cdtr.data.transforms import denormalise
from cdtr.model.clip import FrozenClip
from cdtr.model.maps import scale_maps
from cdtr.model.priors import OF_COLOURS, PRIORS
from cdtr.model.sba import matching_loss
from cdtr.records import Batch

_GRID = 16  # cells a side, in which the prior compares an image


@dataclass(frozen=True, slots=True)
class ClipFit:
    """Measurements of a CLIP on labelled images; no box is used.

    Attributes:
        images: the number of images.
        zero_shot: accuracy of the prompts, in [0, 1].
        chance: accuracy of guessing, in [0, 1].
        fit: ``(zero_shot - chance) / (1 - chance)``, 1 for a perfect accuracy, 0 at chance.
        mask_shift: mean change of the cosine between an image and its own prompt when the centre, or all but the
            centre, is blacked out.
        object_loss: mean SBA loss (Eq. 13) if the attention were an object prior of the image.
        background_loss: the same for the complement of that prior.
    """

    images: int
    zero_shot: float
    chance: float
    fit: float
    mask_shift: float
    object_loss: float
    background_loss: float

    @property
    def prefers_object(self) -> bool:
        """Whether SBA's loss is lower on the object prior than on its complement, on average."""
        return self.object_loss < self.background_loss

    def line(self, on: str = "training images") -> str:
        """Return the measurements in one line. ``on`` says on which images they were made."""
        return (
            f"CLIP fit on {self.images} {on}: zero-shot {100 * self.zero_shot:.1f}% (chance "
            f"{100 * self.chance:.1f}%, fit {self.fit:.2f}), masking moves the similarity by {self.mask_shift:.3f}, "
            f"SBA's loss is {self.object_loss:.3f} for the object prior and "
            f"{self.background_loss:.3f} for its complement"
        )


@torch.no_grad()
def probe_clip(
    clip: FrozenClip,
    text: Tensor,
    batches: Iterable[Batch],
    data: DataConfig,
    sba: SbaConfig | None = None,
    prior: Prior = "border",
) -> ClipFit:
    """Measure how well a CLIP fits a data set.

    Args:
        clip: looks at whole and at masked images.
        text: (C, E), unit vectors of the classes' prompts.
        batches: labelled images.
        data: how the images are normalised.
        sba: the settings of the loss; by default the paper's.
        prior: estimates where the object is, from the mean and spread of colours in a grid of cells.

    Returns:
        The measurements, averaged over the images.
    """
    seen, right, shift = 0, 0, 0.0
    losses, settings = [0.0, 0.0], sba or SbaConfig()
    for batch in batches:
        pixels = denormalise(batch.images.to(text.device), data)
        labels = batch.labels.to(text.device)
        centred, likely = _centre_mask(pixels), prior_mask(pixels, prior)
        shown = [pixels, pixels * centred, pixels * (1 - centred), pixels * likely, pixels * (1 - likely)]
        whole, *parts = clip.image_features(torch.cat(shown)).chunk(5)
        own = text[labels]
        right += int(((whole @ text.T).argmax(dim=1) == labels).sum())
        moved = [((part - whole) * own).sum(dim=1).abs() for part in parts[:2]]
        shift += float(torch.stack(moved).mean(dim=0).sum())
        fore, back = ((part * own).sum(dim=1) for part in parts[2:])
        for index, pair in enumerate(((fore, back), (back, fore))):
            losses[index] += float(matching_loss(*pair, settings, clip.temperature).sum())
        seen += len(labels)
    chance = 1 / len(text)
    accuracy = right / max(seen, 1)
    fit = (accuracy - chance) / (1 - chance)
    object_loss, background_loss = (loss / max(seen, 1) for loss in losses)
    return ClipFit(seen, accuracy, chance, fit, shift / max(seen, 1), object_loss, background_loss)


def prior_mask(pixels: Tensor, prior: Prior) -> Tensor:
    """Compute an object prior of each image from its colours, as a mask such as SBA makes of attention.

    Args:
        pixels: (B, 3, H, W) in [0, 1].
        prior: one of ``PRIORS``; each cell is described by its mean colour, and by its colours' spread as well unless
            the prior compares colours alone.

    Returns:
        (B, 1, H, W) in [0, 1]; zeros where all cells are alike.
    """
    mean = F.adaptive_avg_pool2d(pixels, _GRID)
    described = [mean]
    if prior not in OF_COLOURS:
        described.append((F.adaptive_avg_pool2d(pixels.square(), _GRID) - mean.square()).clamp(min=0).sqrt())
    scaled = scale_maps(PRIORS[prior](torch.cat(described, dim=1)))
    return F.interpolate(scaled[:, None], size=pixels.shape[-2:], mode="bilinear", align_corners=False)


def _centre_mask(pixels: Tensor) -> Tensor:
    """(1, 1, H, W), one in the centred rectangle that covers half of the image."""
    height, width = pixels.shape[-2:]
    inside = [(torch.linspace(-1, 1, size, device=pixels.device).abs() <= 0.5**0.5).float() for size in (height, width)]
    return torch.outer(*inside)[None, None]
