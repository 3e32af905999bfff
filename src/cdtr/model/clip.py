"""A frozen CLIP: open_clip models by name, by weights file, or from a folder that `cdtr train-clip` wrote."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import open_clip
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cdtr.errors import CheckpointError, ConfigError
from cdtr.model.clip_folder import load_folder
from cdtr.model.patches import PatchProjection, is_patch_convolution


@dataclass(frozen=True, slots=True)
class FrozenClip:
    """Image and text encoders whose weights take no gradient; gradients pass through to the pixels.

    Kept outside the method's own modules, so that it is neither trained, nor saved, nor counted with it.

    Attributes:
        model: The open_clip network.
        tokenizer: Its tokenizer.
        size_hw: Height and width of its input in pixels.
        mean: Per channel, of its normalisation.
        std: Per channel, of its normalisation.
        temperature: The logit scale that it was trained with.
    """

    model: nn.Module
    tokenizer: Any
    size_hw: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    temperature: float

    def __deepcopy__(self, _memo: Any) -> FrozenClip:
        """Return itself: it never changes, so copies of the method share it."""
        return self

    def to(self, device: torch.device) -> FrozenClip:
        """Move the network to a device, in place."""
        self.model.to(device)
        return self

    def image_features(self, pixels: Tensor) -> Tensor:
        """Encode images.

        Args:
            pixels: (B, 3, H, W) in [0, 1], of any size.

        Returns:
            (B, E), unit vectors.
        """
        pixels = F.interpolate(pixels, size=self.size_hw, mode="bilinear", antialias=True, align_corners=False)
        mean, std = (torch.tensor(v, device=pixels.device)[:, None, None] for v in (self.mean, self.std))
        return self.encode_normalised((pixels - mean) / std)

    def encode_normalised(self, images: Tensor) -> Tensor:
        """Encode images that are normalised as CLIP's and have its size.

        Args:
            images: (B, 3, H, W).

        Returns:
            (B, E) float32, unit vectors.
        """
        features: Tensor = self.model.encode_image(images, normalize=True)  # type: ignore[operator]
        return features.float()

    @torch.no_grad()
    def text_features(self, class_names: Sequence[str], templates: Sequence[str]) -> Tensor:
        """Compute ``v_t`` of Eq. 12, CLIP's features of the classes' prompts.

        Args:
            class_names: The names of the C classes, such as names of folders.
            templates: Prompts with ``{}`` for the name; the features of several are averaged.

        Returns:
            (C, E), unit vectors, without gradient.
        """
        device = next(self.model.parameters()).device
        per_template = []
        for template in templates:
            tokens = self.tokenizer([template.format(clean_class_name(name)) for name in class_names]).to(device)
            chunks = [self.model.encode_text(part, normalize=True) for part in tokens.split(256)]  # type: ignore[operator]
            per_template.append(torch.cat(chunks).float())
        return F.normalize(torch.stack(per_template).mean(dim=0), dim=-1)


def clean_class_name(name: str) -> str:
    """Convert the name of a folder to words for a prompt.

    ``001.Black_footed_Albatross`` becomes ``Black footed Albatross``; of a WordNet list the first synonym is taken.
    """
    # A number before another number is a name, such as 747-400.
    name = re.sub(r"^\d+[._\- ]+(?=\D)", "", name.split(",")[0])
    return " ".join(re.sub(r"[_\-]+", " ", name).split()) or name


def is_named_model(model: str) -> bool:
    """Return whether this is a name of open_clip, and no folder written by `cdtr train-clip`."""
    return not Path(model).is_dir() and model in open_clip.list_models()


def load_clip(model: str, pretrained: str) -> FrozenClip:
    """Load an open_clip model for evaluation only.

    Args:
        model: A name of open_clip, or a folder written by `cdtr train-clip`.
        pretrained: A tag of that model, a weights file, or ``none`` for random weights.

    Raises:
        ConfigError: An unknown name.
        CheckpointError: The weights cannot be had.
    """
    folder = Path(model)
    if folder.is_dir():
        return freeze(*load_folder(folder))
    if model not in open_clip.list_models():
        raise ConfigError(
            f"unknown CLIP {model!r}: give a folder written by `cdtr train-clip`, or an open_clip model such as "
            "ViT-B-32-quickgelu"
        )
    random = pretrained == "none"
    try:
        network = open_clip.create_model(
            model,
            pretrained=None if random else pretrained,
            load_weights=not random,
            require_pretrained=not random,
            weights_only=True,
        )
        tokenizer = open_clip.get_tokenizer(model)
    except Exception as error:
        # A damaged file raises almost anything in open_clip and the readers below it, as does a missing library.
        raise CheckpointError(
            f"the weights of CLIP {model} ({pretrained}) cannot be had ({type(error).__name__}): go online, give a "
            "file as sba.pretrained, train a small CLIP with `cdtr train-clip`, or set sba.enabled=false"
        ) from error
    return freeze(network, tokenizer)


def freeze(network: nn.Module, tokenizer: Any) -> FrozenClip:
    """Wrap an open_clip network: evaluation mode, no gradient for its weights."""
    network.eval().requires_grad_(False)
    visual: Any = network.visual
    if is_patch_convolution(getattr(visual, "conv1", None)):
        visual.conv1 = PatchProjection(visual.conv1)
    size = visual.image_size
    preprocess: dict[str, Any] = getattr(visual, "preprocess_cfg", None) or {}
    return FrozenClip(
        model=network,
        tokenizer=tokenizer,
        size_hw=(size, size) if isinstance(size, int) else (int(size[0]), int(size[1])),
        mean=tuple(preprocess.get("mean") or open_clip.OPENAI_DATASET_MEAN),
        std=tuple(preprocess.get("std") or open_clip.OPENAI_DATASET_STD),
        temperature=float(network.logit_scale.detach().exp()),  # type: ignore[operator]
    )
