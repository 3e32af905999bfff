"""Attention outside the true boxes, of two methods on the same images."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from cdtr.evaluation import measure_noise
from cdtr.records import Annotation, Batch, ModelOutput, Sample
from oracles.toy_methods import annotate_from, batch_of

BOX = [[0.0, 0.0, 4.0, 8.0]]  # the left half
IMAGES = {name: torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(1)) for name in ("a", "b", "c", "d")}
BOXES = {"a": BOX, "b": [[0.0, 0.0, 2.0, 8.0]], "c": [[0.0, 0.0, 8.0, 8.0]]}  # c leaves nothing outside, d has none


class Looks(nn.Module):
    """Attention of 1 in the left half, of ``right`` in the right one."""

    def __init__(self, right: float, scores: Tensor | None = None) -> None:
        """scores: (C,) of the class head at the patches of the right half; 0 in the left one."""
        super().__init__()
        self.right = right
        self.scores = scores

    def forward(self, images: Tensor, auxiliary: bool | None = None) -> ModelOutput:
        attention = torch.ones(len(images), 8, 8)
        attention[:, :, 4:] = self.right
        aux = {}
        if self.scores is not None:
            aux["x_out"] = torch.zeros(len(images), len(self.scores), 8, 8)
            aux["x_out"][..., 4:] = self.scores[:, None, None]
        return ModelOutput(images.mean(dim=(2, 3)), images, attention, aux)


def batches() -> list[Batch]:
    names = list(IMAGES)
    return [batch_of([IMAGES[name] for name in pair], [0, 1], pair) for pair in (names[:2], names[2:])]


def test_shares_before_and_after() -> None:
    seen: list[int] = []
    noise = measure_noise(Looks(0.25), Looks(1.0), batches(), annotate_from(BOXES), "cpu", seen.append)
    assert noise is not None
    assert noise.image_ids == ("a", "b")
    assert noise.area.tolist() == pytest.approx([0.5, 0.75])
    assert noise.before is not None
    assert noise.before.tolist() == pytest.approx([0.5, 0.75]), "attention that is the same everywhere"
    assert noise.after.tolist() == pytest.approx([0.2, 0.6])
    assert noise.less_after == 100
    assert len(seen) == 8


def test_without_a_start_only_the_trained_method_is_measured() -> None:
    noise = measure_noise(Looks(0.0), None, batches(), annotate_from(BOXES))
    assert noise is not None
    assert noise.before is None
    assert noise.less_after is None
    assert noise.after.tolist() == pytest.approx([0.0, 0.5])


def test_no_boxes_no_noise() -> None:
    def none(sample: Sample) -> Annotation | None:
        return None

    assert measure_noise(Looks(1.0), None, batches(), none) is None


def test_the_kinds_are_those_that_the_trained_method_recognises() -> None:
    """Image a has the label 0 and the left half as its box, b the label 1 and the left quarter."""
    trained = Looks(0.25, torch.tensor([0.0, 9.0, 0.0]))  # class 1 in the right half, nothing in the left one
    untrained = Looks(1.0, torch.tensor([9.0, 0.0, 0.0]))
    noise = measure_noise(trained, untrained, batches(), annotate_from(BOXES))
    assert noise is not None
    base, novel, own = (noise.kinds[kind] for kind in ("base", "novel", "own"))
    assert base.area.tolist() == pytest.approx([0.5, 0])
    assert base.after.tolist() == pytest.approx([0.2, 0])
    assert own.after.tolist() == pytest.approx([0, 0.2])
    assert novel.after.tolist() == pytest.approx([0, 0.4])
    assert novel.area.tolist() == pytest.approx([0, 0.25])
    assert base.before is not None
    assert own.before is not None
    assert base.before.tolist() == pytest.approx([0.5, 0])
    assert own.before.tolist() == pytest.approx([0, 0.5])


def test_a_method_without_class_maps_has_no_kinds() -> None:
    noise = measure_noise(Looks(0.25), Looks(1.0), batches(), annotate_from(BOXES))
    assert noise is not None
    assert noise.kinds == {}
