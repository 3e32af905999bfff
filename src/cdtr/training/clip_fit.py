"""The CLIP-fit probe: does CLIP know these classes, and does it notice what a mask hides?"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from cdtr.config import DataConfig
from cdtr.data.transforms import denormalise
from cdtr.model.clip import FrozenClip
from cdtr.records import Batch


@dataclass(frozen=True, slots=True)
class ClipFit:
    """images: how many were looked at. zero_shot, chance: accuracy of the prompts in [0, 1].

    fit: ``(zero_shot - chance) / (1 - chance)``, 1 where CLIP knows every class, 0 where it guesses. mask_shift: the
    mean change of the cosine between an image and its own prompt when the centre, or all but the centre, is blacked
    out; where it is near 0, SBA has nothing to tell the attention.
    """

    images: int
    zero_shot: float
    chance: float
    fit: float
    mask_shift: float

    def line(self, on: str = "training images") -> str:
        """``on`` says which images were looked at."""
        return (
            f"CLIP fit on {self.images} {on}: zero-shot {100 * self.zero_shot:.1f}% (chance "
            f"{100 * self.chance:.1f}%, fit {self.fit:.2f}), masking moves the similarity by {self.mask_shift:.3f}"
        )


@torch.no_grad()
def probe_clip(clip: FrozenClip, text: Tensor, batches: Iterable[Batch], data: DataConfig) -> ClipFit:
    """text: (C, E) unit vectors of the classes' prompts. batches: labelled images; no box is looked at."""
    seen, right, shift = 0, 0, 0.0
    for batch in batches:
        pixels = denormalise(batch.images.to(text.device), data)
        labels = batch.labels.to(text.device)
        mask = _centre_mask(pixels)
        whole, centre, rest = clip.image_features(torch.cat([pixels, pixels * mask, pixels * (1 - mask)])).chunk(3)
        own = text[labels]
        right += int(((whole @ text.T).argmax(dim=1) == labels).sum())
        moved = [((part - whole) * own).sum(dim=1).abs() for part in (centre, rest)]
        shift += float(torch.stack(moved).mean(dim=0).sum())
        seen += len(labels)
    chance = 1 / len(text)
    accuracy = right / max(seen, 1)
    return ClipFit(seen, accuracy, chance, (accuracy - chance) / (1 - chance), shift / max(seen, 1))


def _centre_mask(pixels: Tensor) -> Tensor:
    """(1, 1, H, W), one in the centred rectangle that covers half of the image."""
    height, width = pixels.shape[-2:]
    inside = [(torch.linspace(-1, 1, size, device=pixels.device).abs() <= 0.5**0.5).float() for size in (height, width)]
    return torch.outer(*inside)[None, None]
