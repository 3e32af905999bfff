"""The small detector: its geometry, and that it learns from a few boxes."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cdtr.config import load_config
from cdtr.localization.boxes import iou_half_open
from cdtr.model.packaged import PACKAGES
from cdtr.records import Sample
from cdtr.training import box_detector
from cdtr.training.box_detector import (
    STRIDES,
    BoxDetector,
    detect,
    detector_cnn,
    see_images,
    settle_on,
    train_detector,
)

with_weights = pytest.mark.skipif(
    importlib.util.find_spec(PACKAGES["tf_efficientnet_lite2"]) is None, reason="the packaged weights are not installed"
)


def test_boxes_are_found_in_the_pixels_of_the_input() -> None:
    torch.manual_seed(0)
    detector = BoxDetector([4, 4, 4], (64, 96), width=32)
    levels = [torch.rand(3, 4, 64 // stride, 96 // stride) for stride in STRIDES]
    boxes = detector.best_boxes(levels)
    assert boxes.shape == (3, 4)
    assert bool((boxes[:, 2:] >= boxes[:, :2]).all())
    assert bool((boxes >= 0).all())
    assert bool((boxes[:, 2] <= 96).all())
    assert bool((boxes[:, 3] <= 64).all())


def test_the_loss_is_finite_without_boxes_and_has_gradients_with_some() -> None:
    torch.manual_seed(0)
    detector = BoxDetector([4, 4, 4], (64, 64), width=32).train()
    levels = [torch.rand(2, 4, 64 // stride, 64 // stride) for stride in STRIDES]
    some = detector.loss(levels, [torch.tensor([[8.0, 8.0, 40.0, 48.0]]), torch.zeros(0, 4)])
    torch.autograd.backward(some)
    assert bool(torch.isfinite(some))
    assert all(one.grad is not None and bool(torch.isfinite(one.grad).all()) for one in detector.parameters())


def test_mirrored_boxes_are_mirrored_back() -> None:
    boxes = torch.tensor([[2.0, 3.0, 10.0, 20.0]])
    turned = box_detector._mirrored(boxes, 64)
    assert turned.tolist() == [[54.0, 3.0, 62.0, 20.0]]
    assert box_detector._mirrored(turned, 64).tolist() == boxes.tolist()


@with_weights
def test_it_learns_where_squares_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(box_detector, "_STEPS", 60)
    noise = np.random.default_rng(0)
    samples, boxes = [], []
    for number in range(24):
        left, top = noise.integers(0, 50, 2).tolist()
        pixels = noise.integers(0, 60, (80, 100), dtype=np.uint8)
        pixels[top : top + 30, left : left + 40] += 180
        path = tmp_path / f"{number}.png"
        Image.fromarray(pixels).save(path)
        samples.append(Sample(path.name, path, 0))
        boxes.append(np.array([[left, top, left + 40, top + 30]], dtype=np.float64))
    config = load_config("imagenet", ["data.input_size=[64,64]", "data.resize=[64,64]", "data.workers=0"])
    cnn = detector_cnn(config)
    taught, others = see_images(cnn, config, samples[:16], True), see_images(cnn, config, samples[16:], False)
    settle_on(cnn, taught)
    detector = train_detector(cnn, taught, range(16), boxes[:16])
    found = detect(cnn, detector, others)
    ious = [iou_half_open(one[None], true)[0, 0] for one, true in zip(found, boxes[16:], strict=True)]
    assert np.mean(np.array(ious) >= 0.5) >= 0.75
    again = detect(cnn, train_detector(cnn, taught, range(16), boxes[:16]), others)
    assert np.array_equal(found, again), "the same seed gives the same detector"
