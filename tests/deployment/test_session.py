"""An exported file behind the localizer, against its run; and files that are none."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from PIL import Image

import cdtr
from cdtr.config import ViewName
from cdtr.deployment.facts import METADATA_KEY, Facts, run_facts
from cdtr.deployment.graph import model_bytes, onnx_model
from cdtr.deployment.program import export_program
from cdtr.deployment.session import OnnxModel, is_exported
from cdtr.errors import CheckpointError, ConfigError, DataError
from cdtr.localization.postprocess import MapPostProcessor
from cdtr.localization.prediction import localize_batch
from cdtr.localization.quality import FEATURES, MIRROR, BoxQuality
from cdtr.localization.tile_grid import Tiling
from cdtr.localization.tiles import tiled
from cdtr.records import Localization
from cdtr.runs import RunFolder
from cdtr.threshold import Threshold
from oracles.untrained_run import write_untrained_run


@pytest.fixture(scope="module")
def pictures() -> list[Image.Image]:
    random = np.random.default_rng(5)
    coarse = [random.integers(0, 256, (5, 6, 3), dtype=np.uint8) for _ in range(5)]
    sizes = [(90, 60), (48, 32), (200, 30), (33, 71), (64, 64)]
    return [Image.fromarray(one).resize(size) for one, size in zip(coarse, sizes, strict=True)]


def assert_same(one: list[Localization], other: list[Localization]) -> None:
    for a, b in zip(one, other, strict=True):
        assert a.image_id == b.image_id
        assert a.size_hw == b.size_hw
        assert a.map_label == b.map_label
        assert a.doubts == b.doubts
        np.testing.assert_allclose(a.boxes_xyxy, b.boxes_xyxy, atol=2)
        np.testing.assert_array_equal(a.labels, b.labels)
        np.testing.assert_allclose(a.scores, b.scores, atol=1e-2)
        np.testing.assert_allclose(a.map, b.map, atol=1e-4)
        np.testing.assert_allclose(a.class_probs, b.class_probs, atol=1e-5)


@pytest.mark.parametrize("rules", [{}, {"top_k": 2, "multi": True}], ids=["one box", "many"])
def test_file_localizes_as_its_run(
    run: RunFolder, exported: Path, pictures: list[Image.Image], rules: dict[str, int]
) -> None:
    of_run = cdtr.Localizer.from_pretrained(run.path, threshold=0.4)
    of_file = cdtr.Localizer.from_pretrained(exported)
    assert of_file.class_names == of_run.class_names
    assert of_file.threshold == 0.4
    assert_same(of_file(pictures, batch_size=2, **rules), of_run(pictures, batch_size=2, **rules))
    assert of_file([]) == []
    of_workers = cdtr.Localizer.from_pretrained(exported, workers=2)
    assert_same(of_workers(pictures, batch_size=1, **rules), of_file(pictures, batch_size=1, **rules))


def test_a_file_cuts_large_images_as_its_run(run: RunFolder, exported: Path) -> None:
    """Its metadata have the size of the training images."""
    (run.path / "manifest.json").write_text('{"data": {"image_hw": [50, 60]}}')
    run.calibration_file.write_text('{"threshold": 0.4, "view": "whole", "map_span": 0.01}')
    noted = onnx.load(exported)
    facts = run_facts(run, Threshold(0.4))
    assert facts.input.trained_hw == (50, 60)
    assert facts.map_span == 0.01
    target = exported.with_name("noted.onnx")
    target.write_bytes(model_bytes(noted, facts))
    coarse = np.random.default_rng(7).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    picture = Image.fromarray(coarse).resize((300, 180))
    of_run = cdtr.Localizer.from_pretrained(run.path)
    of_file = cdtr.Localizer.from_pretrained(target)
    assert of_file.scale == of_run.scale
    assert of_run.tiling("auto") == Tiling((50, 60), map_span=0.01)
    found = of_file([picture], tiles=60)
    assert found[0].map.shape < picture.size[::-1]
    assert len(found[0].boxes_xyxy) > 1
    assert_same(found, of_run([picture], tiles=60))
    assert_same(of_file([picture], tiles="auto"), of_run([picture], tiles="auto", multi=True))
    (run.path / "manifest.json").unlink()
    run.calibration_file.unlink()
    of_old = cdtr.Localizer.from_pretrained(run.path, threshold=0.4)
    assert of_old.tiling("auto") == Tiling((40, 60)), "what a run from before says: data.resize"


@pytest.mark.parametrize("view", ["whole", "crop", "tiled"])
def test_a_file_of_each_view_localizes_as_its_run(
    run: RunFolder,
    tmp_path: Path,
    make_method: Callable[..., Any],
    pictures: list[Image.Image],
    view: ViewName,
) -> None:
    """Tiles are cut in the file's network, a crop by what its metadata says."""
    square = {"input_size": (32, 32), "resize": (40, 40)}
    config = run.config().updated(data=square, evaluation={"view": view})
    method = make_method("data.input_size=[32, 32]", "data.resize=[40, 40]")
    run = write_untrained_run(tmp_path / "run", config, run.class_names(), method)
    of_run = cdtr.Localizer.from_pretrained(run.path, threshold=0.4)
    facts, seen = run_facts(run, Threshold(0.4), view), of_run.view
    program = export_program(tiled(of_run.method, seen.input_hw, seen.size_hw), facts.input.size_hw)
    (tmp_path / "model.onnx").write_bytes(model_bytes(onnx_model(program), facts))
    of_file = cdtr.Localizer.from_pretrained(tmp_path / "model.onnx")
    assert facts.format == (2 if view == "crop" else 1)
    assert facts.input.view == view
    assert_same(of_file(pictures), of_run(pictures))
    with pytest.raises(ConfigError, match="leave view out"):
        cdtr.Localizer.from_pretrained(tmp_path / "model.onnx", view="whole")


