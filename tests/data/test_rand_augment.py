"""timm's RandAugment under torch's seed: the same operations, and no random state is moved but torch's."""

from __future__ import annotations

import pickle
import random

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data import create_transform

from cdtr.config import Config, DataConfig
from cdtr.data.rand_augment import RandAugment
from cdtr.data.transforms import TrainTransform

CONFIG = Config().data


@pytest.fixture
def image() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (224, 224, 3), dtype=np.uint8))


def _augmented(augment: RandAugment, image: Image.Image, seed: int) -> np.ndarray:
    torch.manual_seed(seed)
    return np.asarray(augment(image))


def test_it_is_what_timm_builds_for_deit(image: Image.Image) -> None:
    """timm's own pipeline with the released options; its RandAugment gets the same random numbers."""
    pipeline = create_transform(
        224, is_training=True, auto_augment="rand-m9-mstd0.5-inc1", interpolation="bicubic", color_jitter=0.4
    )
    (released,) = [step for step in pipeline.transforms if type(step).__name__ == "RandAugment"]
    ours = RandAugment(CONFIG)
    for seed in range(30):
        found = _augmented(ours, image, seed)
        torch.manual_seed(seed)
        drawn = int(torch.randint(2**32, ()))
        random.seed(drawn)
        np.random.seed(drawn)
        assert np.array_equal(found, np.asarray(released(image)))


def test_torchs_seed_alone_decides(image: Image.Image) -> None:
    augment = RandAugment(CONFIG)
    first = _augmented(augment, image, 1)
    random.seed(99)
    np.random.seed(99)
    assert np.array_equal(_augmented(augment, image, 1), first)
    assert len({_augmented(augment, image, seed).tobytes() for seed in range(12)}) > 6


def test_the_generators_of_python_and_numpy_are_put_back(image: Image.Image) -> None:
    random.seed(1)
    np.random.seed(1)
    expected = random.random(), np.random.random()
    random.seed(1)
    np.random.seed(1)
    RandAugment(CONFIG)(image)
    assert (random.random(), np.random.random()) == expected


def test_they_are_put_back_after_an_error_too() -> None:
    def draw_and_fail(_image: object) -> None:
        raise ValueError(random.random())

    before, augment = random.getstate(), RandAugment(CONFIG)
    augment._augment = draw_and_fail
    with pytest.raises(ValueError, match=r"0\."):
        augment(Image.new("RGB", (4, 4)))
    assert random.getstate() == before


@pytest.mark.parametrize(
    ("mean", "colour"), [((0.485, 0.456, 0.406), (124, 116, 104)), ((0.5, 0.0, 1.0), (128, 0, 255))], ids=["i", "own"]
)
def test_uncovered_pixels_get_the_mean_colour(mean: tuple[float, ...], colour: tuple[int, ...]) -> None:
    """A plain image in a colour of its own: whatever else turns up in a turned or moved one is the fill."""
    augment = RandAugment(CONFIG.model_copy(update={"mean": mean}))
    plain = Image.new("RGB", (64, 64), (10, 200, 30))
    moved = [op for op in augment._augment.ops if op.name in {"Rotate", "ShearX", "TranslateXRel"}]
    assert len(moved) == 3
    for op in moved:
        random.seed(0)
        while np.array_equal(found := np.asarray(op(plain)), np.asarray(plain)):
            pass
        assert (found.reshape(-1, 3) == colour).all(axis=1).any()


def test_it_can_be_sent_to_spawned_workers(image: Image.Image) -> None:
    official: DataConfig = CONFIG.model_copy(update={"augment": "official", "input_size": (32, 32)})
    transform = TrainTransform(official)
    sent = pickle.loads(pickle.dumps(transform))  # noqa: S301, what spawn does
    images = []
    for one in (transform, sent):
        torch.manual_seed(3)
        images.append(one(image)[0])
    assert torch.equal(*images)
