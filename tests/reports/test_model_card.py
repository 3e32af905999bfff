"""What a model card says, and that names of folders cannot become markup."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from cdtr.config import load_config
from cdtr.reports.model_card import model_card
from cdtr.runs import RunFolder
from cdtr.threshold import Threshold, ThresholdSource

MANIFEST = {
    "data": {"format": "neu_det", "classes": 2},
    "splits": {"fit": {"images": 90}, "held_out": {"images": 10}},
    "versions": {"cdtr": "0.1.0"},
}
SCORES = {
    "data": "neu_det",
    "split": "val",
    "protocol": "wsol",
    "n_images": 360,
    "threshold": 0.49,
    "threshold_source": "calibrated on 10 held-out training images",
    "metrics": {"gt_known_loc": 34.44, "top1_loc": 32.1, "top1_cls": 90.0, "pxap": None},
    "intervals": {"gt_known_loc": [30.0, 39.0]},
    "baselines": {"full_image": {"gt_known_loc": 15.8}, "centre_box": None},
}


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    run = RunFolder(tmp_path / "run")
    run.path.mkdir()
    run.config_file.write_text(load_config("small").to_yaml())
    run.classes_file.write_text("dent\nrolled-in_scale\n")
    run.manifest_file.write_text(json.dumps(MANIFEST))
    return run


def test_card_has_data_protocol_threshold_and_scores(run: RunFolder) -> None:
    run.add_scores([SCORES])
    text = model_card(
        run, Threshold(0.49, ThresholdSource.CALIBRATED, "10 held-out training images"), "maria/steel", "maria/steel"
    )
    card = ModelCard(text)
    assert card.data.library_name == "cdtr"
    assert card.data.pipeline_tag == "object-detection"
    results = {result.metric_type: result for result in card.data.eval_results}
    assert results["gt_known_loc"].metric_value == 34.44
    assert results["gt_known_loc"].metric_name == "GT-known Loc, protocol wsol"
    assert results["top1_cls"].dataset_name == "neu_det"
    assert results["top1_cls"].dataset_split == "val"
    assert "Images of `neu_det` data: 90 fit, 10 held out" in text
    assert "2 classes: `dent`, `rolled-in_scale`" in text
    assert "0.49 of the map's maximum: calibrated on 10 held-out training images" in text
    assert "### `val` of `neu_det`, protocol `wsol`" in text
    assert "| GT-known Loc | 34.4 | 30.0–39.0 | 15.8 | - | - |" in text
    assert "PxAP" not in text
    assert 'from_pretrained("maria/steel")' in text


def test_card_without_threshold_and_scores_says_so(run: RunFolder) -> None:
    text = model_card(run, None, "steel")
    assert "no calibrated threshold yet" in text
    assert "Not measured yet" in text
    assert ModelCard(text).data.eval_results is None


def test_card_of_an_imported_run_says_where_the_weights_are_from(run: RunFolder) -> None:
    imported = {"file": "CDTR_CUB.pth", "sha256": "ab12", "model": "CDTR, K = 9"}
    run.manifest_file.write_text(json.dumps({"imported": imported}))
    assert "Weights of CDTR, K = 9, from `CDTR_CUB.pth` (sha256 `ab12`)" in model_card(run, Threshold(0.2), "x")


def test_names_cannot_become_markup(run: RunFolder) -> None:
    run.classes_file.write_text(
        "<script>alert(1)</script>\n`tick`](http://x)\n" + "\n".join(f"c{n}" for n in range(30))
    )
    text = model_card(run, Threshold(0.2, ThresholdSource.CALIBRATED, "<img src=x>"), "a *bold* title")
    assert "`<script>alert(1)</script>`" in text, "inside code nothing is markup"
    assert "`'tick'](http://x)`" in text
    assert "and 12 more" in text
    assert "<img" not in text
    assert r"# a \*bold\* title" in text


def test_maps_of_another_tool_are_named_as_teachers(run: RunFolder) -> None:
    def opening() -> str:
        return next(line for line in model_card(run, None, "steel").splitlines() if line.startswith("Boxes and heat"))

    assert "image-level labels alone: nobody drew a box" in opening()
    maps = ["ocm.prior=maps", "data.prior_maps=maps", "data.prior_maps_taught_with=masks"]
    run.config_file.write_text(load_config("small", maps).to_yaml())
    assert "image-level labels and the maps of another tool, which was taught with: masks" in opening()
    assert "prior maps (masks)" in opening()
    assert "alone" not in opening()


def test_card_names_the_classes_without_an_object(run: RunFolder) -> None:
    line = "Images of these classes have no object and get no box: `dent`"
    assert line not in model_card(run, None, "maria/steel", "maria/steel")
    run.config_file.write_text(load_config("small", ["data.empty_classes=[dent]"]).to_yaml())
    assert line in model_card(run, None, "maria/steel", "maria/steel")
