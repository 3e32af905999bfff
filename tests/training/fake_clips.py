"""CLIPs whose answers can be worked out by hand."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cdtr.model.clip import FrozenClip

COLOURS = ("red", "green", "blue")


class FakeNetwork(nn.Module):
    """``image`` answers features (B, 3) for pixels (B, 3, H, W); a prompt's feature is its colour's unit vector."""

    def __init__(self, image: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.image = image
        self.anchor = nn.Parameter(torch.zeros(1), requires_grad=False)

    def encode_image(self, images: Tensor, normalize: bool) -> Tensor:
        return F.normalize(self.image(images), dim=-1)

    def encode_text(self, tokens: Tensor, normalize: bool) -> Tensor:
        return torch.eye(3)[tokens]


def tokens_of(prompts: list[str]) -> Tensor:
    return torch.tensor([next(i for i, colour in enumerate(COLOURS) if colour in prompt) for prompt in prompts])


def fake_clip(image: Callable[[Tensor], Tensor]) -> FrozenClip:
    """Sees 32 px as they are, in [0, 1]."""
    return FrozenClip(FakeNetwork(image), tokens_of, (32, 32), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), 100.0)


def brightest_channel(pixels: Tensor) -> Tensor:
    """Knows the colours: each image is nearest to the prompt of its strongest channel."""
    return pixels.mean(dim=(2, 3))


def always_red(pixels: Tensor) -> Tensor:
    """Guesses, whatever it is shown."""
    return torch.tensor([[1.0, 0.5, 0.25]]).expand(len(pixels), 3) + pixels.mean() * 0


def brightness_angle(pixels: Tensor) -> Tensor:
    """Its cosine with the prompt of red is the mean brightness."""
    mean = pixels.mean(dim=(1, 2, 3))
    return torch.stack([mean, (1 - mean.square()).clamp(min=0).sqrt(), torch.zeros_like(mean)], dim=1)


def below_or_above(pixels: Tensor) -> Tensor:
    """Cosines of both signs: positive where an image is brighter than the mean of its batch."""
    mean = pixels.mean(dim=(1, 2, 3))
    return (mean - mean.mean())[:, None].expand(-1, 3)
