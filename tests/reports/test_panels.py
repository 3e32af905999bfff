"""The row of panels: one pass over the picture as it is, and maps of that pass."""

from __future__ import annotations

import base64
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from cdtr.localization.presence import EmptyClasses
from cdtr.localization.torch_model import TorchModel
from cdtr.records import Annotation, ModelOutput, Sample
from cdtr.reports.panels import SIDE, Panel, attention_row, panel_row
from oracles.toy_methods import ImageIsMap


class WithFactors(ImageIsMap):
    """Its class maps are the image's own channels, so that a panel shows which picture went in."""

    def forward(self, images: Tensor, auxiliary: bool | None = None) -> ModelOutput:
        output = super().forward(images, auxiliary)
        return replace(output, aux={"x_out": images, "m_ocm": images[:, 1]})


def predictor_of(method: ImageIsMap, seen: list[tuple[int, int]] | None = None) -> TorchModel:
    def transform(image: Image.Image) -> Tensor:
        if seen is not None:
            seen.append(image.size)
        return torch.from_numpy(np.asarray(image.resize((16, 8))).copy()).permute(2, 0, 1).float() / 255

    return TorchModel(method, transform, ("a", "b", "c"))


def half_green(size: tuple[int, int]) -> Image.Image:
    pixels = np.zeros((size[1], size[0], 3), dtype=np.uint8)
    pixels[: size[1] // 2, : size[0] // 2, 1] = 255
    return Image.fromarray(pixels)


def drawn(panel: Panel) -> Image.Image:
    return Image.open(BytesIO(base64.b64decode(panel.uri.partition(",")[2])))


@pytest.mark.parametrize("size", [(16, 8), (700, 500), (3, 900)], ids=["small", "large", "thin"])
def test_all_panels_are_of_one_pass_over_the_original_picture(size: tuple[int, int]) -> None:
    seen: list[tuple[int, int]] = []
    method = WithFactors()
    sample = Sample("x.png", Path("x.png"), 1)
    row = panel_row(predictor_of(method, seen), 0.5, half_green(size), sample, None, 0.5)
    assert seen == [size]
    assert method.calls == 1
    assert [panel.kind for panel in row.panels] == ["image", "attention", "class_map", "pseudo_map", "fused"]
    assert row.predicted == "b"
    assert row.label == "b"
    assert row.iou == 0.5
    assert row.panels[0].alt == "x.png (boxes found: 1, no true box known)"
    assert row.panels[-1].alt == "fused map for b over x.png"
    assert {max(drawn(panel).size) for panel in row.panels} == {SIDE}


def test_method_without_modules_has_fewer_panels() -> None:
    sample = Sample("x.png", Path("x.png"), 1)
    row = panel_row(predictor_of(ImageIsMap()), 0.5, half_green((32, 16)), sample, None, None)
    assert [panel.kind for panel in row.panels] == ["image", "attention", "fused"]


def test_boxes_are_drawn_on_every_panel_at_its_scale() -> None:
    sample, annotation = Sample("x.png", Path("x.png"), 1), Annotation(np.array([[40.0, 20.0, 60.0, 40.0]]))
    row = panel_row(predictor_of(WithFactors()), 0.5, half_green((80, 40)), sample, annotation, 0.0)
    assert row.panels[0].alt == "x.png (boxes found: 1, true boxes: 1)"
    for panel in row.panels:
        pixels = np.asarray(drawn(panel)).astype(int)
        corner = pixels[60:63, 120:123].mean(axis=(0, 1))  # of the true box, at three times the picture's size
        assert corner[0] > corner[2] + 40, panel.kind
        found = pixels[30, :3].mean(axis=0)  # the found box's left side
        assert found[1] > found[0] + 40, panel.kind


def test_attention_before_and_after_is_that_of_each_method() -> None:
    before, after = WithFactors(), WithFactors()
    sample = Sample("x.png", Path("x.png"), 1)
    pictures = attention_row(predictor_of(before), predictor_of(after), half_green((16, 8)), sample, None)
    assert [panel.kind for panel in pictures] == ["image", "before", "after"]
    assert before.calls == 1
    assert after.calls == 1
    alone = attention_row(None, predictor_of(after), half_green((16, 8)), sample, None)
    assert [panel.kind for panel in alone] == ["image", "after"]


def test_an_image_without_an_object_gets_no_box_in_any_panel() -> None:
    sample, image = Sample("x.png", Path("x.png"), 1), half_green((80, 40))
    row = panel_row(predictor_of(WithFactors()), 0.5, image, sample, None, None, EmptyClasses((1,)))
    assert row.panels[0].alt == "x.png (boxes found: 0, no true box known)"
    assert row.predicted == "b"
