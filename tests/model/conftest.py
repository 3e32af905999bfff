"""A transformer, a CLIP and a batch small enough that every test of the model layer takes milliseconds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch

from cdtr.config import Config, DataConfig
from cdtr.model.backbone import Backbone, build_backbone
from cdtr.model.clip import FrozenClip, freeze
from cdtr.model.methods import build_method
from cdtr.model.methods.cdtr import Cdtr
from cdtr.model.sba import Sba
from cdtr.records import Batch, Sample

CLASSES = ("001.Black_footed_Albatross", "ant", "rolled-in_scale")


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    """Every test starts from the same random state and leaves the process's threads as they were."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def tiny_config() -> Config:
    """32 px, patch 8, two blocks of two heads: a 4x4 grid."""
    return Config().updated(
        data={"input_size": (32, 32), "resize": (36, 36)},
        backbone={
            "name": "vit_tiny_patch16_224",
            "weights": "none",
            "overrides": {"embed_dim": 48, "depth": 2, "num_heads": 2, "patch_size": 8},
        },
        csm={"g": 3},
        ocm={"k": 2},
        sba={"similarity": "softmax"},
    )


@pytest.fixture
def tiny_clip() -> FrozenClip:
    """A random open_clip model of 24 px with the real tokenizer."""
    torch.manual_seed(3)
    network = open_clip.CLIP(
        embed_dim=16,
        vision_cfg={"image_size": 24, "layers": 1, "width": 32, "head_width": 16, "patch_size": 8},
        text_cfg={"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
    )
    return freeze(network, open_clip.SimpleTokenizer(context_length=16))


@pytest.fixture
def make_method(tiny_config: Config, tiny_clip: FrozenClip) -> Callable[..., Cdtr]:
    """Build the tiny method; ``with_sba=True`` wires the tiny CLIP in, other arguments change the configuration."""

    def make(with_sba: bool = False, **changes: Any) -> Cdtr:
        config = tiny_config.updated(**changes)
        torch.manual_seed(1)
        text = tiny_clip.text_features(CLASSES, config.sba.templates)
        adapter = Sba(tiny_clip, text, config.sba, config.data) if with_sba else None
        method = build_method(config, len(CLASSES), adapter)
        assert isinstance(method, Cdtr)
        return method

    return make


@pytest.fixture
def batch() -> Batch:
    """Six different noise images, two a class."""
    generator = torch.Generator().manual_seed(5)
    labels = torch.arange(6) % len(CLASSES)
    images = torch.randn(6, 3, 32, 32, generator=generator)
    samples = tuple(Sample(f"{i}.png", Path(f"{i}.png"), int(label)) for i, label in enumerate(labels))
    return Batch(images, labels, samples, tuple((32, 32) for _ in samples))


@pytest.fixture(scope="session")
def deit_small() -> Backbone:
    """DeiT-S without weights, built once."""
    return build_backbone(Config().updated(backbone={"weights": "none"}).backbone, DataConfig(input_size=(224, 224)))
