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

from cdtr.localization.predictor import Predictor
from cdtr.records import ModelOutput, Sample
from cdtr.reports.panels import SIDE, panel_row
from oracles.toy_methods import ImageIsMap


class WithFactors(ImageIsMap):
    """Its class maps are the image's own channels, so that a panel shows which picture went in."""

    def forward(self, images: Tensor, auxiliary: bool | None = None) -> ModelOutput:
        output = super().forward(images, auxiliary)
        return replace(output, aux={"x_out": images})


@pytest.mark.parametrize("size", [(16, 8), (700, 500)], ids=["small", "large"])
def test_all_panels_are_of_one_pass_over_the_original_picture(size: tuple[int, int]) -> None:
    seen: list[tuple[int, int]] = []

    def transform(image: Image.Image) -> Tensor:
        seen.append(image.size)
        return torch.from_numpy(np.asarray(image.resize((16, 8))).copy()).permute(2, 0, 1).float() / 255

    method = WithFactors()
    predictor = Predictor(method, transform, ("a", "b", "c"), 0.5)
    pixels = np.zeros((size[1], size[0], 3), dtype=np.uint8)
    pixels[: size[1] // 2, : size[0] // 2, 1] = 255
    row = panel_row(predictor, Image.fromarray(pixels), Sample("x.png", Path("x.png"), 1), None, 0.5)
    assert seen == [size]
    assert method.calls == 1
    assert [caption for caption, _ in row.pictures] == ["image", "attention", "class map", "fused map and boxes"]
    assert (row.predicted, row.label, row.iou) == ("b", "b", 0.5)
    for _, uri in row.pictures:
        panel = Image.open(BytesIO(base64.b64decode(uri.partition(",")[2])))
        assert max(panel.size) == SIDE
