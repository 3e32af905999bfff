"""Loading a run and localizing with it; the run is written here, untrained."""

from __future__ import annotations

import json
import shutil
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import cdtr
from cdtr.api import DEFAULT_THRESHOLD, choose_threshold
from cdtr.config import load_config
from cdtr.cores import threads_each
from cdtr.data.pixels import View
from cdtr.data.transforms import EvalTransform
from cdtr.errors import CheckpointError, ConfigError, DataError
from cdtr.localization.boxes import threshold_mask
from cdtr.runs import RunFolder
from cdtr.threshold import Threshold
from oracles.untrained_run import write_untrained_run

SETTINGS = (
    "data.input_size=[32, 32]",
    "data.resize=[36, 36]",
    "backbone.overrides={patch_size: 8, embed_dim: 32, depth: 2, num_heads: 2}",
    "ocm.k=2",
    "sba.enabled=false",
)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("api") / "run"
    return write_untrained_run(path, load_config("small", SETTINGS), ("cat", "dog", "emu")).path


@pytest.fixture
def run(written: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(written, tmp_path / "run"))


@pytest.fixture
def picture() -> Image.Image:
    random = np.random.default_rng(1)
    return Image.fromarray(random.integers(0, 256, (40, 60, 3), dtype=np.uint8)).resize((90, 60))


def test_load_model_answers_the_contract_in_eval_mode(run: Path) -> None:
    model = cdtr.load_model(run)
    assert not model.training
    with torch.inference_mode():
        out = model(torch.zeros(2, 3, 32, 32))
    assert out.logits.shape == (2, 3)
    assert out.maps.shape == (2, 3, 4, 4)
    assert out.attention.shape == (2, 4, 4)
    stored = load_file(run / "model.safetensors")
    assert all(torch.equal(value, stored[name]) for name, value in model.state_dict().items())


def test_weights_that_do_not_fit_name_the_tensor(run: Path) -> None:
    (run / "classes.txt").write_text("cat\ndog\n")
    with pytest.raises(CheckpointError, match=r"head\.weight has shape \(3, "):
        cdtr.load_model(run)


def test_missing_tensor_is_named(run: Path) -> None:
    state = load_file(run / "model.safetensors")
    del state["head.bias"]
    save_file(state, run / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"'head\.bias'"):
        cdtr.load_model(run)


@pytest.mark.parametrize("name", ["model.safetensors", "config.yaml", "classes.txt"])
def test_incomplete_run_is_refused_by_the_missing_file(name: str, run: Path) -> None:
    (run / name).unlink()
    with pytest.raises(CheckpointError, match=f"has no {name}"):
        cdtr.load_model(run)


