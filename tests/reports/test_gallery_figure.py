"""What a figure of pictures shows of each run, and its CSV."""

from __future__ import annotations

import csv
import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from cdtr.config import PaperGallery, load_reproduction
from cdtr.evaluation import find_protocol, image_maps, measure_noise, scored_images
from cdtr.records import Batch, ModelOutput
from cdtr.reports.gallery_figure import (
    ShownData,
    ShownRun,
    gallery_block,
    gallery_data,
    gallery_text,
    noise_data,
    noise_figure,
)
from oracles.toy_methods import ImageIsMap, annotate_from, batch_of, square_map

WSOL, NAMES = find_protocol("wsol"), ("albatross", "barn_owl")
BOXES = {"a": [[92, 92, 132, 132]], "b": [[0, 0, 100, 100]]}
IMAGES = [
    torch.stack([square_map((92, 92, 132, 132), 5), torch.zeros(224, 224)]),
    torch.stack([square_map((0, 0, 40, 40), 5), torch.zeros(224, 224)]),
]


class WithMaps(ImageIsMap):
    def forward(self, images: Tensor, auxiliary: bool | None = None) -> ModelOutput:
        output = super().forward(images, auxiliary)
        attention = images.mean(dim=1) + 0.01
        return ModelOutput(output.logits, output.maps, attention, {"x_out": images, "m_ocm": images[:, 1]})


def batches() -> list[Batch]:
    return [batch_of(IMAGES, [0, 1], ["a", "b"])]


def shown(method: ImageIsMap, noise: bool = False) -> ShownRun:
    annotate = annotate_from(BOXES)
    maps = tuple(image_maps(method, batches(), "cpu"))
    return ShownRun(
        row="cdtr",
        label="CDTR",
        seed=3,
        threshold=0.5,
        view="whole",
        recipe="small",
        scored=tuple(scored_images(method, batches(), annotate, WSOL, 0.5)),
        after=maps,
        before=maps,
        before_note="random weights",
        noise=measure_noise(method, method, batches(), annotate) if noise else None,
    )


def part(*runs: ShownRun) -> ShownData:
    pictures = [Image.new("RGB", (224, 224), (90, 90, 90))] * 2
    return ShownData("cub", "CUB", NAMES, WSOL, pictures, "Two images.", runs)


def labels(spec: PaperGallery, run: ShownRun) -> list[str]:
    return [row.label.replace("\n", " ") for row in gallery_block(spec, part(run)).rows]


def test_one_row_a_panel_and_its_iou() -> None:
    block = gallery_block(PaperGallery(iou=True), part(shown(WithMaps())))
    assert [row.label for row in block.rows] == ["image", "CDTR"]
    assert block.titles == ["albatross", "barn owl"]
    ious = [100 * (one.row.iou_label or 0) for one in shown(WithMaps()).scored]
    assert list(block.rows[1].texts) == [f"{iou:.1f}" for iou in ious]
    assert block.text.startswith("Two images.")
    assert "thresholds (0.50)" in block.text


@pytest.mark.parametrize(
    ("boxes", "green", "red"), [("both", True, True), ("true", False, True), ("none", False, False)]
)
def test_the_boxes_that_the_caption_names(boxes: str, green: bool, red: bool) -> None:
    spec = PaperGallery.model_validate({"boxes": boxes})
    _, row = gallery_block(spec, part(shown(WithMaps()))).rows
    pixels = np.concatenate([np.asarray(one).reshape(-1, 3) for one in row.images])
    colours = {tuple(pixel) for pixel in np.unique(pixels, axis=0).tolist()}
    assert ((60, 220, 90) in colours) == green
    assert ((235, 50, 50) in colours) == red


def test_attention_before_and_after_and_the_kinds_of_noise() -> None:
    spec, run = PaperGallery(panels=("before", "noise"), boxes="true"), shown(WithMaps())
    kinds = "CDTR attention outside the boxes, by kind"
    assert labels(spec, run) == ["image", "CDTR attention before training", "CDTR attention after training", kinds]
    assert labels(spec, replace(run, before=())) == ["image", "CDTR attention after training", kinds]
    text = gallery_block(spec, part(replace(run, before=(), before_note="not known, as it is gone"))).text
    assert "Before training (CDTR): not known, as it is gone." in text


def test_panels_that_a_method_cannot_have_are_left_out() -> None:
    spec = PaperGallery(panels=("map", "pseudo_map", "noise"))
    assert labels(spec, shown(ImageIsMap())) == ["image", "CDTR"]
    assert len(labels(spec, shown(WithMaps()))) == 4


def test_what_is_shown_as_csv() -> None:
    first, second = csv.DictReader(io.StringIO(gallery_data([part(shown(WithMaps()))])))
    assert first["image_id"] == "a"
    assert first["class"] == "albatross"
    assert first["predicted"] == "albatross"
    assert second["class"] == "barn_owl"
    assert second["predicted"] == "albatross"
    assert second["error"] == "part"
    assert first["seed"] == "3"
    assert first["threshold"] == "0.5"
    assert first["protocol"] == "wsol"
    assert first["iou"] == "100.00"


def test_the_noise_as_csv_and_bars() -> None:
    found, parts = load_reproduction("figure-2"), [part(shown(WithMaps(), noise=True))]
    rows = list(csv.DictReader(io.StringIO(noise_data(parts))))
    assert {row["count"] for row in rows if row["images"] == "all"} == {"2"}
    assert {row["count"] for row in rows if row["images"] == "classified correctly"} == {"1"}
    assert {row["kind"] for row in rows} == {"all kinds", "base", "novel", "own"}
    figure = noise_figure(found, parts)
    assert figure is not None
    assert len(figure.axes) == 1
    assert noise_figure(found, [part(shown(WithMaps()))]) is None


def test_the_text_has_the_rule_and_the_notes() -> None:
    found = load_reproduction("figure-13")
    text = gallery_text(found, PaperGallery(), [part(shown(WithMaps()))])
    assert text.startswith("# Fig. 13. ")
    assert "**CUB**: Two images." in text
    assert "The paper names no rule" in text