def test_scores_that_look_twice_do_so_in_the_file_too(
    run: RunFolder, exported: Path, pictures: list[Image.Image]
) -> None:
    names = (*FEATURES, MIRROR)
    ones = (1.0,) * len(names)
    quality = BoxQuality(names, (0.0,) * len(names), ones, ones, (0.0, 0.0, 0.0), -4.0, 40, 0.5)
    of_run = cdtr.Localizer.from_pretrained(run.path, threshold=0.4)
    of_file = cdtr.Localizer.from_pretrained(exported)
    of_run.quality = of_file.quality = quality
    found = of_file(pictures, min_score=0.01)
    assert any(len(one.scores) for one in found)
    assert_same(found, of_run(pictures, min_score=0.01))
    processor = MapPostProcessor(of_file.class_names, 0.4)
    model = OnnxModel(exported)
    labels = [2, 1, 0, 1, 2]
    given = localize_batch(model, processor, pictures, list("abcde"), labels)
    assert [one.map_label for one in given] == labels
    with pytest.raises(DataError, match="labels from 3 to 3"):
        localize_batch(model, processor, pictures[:1], ["a"], [3])


def test_given_threshold_goes_first_and_a_missing_one_is_said(exported: Path, facts: Facts, tmp_path: Path) -> None:
    assert cdtr.Localizer.from_pretrained(exported, threshold=0.7).threshold == 0.7
    with pytest.raises(ConfigError, match="threshold is 1"):
        cdtr.Localizer.from_pretrained(exported, threshold=1)
    bare = rewritten(exported, tmp_path, facts.model_copy(update={"threshold": None}).to_json())
    with pytest.warns(UserWarning, match="no calibrated threshold"):
        assert cdtr.Localizer.from_pretrained(bare).threshold == 0.2


def test_what_only_a_run_has_is_said(exported: Path, tmp_path: Path) -> None:
    localizer = cdtr.Localizer.from_pretrained(exported)
    assert localizer.run is None
    for ask in (
        lambda: localizer.method,
        lambda: localizer.config,
        lambda: localizer.device,
        lambda: localizer.save_pretrained(tmp_path / "out"),
    ):
        with pytest.raises(ConfigError, match="load the run it was made of"):
            ask()


def rewritten(exported: Path, folder: Path, metadata: str | None) -> Path:
    model = onnx.load(exported)
    del model.metadata_props[:]
    if metadata is not None:
        model.metadata_props.add(key=METADATA_KEY, value=metadata)
    onnx.save(model, folder / "changed.onnx")
    return folder / "changed.onnx"


def test_files_of_others_get_one_line(exported: Path, facts: Facts, tmp_path: Path) -> None:
    (tmp_path / "text.onnx").write_text("hello")
    (tmp_path / "empty.onnx").write_bytes(b"")
    (tmp_path / "cut.onnx").write_bytes(exported.read_bytes()[:5000])
    tree = json.loads(facts.to_json())
    cases = [
        (tmp_path / "none.onnx", "no file .*none.onnx"),
        (tmp_path / "text.onnx", "cannot be read as ONNX"),
        (tmp_path / "empty.onnx", "cannot be read as ONNX"),
        (tmp_path / "cut.onnx", "cannot be read as ONNX"),
    ]
    for path, message in cases:
        with pytest.raises(CheckpointError, match=message) as raised:
            cdtr.Localizer.from_pretrained(path)
        assert "\n" not in str(raised.value)
    for metadata, message in (
        (None, "no metadata of cdtr"),
        (json.dumps({**tree, "format": 9}), "install a newer cdtr"),
        (json.dumps({**tree, "class_names": ["cat"]}), "1 classes: export the run again"),
        (json.dumps({**tree, "input": {**tree["input"], "size_hw": [48, 32]}}), "metadata say images"),
    ):
        with pytest.raises(CheckpointError, match=message):
            cdtr.Localizer.from_pretrained(rewritten(exported, tmp_path, metadata))


@pytest.mark.parametrize("device", ["cuda", "cuda:x", "tpu", "cpu:1"])
def test_devices_that_are_not_here(exported: Path, device: str) -> None:
    with pytest.raises(ConfigError, match="no device"):
        cdtr.Localizer.from_pretrained(exported, device)


def test_names_of_files_runs_and_hub_ids(tmp_path: Path) -> None:
    (tmp_path / "run.onnx").mkdir()
    assert is_exported("a/b.onnx")
    assert is_exported("B.ONNX")
    assert not is_exported(tmp_path / "run.onnx")
    assert not is_exported("owner/name")