def test_truncated_weights_are_one_clear_error(run: Path) -> None:
    data = (run / "model.safetensors").read_bytes()
    (run / "model.safetensors").write_bytes(data[: len(data) // 2])
    with pytest.raises(CheckpointError, match="cannot be read"):
        cdtr.load_model(run)


def test_mistyped_path_does_not_go_to_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: pytest.fail("went to the hub"))
    (tmp_path / "runs").mkdir()
    with pytest.raises(CheckpointError, match="no run folder runs/nue"):
        cdtr.load_model("runs/nue")


def test_hub_id_is_downloaded(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    asked = []

    def download(hub_id: str, allow_patterns: list[str]) -> str:
        asked.append((hub_id, "model.safetensors" in allow_patterns))
        return str(run)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    assert cdtr.Localizer.from_pretrained("owner/name", threshold=0.3).class_names == ("cat", "dog", "emu")
    assert asked == [("owner/name", True)]


def test_hub_that_cannot_be_reached_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    def fail(*_: object, **__: object) -> str:
        raise ConnectionError("no route")

    monkeypatch.setattr("huggingface_hub.snapshot_download", fail)
    with pytest.raises(CheckpointError, match=r"owner/name is no run folder here.*ConnectionError"):
        cdtr.load_model("owner/name")


def test_every_kind_of_input_gives_the_same_answer(run: Path, picture: Image.Image, tmp_path: Path) -> None:
    picture.save(tmp_path / "p.png")
    localizer = cdtr.Localizer.from_pretrained(run, threshold=0.4)
    results = localizer([tmp_path / "p.png", str(tmp_path / "p.png"), picture, np.asarray(picture)])
    assert [r.image_id for r in results] == [(tmp_path / "p.png").as_posix()] * 2 + ["image-2", "image-3"]
    for result in results:
        assert result.size_hw == (60, 90)
        assert result.map.shape == (60, 90)
        np.testing.assert_array_equal(result.boxes_xyxy, results[0].boxes_xyxy)
        np.testing.assert_array_equal(result.class_probs, results[0].class_probs)
    assert len(localizer(picture)) == 1
    assert localizer([]) == []


def test_folders_tensors_batches_and_generators_are_taken(run: Path, picture: Image.Image, tmp_path: Path) -> None:
    other = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    (tmp_path / "photos" / "deep").mkdir(parents=True)
    picture.save(tmp_path / "photos" / "a10.png")
    other.save(tmp_path / "photos" / "deep" / "b.png")
    arrays = np.stack([np.asarray(picture), np.asarray(other)])
    tensors = torch.from_numpy(arrays).permute(0, 3, 1, 2)
    localizer = cdtr.Localizer.from_pretrained(run, map_location="cpu", threshold=0.4)
    wanted = localizer([picture, other])
    for images in (
        tmp_path / "photos",
        arrays,
        tensors,
        tensors / 255,
        [tensors[0], np.asarray(other)],
        (image for image in (picture, other)),
        [tmp_path / "photos"],
    ):
        found = localizer(images)
        assert len(found) == 2
        for one, same in zip(found, wanted, strict=True):
            np.testing.assert_array_equal(one.boxes_xyxy, same.boxes_xyxy)
            np.testing.assert_array_equal(one.map, same.map)
    assert [Path(one.image_id).name for one in localizer(str(tmp_path / "photos"))] == ["a10.png", "b.png"]


def test_an_endless_generator_is_not_read_far_ahead(run: Path, picture: Image.Image) -> None:
    taken = []
    localizer = cdtr.Localizer.from_pretrained(run, threshold=0.4)

    def endless():  # type: ignore[no-untyped-def]
        while True:
            taken.append(1)
            yield str(len(taken)), picture

    stream = localizer.stream(endless(), batch_size=2)
    assert [next(stream)[1].image_id for _ in range(4)] == ["1", "2", "3", "4"]
    stream.close()
    assert len(taken) <= 4 + 3 * 2, "the batch that is asked for, one in work, one that is decoded"


@pytest.fixture
def threads() -> Iterator[int]:
    """PyTorch's threads, put back afterwards."""
    before = torch.get_num_threads()
    yield before
    torch.set_num_threads(before)


def test_workers_answer_the_same_in_the_same_order(run: Path, picture: Image.Image, threads: int) -> None:
    items = [(str(angle), picture.rotate(angle)) for angle in range(0, 90, 10)]
    alone = cdtr.Localizer.from_pretrained(run, "cpu", threshold=0.4)
    together = cdtr.Localizer.from_pretrained(run, "cpu", threshold=0.4, workers=3)
    assert torch.get_num_threads() == min(threads, threads_each(3))
    barrier = threading.Barrier(3, timeout=30)
    forward = together.method.forward

    def wait_for_the_others(*arguments: Any, **options: Any) -> Any:
        barrier.wait()  # breaks unless three batches are in work at a time
        return forward(*arguments, **options)

    together.method.forward = wait_for_the_others  # type: ignore[method-assign]
    found = list(together.stream(items, batch_size=1))
    assert [one.image_id for _, one in found] == [image_id for image_id, _ in items]
    for (_, one), (_, same) in zip(found, alone.stream(items, batch_size=1), strict=True):
        np.testing.assert_array_equal(one.boxes_xyxy, same.boxes_xyxy)
        np.testing.assert_allclose(one.map, same.map, atol=1e-5)


def test_no_worker_is_refused(run: Path) -> None:
    with pytest.raises(ConfigError, match="0 workers"):
        cdtr.Localizer.from_pretrained(run, workers=0)


def test_half_precision_finds_nearly_the_same(run: Path, picture: Image.Image) -> None:
    whole = cdtr.Localizer.from_pretrained(run, threshold=0.4)(picture)[0]
    half = cdtr.Localizer.from_pretrained(run, threshold=0.4, half=True)(picture)[0]
    assert half.map.dtype == whole.map.dtype == np.float32
    assert half.class_probs.dtype == whole.class_probs.dtype
    np.testing.assert_allclose(half.class_probs, whole.class_probs, atol=0.02)
    assert 0 < np.abs(half.map - whole.map).max() < 0.1, "another precision, the same map"


@pytest.mark.parametrize(
    "image", [torch.rand(3, 8, 8) * 2, torch.rand(3, 8, 8) - 0.5, torch.full((3, 8, 8), float("nan"))]
)
def test_normalised_tensors_are_refused(image: torch.Tensor, run: Path) -> None:
    with pytest.raises(DataError, match="before they are normalised"):
        cdtr.Localizer.from_pretrained(run, threshold=0.4)(image)


def test_a_folder_without_images_is_refused(run: Path, tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError, match="holds no image"):
        cdtr.Localizer.from_pretrained(run, threshold=0.4)(tmp_path / "none")


def test_a_method_that_got_the_prior_from_the_guide_is_loaded(tmp_path: Path) -> None:
    """The guide only teaches, so it is not built again, nor what it taught asked for."""
    config = load_config("small", (*SETTINGS, "method=tscam", "guide.attention=border"))
    run = write_untrained_run(tmp_path / "run", config, ("cat", "dog"))
    assert cdtr.load_model(run.path).guide is None


def test_tiles_are_what_the_recipe_small_sees(run: Path, picture: Image.Image) -> None:
    localizer = cdtr.Localizer.from_pretrained(run, threshold=0.4)
    data = RunFolder(run).config().data
    assert localizer.view == View("tiled", data.input_size, data.resize)
    images = EvalTransform(data, "tiled")(picture)[None]
    (height, width), (full_height, full_width) = data.input_size, data.resize
    starts = [(0, 0), (0, full_width - width), (full_height - height, 0), (full_height - height, full_width - width)]
    starts.append(((full_height - height) // 2, (full_width - width) // 2))
    with torch.inference_mode():
        tiles = torch.cat([images[:, :, top : top + height, left : left + width] for top, left in starts])
        probs = cdtr.load_model(run)(tiles).logits.mean(dim=0).softmax(dim=0).numpy()
    np.testing.assert_allclose(localizer(picture)[0].class_probs, probs, atol=1e-5)
    with pytest.raises(ConfigError, match="the view is 'tile': choose one of"):
        cdtr.Localizer.from_pretrained(run, view="tile")


def test_a_crop_finds_boxes_in_its_part_of_the_image_alone(run: Path, picture: Image.Image) -> None:
    localizer = cdtr.Localizer.from_pretrained(run, threshold=0.0, view="crop")
    left, top, right, bottom = localizer.view.field((picture.height, picture.width))
    found = localizer(picture)[0]
    assert found.map.shape == (picture.height, picture.width)
    x0, y0, x1, y1 = found.boxes_xyxy[0]
    assert round(left) <= x0 < x1 <= round(right)
    assert round(top) <= y0 < y1 <= round(bottom)
    assert (found.map[:, : round(left)] == 0).all()
    assert (found.map[:, round(right) :] == 0).all()


def test_localizer_agrees_with_the_model(run: Path, picture: Image.Image) -> None:
    localizer = cdtr.Localizer.from_pretrained(run, threshold=0.4, view="whole")
    result = localizer(picture)[0]
    with torch.inference_mode():
        images = EvalTransform(RunFolder(run).config().data)(picture)[None]
        probs = cdtr.load_model(run)(images).logits.softmax(dim=1)[0].numpy()
    np.testing.assert_allclose(result.class_probs, probs, atol=1e-5)
    assert result.map_label == probs.argmax()
    assert result.labels.tolist() == [probs.argmax()]
    x0, y0, x1, y1 = result.boxes_xyxy[0]
    above = np.argwhere(result.map > 0.45)
    peak_y, peak_x = np.unravel_index(result.map.argmax(), result.map.shape)
    assert 0 <= x0 < x1 <= 90
    assert 0 <= y0 < y1 <= 60
    assert len(above)
    assert {int(label) for label in localizer(picture, top_k=3)[0].labels} == {0, 1, 2}
    everywhere = localizer(picture, multi=True)[0].boxes_xyxy
    assert any(bx0 <= peak_x < bx1 and by0 <= peak_y < by1 for bx0, by0, bx1, by1 in everywhere)


def test_smallest_area_leaves_small_regions_out_and_those_alone(run: Path, picture: Image.Image) -> None:
    localizer = cdtr.Localizer.from_pretrained(run, threshold=0.8)
    everywhere = localizer(picture, multi=True, min_area_share=0)[0]
    mask = threshold_mask(everywhere.map, 0.8)
    pixels = cv2.connectedComponentsWithStats(mask, connectivity=8)[2][1:, cv2.CC_STAT_AREA]
    assert len(everywhere.boxes_xyxy) == len(pixels) >= 1
    largest = pixels.max() / mask.size
    assert len(localizer(picture, multi=True, min_area_share=largest)[0].boxes_xyxy) == (pixels == pixels.max()).sum()
    assert len(localizer(picture, multi=True, min_area_share=largest + 1e-6)[0].boxes_xyxy) == 0
    assert len(localizer(picture, min_area_share=1)[0].boxes_xyxy) == 1, "without multi the largest stays"
    with pytest.raises(DataError, match="share of the image from 0 to 1"):
        localizer(picture, min_area_share=1.5)


@pytest.mark.parametrize("batch_size", [1, 2, 5, 64])
def test_batch_size_does_not_change_order_or_answers(batch_size: int, run: Path) -> None:
    random = np.random.default_rng(0)
    arrays = [random.integers(0, 256, (20 + i, 30, 3), dtype=np.uint8) for i in range(5)]
    localizer = cdtr.Localizer.from_pretrained(run, threshold=0.4)
    results = localizer(arrays, batch_size=batch_size)
    assert [r.size_hw for r in results] == [(20 + i, 30) for i in range(5)]
    for array, result in zip(arrays, results, strict=True):
        np.testing.assert_allclose(result.class_probs, localizer(array)[0].class_probs, atol=1e-5)


def test_stream_reports_broken_images_and_goes_on(run: Path, picture: Image.Image, tmp_path: Path) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"no")
    picture.save(tmp_path / "good.png")
    broken: list[str] = []
    localizer = cdtr.Localizer.from_pretrained(run, threshold=0.4)
    items = [("bad", tmp_path / "bad.jpg"), ("good", tmp_path / "good.png"), ("gone", tmp_path / "gone.png")]
    found = list(localizer.stream(items, batch_size=2, on_broken=lambda image_id, _: broken.append(image_id)))
    assert [answer.image_id for _, answer in found] == ["good"]
    assert found[0][0].size == (90, 60)
    assert broken == ["bad", "gone"]
    with pytest.raises(DataError, match=r"bad\.jpg"):
        localizer([tmp_path / "good.png", tmp_path / "bad.jpg"])


def test_a_pil_image_that_is_cut_short_is_bad_input(run: Path, picture: Image.Image, tmp_path: Path) -> None:
    picture.save(tmp_path / "whole.jpg")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "whole.jpg").read_bytes()[:-300])
    localizer = cdtr.Localizer.from_pretrained(run, threshold=0.4)
    with Image.open(tmp_path / "cut.jpg") as cut, pytest.raises(DataError, match=r"cannot be decoded .*leave it out"):
        localizer(cut)
    broken: list[str] = []
    with Image.open(tmp_path / "cut.jpg") as cut:
        items = [("cut", cut), ("whole", picture)]
        found = list(localizer.stream(items, on_broken=lambda name, reason: broken.append(name)))
    assert broken == ["cut"]
    assert [answer.image_id for _, answer in found] == ["whole"]


@pytest.mark.parametrize(
    "image",
    [np.zeros((8, 8), np.uint8), np.zeros((8, 8, 4), np.uint8), np.zeros((8, 8, 3), np.float32), 7, torch.zeros(8, 8)],
    ids=["grey", "four channels", "float", "number", "grey tensor"],
)
def test_other_input_is_refused(image: object, run: Path) -> None:
    with pytest.raises(DataError, match=r"expected a path, a PIL image or a uint8 array \(H, W, 3\)"):
        cdtr.Localizer.from_pretrained(run, threshold=0.4)([image])  # type: ignore[list-item]


def test_picture_of_any_mode_is_taken(run: Path, picture: Image.Image) -> None:
    grey = cdtr.Localizer.from_pretrained(run, threshold=0.4)(picture.convert("L"))[0]
    assert grey.size_hw == (60, 90)


def shown(found: Threshold | None) -> tuple[float, str] | None:
    return None if found is None else (found.value, str(found))


def test_threshold_is_given_then_calibrated_then_configured(run: Path) -> None:
    folder = RunFolder(run)
    assert choose_threshold(folder) is None
    folder.config_file.write_text(folder.config().updated(evaluation={"threshold": 0.15}).to_yaml())
    assert shown(choose_threshold(folder)) == (0.15, "evaluation.threshold of the configuration")
    calibration = {"threshold": 0.35, "n_images": 9, "source": "held-out training images"}
    folder.calibration_file.write_text(json.dumps(calibration))
    assert shown(choose_threshold(folder)) == (0.35, "calibrated on 9 held-out training images")
    assert shown(choose_threshold(folder, 0.0)) == (0.0, "given")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert cdtr.Localizer.from_pretrained(run).threshold == 0.35


def test_without_any_threshold_the_default_is_taken_with_a_warning(run: Path) -> None:
    with pytest.warns(UserWarning, match="cdtr calibrate") as caught:
        localizer = cdtr.Localizer.from_pretrained(run)
    assert localizer.threshold == DEFAULT_THRESHOLD == 0.2
    assert sum("cdtr calibrate" in str(one.message) for one in caught) == 1


@pytest.mark.parametrize("threshold", [-0.1, 1.0, float("nan")])
def test_threshold_out_of_range_is_refused(threshold: float, run: Path) -> None:
    with pytest.raises(ConfigError, match="from 0 up to"):
        cdtr.Localizer.from_pretrained(run, threshold=threshold)


@pytest.mark.parametrize("stored", [{}, {"threshold": "high"}, {"threshold": 3}], ids=["none", "text", "large"])
def test_damaged_calibration_is_refused(stored: dict[str, object], run: Path) -> None:
    (run / "calibration.json").write_text(json.dumps(stored))
    with pytest.raises(CheckpointError, match=r"calibration\.json(: threshold)? is"):
        cdtr.Localizer.from_pretrained(run)


def test_stream_looks_for_a_class_at_a_threshold(run: Path, picture: Image.Image) -> None:
    localizer = cdtr.Localizer.from_pretrained(run, threshold=0.4)
    items = [("a", picture), ("b", picture.transpose(Image.Transpose.ROTATE_180)), ("c", picture)]
    for label in range(3):
        for (_, found), (_, again) in zip(
            localizer.stream(items, label=label, threshold=0.7, batch_size=2),
            cdtr.Localizer.from_pretrained(run, threshold=0.7).stream(items, top_k=3),
            strict=True,
        ):
            assert found.map_label == label
            assert set(found.labels.tolist()) == {label}
            np.testing.assert_array_equal(found.boxes_xyxy, again.boxes_xyxy[again.labels == label])
    with pytest.raises(DataError, match="maps of 3 classes"):
        list(localizer.stream(items, label=3))


def test_unknown_device_is_refused(run: Path) -> None:
    with pytest.raises(ConfigError, match="no device 'abacus'"):
        cdtr.load_model(run, "abacus")
