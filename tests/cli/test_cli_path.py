"""The way of a user through the commands, each in its own process."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_helpers import in_fixture, in_process, run_cdtr, tiny_settings
from PIL import Image
from pycocotools.coco import COCO

from cdtr.api import Localizer
from cdtr.data.datasets import load_source
from cdtr.data.split import hold_out
from cdtr.evaluation import PROTOCOLS
from cdtr.image_files.paths import content_hash
from cdtr.image_files.written import written_names
from cdtr.runs import RunFolder, hash_names


def test_train_writes_a_run_and_says_what_comes_next(trained: tuple[Path, str], neu: Path) -> None:
    run, printed = trained
    assert {"model.safetensors", "config.yaml", "classes.txt", "manifest.json", "metrics.jsonl"} <= {
        path.name for path in run.iterdir()
    }
    assert f"wrote {run}" in printed
    for verb in ("calibrate", "evaluate", "localize"):
        assert f"cdtr {verb} {run}" in printed


def test_what_comes_next_works_on_plain_class_folders(
    neu: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in (neu / "IMAGES").iterdir():
        target = tmp_path / "steel" / path.name.rpartition("_")[0] / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    monkeypatch.chdir(tmp_path)

    def run_and_list_what_is_next(words: list[object]) -> list[list[object]]:
        code, out, err = in_process(capsys, *words)
        assert code == 0, err
        printed = [
            line.replace("IMAGES", "steel").split()[1:] for line in out.splitlines() if line.startswith("  cdtr ")
        ]
        assert all(next_words[0] != "evaluate" for next_words in printed), "there is nothing to measure on"
        return [[*next_words] for next_words in printed]

    after_training = run_and_list_what_is_next(
        ["train", "steel", "--out", "run", "--config", "small", *tiny_settings()]
    )
    assert [words[0] for words in after_training] == ["localize"], "training has chosen a threshold"
    asked = ["calibrate", "run", "--data", "steel", "--label-free"]
    after_calibration = run_and_list_what_is_next(asked)
    assert [words[0] for words in after_calibration] == ["report", "localize"]
    for words in after_calibration:
        run_and_list_what_is_next(words)
    assert json.loads((tmp_path / "run" / "calibration.json").read_text())["curve"] is None
    assert (tmp_path / "boxes" / "coco.json").is_file()
    assert (tmp_path / "run" / "report.html").is_file()


def test_resume_of_a_finished_run_needs_no_settings_and_changes_no_weight(
    tiny_run: Path, neu: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (tiny_run / "model.safetensors").read_bytes()
    code, _, err = in_process(capsys, "train", neu, "--out", tiny_run, "--resume")
    assert code == 0, err
    assert (tiny_run / "model.safetensors").read_bytes() == before


def test_calibrate_uses_exactly_the_held_out_training_images(calibrated: tuple[Path, str], neu: Path) -> None:
    run, printed = calibrated
    stored = json.loads((run / "calibration.json").read_text())
    config = RunFolder(run).config()
    _, held = hold_out(load_source(neu).splits["train"], config.data.holdout, config.seed)
    assert len(held) == 12  # a quarter of 8 images of 6 classes
    assert stored["n_images"] == len(held)
    assert stored["images_sha256"] == hash_names(sample.image_id for sample in held)
    assert stored["source"] == "held-out training images"
    rates = dict(map(tuple, stored["curve"]))
    assert stored["gt_known_loc"] == rates[stored["threshold"]]
    assert f"wrote {run / 'calibration.json'}" in printed


def test_a_view_that_does_not_fit_is_refused(
    calibrated: tuple[Path, str], neu: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not left without a threshold, or without effect."""
    asked = "evaluate", calibrated[0], "--data", neu, "--view", "whole"
    for more, message in (
        ((), "was calibrated for the view tiled, not whole: leave --view out, give --threshold, or calibrate anew"),
        (("--protocol", "cdtr"), "--view whole: protocol cdtr sees the crop, leave --view out"),
        (("--view", "tile"), "the view is 'tile': choose one of whole, mirrored, crop, tiled"),
    ):
        code, _, error = in_process(capsys, *asked, *more)
        assert code == 2
        assert message in error
    code, out, error = in_process(capsys, *asked, "--threshold", "0.3")
    assert code == 0, error
    assert "view whole" in out


def test_evaluate_prints_and_writes_the_contract(calibrated: tuple[Path, str], neu: Path, tmp_path: Path) -> None:
    run, _ = calibrated
    done = run_cdtr("evaluate", run, "--data", neu, "--json", tmp_path / "numbers.json")
    assert done.returncode == 0, done.stderr
    numbers = json.loads((tmp_path / "numbers.json").read_text())
    assert numbers["protocol"] == "wsol"
    assert numbers["n_images"] == 18
    assert numbers["split"] == "val"
    assert numbers["threshold"] == json.loads((run / "calibration.json").read_text())["threshold"]
    assert numbers["threshold_source"] == "calibrated on 12 held-out training images"
    assert {"top1_loc", "gt_known_loc", "top1_cls", "max_box_acc", "max_box_acc_v2", "mean_iou"} <= set(
        numbers["metrics"]
    )
    assert numbers["metrics"]["pxap"] is None  # NEU-DET has no masks
    assert {"full_image", "centre_box"} <= set(numbers["baselines"])
    shown = re.search(r"GT-known Loc\s+│\s*([\d.]+)\s*│[^│]*│\s*([\d.]+)", done.stdout)
    assert shown is not None
    assert float(shown[1]) == pytest.approx(numbers["metrics"]["gt_known_loc"], abs=0.05)
    assert float(shown[2]) == pytest.approx(numbers["baselines"]["full_image"]["gt_known_loc"], abs=0.05)
    assert "oracle, not a fair score" in done.stdout


def test_training_leaves_a_threshold_that_localize_takes_and_evaluate_names(
    tiny_run: Path, neu: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stored = json.loads((tiny_run / "calibration.json").read_text())
    assert stored["curve"] is stored["box_scores"] is None
    assert stored["view"] == "tiled"
    assert set(stored["by_protocol"]) == {"wsol", "tscam", "sat"}, "cdtr sees a crop, which takes a pass of its own"
    code, out, err = in_process(capsys, "localize", tiny_run, neu / "IMAGES", "--out", tmp_path / "boxes")
    assert code == 0, err
    assert f"boxes in 66 images at threshold {stored['threshold']:.3g}" in out
    assert "warning" not in err
    assert "scores of boxes are class probabilities" in err
    asked = "evaluate", tiny_run, "--data", neu, "--json", tmp_path / "n.json"
    for split, source in (("val", ""), ("held-out", ", 12 of them scored here")):
        code, out, err = in_process(capsys, *asked, "--split", split)
        assert code == 0, err
        numbers = json.loads((tmp_path / "n.json").read_text())
        assert numbers["threshold"] == stored["threshold"]
        assert numbers["threshold_source"] == f"label-free on 12 held-out training images{source}"
        assert numbers["metrics"]["gt_known_loc"] is not None


def test_without_held_out_images_training_names_what_gives_a_threshold(
    neu: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ("train", neu, "--out", tmp_path / "run", "--config", "small", *tiny_settings(), "--set", "data.holdout=0")
    code, _, err = in_process(capsys, *asked)
    assert code == 0, err
    assert "warning: no threshold is chosen, as no image was held out: set `evaluation.threshold`" in err
    assert "a split val that `cdtr calibrate` takes by --split" in err
    assert not (tmp_path / "run" / "calibration.json").exists()
    code, _, err = in_process(capsys, "localize", tmp_path / "run", neu / "IMAGES", "--out", tmp_path / "boxes")
    assert code == 0, err
    assert "with --label-free where there are no boxes, or give --threshold" in err


def test_evaluate_without_calibration_gives_no_threshold_metric_and_says_so(
    uncalibrated: Path, neu: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = in_process(capsys, "evaluate", uncalibrated, "--data", neu, "--json", tmp_path / "n.json")
    assert code == 0, err
    metrics = json.loads((tmp_path / "n.json").read_text())["metrics"]
    assert metrics["gt_known_loc"] is None
    assert metrics["max_box_acc"] is not None
    assert "cdtr calibrate" in out


def test_evaluate_data_without_boxes_measures_classes_only(
    tiny_run: Path, neu: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for image in (neu / "IMAGES").iterdir():
        target = tmp_path / "sorted" / "val" / image.stem.rpartition("_")[0] / image.name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(image.read_bytes())
    code, _, err = in_process(
        capsys, "evaluate", tiny_run, "--data", tmp_path / "sorted", "--json", tmp_path / "n.json"
    )
    assert code == 0, err
    numbers = json.loads((tmp_path / "n.json").read_text())
    assert numbers["n_images"] == 66
    assert numbers["metrics"]["top1_cls"] is not None
    assert numbers["metrics"]["max_box_acc"] is None
    largest = numbers["baselines"].pop("largest_class")
    assert numbers["baselines"] == {"full_image": None, "centre_box": None}
    assert (largest["top1_cls"], largest["mean_recall"]) == pytest.approx((100 / 6, 100 / 6)), "11 of each of 6 classes"


@pytest.mark.parametrize("split", ["train", "held-out"])
def test_evaluate_refuses_images_the_threshold_was_chosen_on(
    split: str, calibrated: tuple[Path, str], neu: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, _ = calibrated
    asked = ("evaluate", run, "--data", neu, "--split", split, "--json", tmp_path / "n.json")
    code, _, err = in_process(capsys, *asked)
    assert code == 2
    assert "was chosen on held-out training images, and 12 of these images are among them" in err
    assert not (tmp_path / "n.json").exists()
    code, _, err = in_process(capsys, *asked, "--threshold", "0.3")
    assert code == 0, err
    assert json.loads((tmp_path / "n.json").read_text())["threshold_source"] == "given"
    code, _, err = in_process(capsys, *asked, "--allow-leak")
    assert code == 0, err
    assert json.loads((tmp_path / "n.json").read_text())["threshold_source"].startswith("oracle: ")


def test_evaluate_finds_a_copy_of_a_calibration_image_under_another_name(
    calibrated: tuple[Path, str], neu: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, _ = calibrated
    chosen_on = set(json.loads((run / "calibration.json").read_text())["contents"])
    copied = tmp_path / "neu"
    shutil.copytree(neu, copied)
    leaked = next(path for path in sorted((neu / "IMAGES").iterdir()) if content_hash(path) in chosen_on)
    target = copied / "IMAGES" / (copied / "val.txt").read_text().split()[0]
    target.unlink()
    shutil.copy(leaked, target)
    code, _, err = in_process(capsys, "evaluate", run, "--data", copied)
    assert code == 2
    assert "1 of these images are among them" in err


def test_calibrate_leaves_out_what_a_split_for_scores_has_too(
    calibrated: tuple[Path, str], neu: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Brain Tumor has such copies in the original; the run can be scored all the same."""
    run, copied = shutil.copytree(calibrated[0], tmp_path / "run"), shutil.copytree(neu, tmp_path / "neu")
    chosen_on = set(json.loads((run / "calibration.json").read_text())["contents"])
    leaked = [path for path in sorted((neu / "IMAGES").iterdir()) if content_hash(path) in chosen_on][:2]
    for name, path in zip((copied / "val.txt").read_text().split(), leaked, strict=False):
        shutil.copy(path, copied / "IMAGES" / name)
    code, _, err = in_process(capsys, "calibrate", run, "--data", copied)
    assert code == 0, err
    assert "2 of the 12 held-out training images are also in val: the threshold is not chosen on them" in err
    assert json.loads((run / "calibration.json").read_text())["n_images"] == 10
    code, _, err = in_process(capsys, "evaluate", run, "--data", copied)
    assert code == 0, err


def test_calibrate_refuses_the_training_images_and_takes_another_split(
    calibrated: tuple[Path, str], neu: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(calibrated[0], run)
    code, _, err = in_process(capsys, "calibrate", run, "--data", neu, "--split", "train")
    assert code == 2, err
    assert "the run was fitted to it" in err
    code, out, err = in_process(capsys, "calibrate", run, "--data", neu, "--split", "val")
    assert code == 0, err
    assert "images of val" in out
    code, _, err = in_process(capsys, "evaluate", run, "--data", neu, "--split", "val")
    assert code == 2, err
    assert "was chosen on images of val" in err


def test_all_protocols_from_one_forward_pass(
    calibrated: tuple[Path, str], neu: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, _ = calibrated
    asked = ("evaluate", run, "--data", neu, "--json", tmp_path / "n.json")
    code, out, err = in_process(capsys, *asked, "--protocol", "all", "--per-class", "--figures", tmp_path / "figures")
    assert code == 0, err
    assert out.count("rolled-in_scale") == len(PROTOCOLS)
    pictures = sorted(path.name for path in (tmp_path / "figures").glob("*.png"))
    assert written_names(tmp_path / "figures") == set(pictures), "below the data they are nobody's class"
    assert pictures == sorted(f"{name}-{figure}.png" for name in PROTOCOLS for figure in ("iou", "threshold"))
    for name in pictures:
        Image.open(tmp_path / "figures" / name).verify()
    found = json.loads((tmp_path / "n.json").read_text())["protocols"]
    assert list(found) == ["wsol", "tscam", "sat", "cdtr"]
    assert all(name in out for name in found)
    assert len({result["metrics"]["top1_cls"] for result in found.values()}) == 1
    code, _, err = in_process(capsys, *asked, "--protocol", "sat")
    assert code == 0, err
    assert json.loads((tmp_path / "n.json").read_text())["metrics"] == found["sat"]["metrics"]
    low, high = found["wsol"]["intervals"]["top1_cls"]
    assert low <= found["wsol"]["metrics"]["top1_cls"] <= high


def evaluate_in_processes(count: int, run: Path, data: Path, out: Path) -> dict[str, Any]:
    """The numbers of `cdtr evaluate` spread over processes, started as a launcher starts them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"WORLD_SIZE": count, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "ACCELERATE_USE_CPU": "true"}
    command = [sys.executable, "-m", "cdtr", "evaluate", run, "--data", data, "--protocol", "all", "--json", out]
    processes = [
        subprocess.Popen(
            list(map(str, command)),
            env={**os.environ, "OMP_NUM_THREADS": "1", **{k: str(v) for k, v in shared.items()}, "RANK": str(rank)}
            | {"LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(count)
    ]
    printed = [process.communicate(timeout=240)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * count, printed
    assert [("GT-known Loc" in text) for text in printed] == [True] + [False] * (count - 1)
    numbers: dict[str, Any] = json.loads(out.read_text())
    return numbers


def flat_numbers(tree: Any, path: str = "") -> dict[str, Any]:
    if isinstance(tree, dict | list):
        items = tree.items() if isinstance(tree, dict) else enumerate(tree)
        return {name: value for key, part in items for name, value in flat_numbers(part, f"{path}/{key}").items()}
    return {path: tree}


def test_one_two_and_four_processes_give_the_same_numbers(
    calibrated: tuple[Path, str], neu: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """18 images do not divide into four."""
    run, _ = calibrated
    code, _, err = in_process(
        capsys, "evaluate", run, "--data", neu, "--protocol", "all", "--json", tmp_path / "1.json"
    )
    assert code == 0, err
    alone = flat_numbers(json.loads((tmp_path / "1.json").read_text()))
    for count in (2, 4):
        several = flat_numbers(evaluate_in_processes(count, run, neu, tmp_path / f"{count}.json"))
        assert several.keys() == alone.keys()
        for name, value in alone.items():
            # Batches of another size round the network's answers otherwise in the last bits.
            assert several[name] == (pytest.approx(value, abs=1e-3) if isinstance(value, float) else value), name


def test_compare_prints_and_writes_paired_differences(
    calibrated: tuple[Path, str], neu: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, _ = calibrated
    code, out, err = in_process(capsys, "compare", run, run, "--data", neu, "--json", tmp_path / "d.json")
    assert code == 0, err
    assert "GT-known Loc" in out
    differences = json.loads((tmp_path / "d.json").read_text())["differences"]
    assert {one["difference"] for one in differences.values()} == {0}
    assert {one["p_value"] for one in differences.values()} == {1}
    other = Path(shutil.copytree(run, tmp_path / "other"))
    stored = json.loads((other / "calibration.json").read_text())
    (other / "calibration.json").write_text(json.dumps({**stored, "threshold": 0.9}))
    for pair in ((run, other), (other, run)):
        code, _, err = in_process(capsys, "compare", *pair, "--data", neu, "--json", tmp_path / f"{pair[0].name}.json")
        assert code == 0, err
    there, back = (
        json.loads((tmp_path / f"{name}.json").read_text())["differences"]["mean_iou"] for name in (run.name, "other")
    )
    assert there["difference"] != 0
    assert there["difference"] == -back["difference"]
    assert there["a"] == back["b"]
    assert there["b"] == back["a"]
    assert there["difference"] == pytest.approx(there["b"] - there["a"])
    for name, threshold in (("a", stored["threshold"]), ("b", 0.9)):
        at = ("evaluate", run, "--data", neu, "--threshold", threshold, "--json", tmp_path / "alone.json")
        code, _, err = in_process(capsys, *at)
        assert code == 0, err
        alone = json.loads((tmp_path / "alone.json").read_text())["metrics"]["mean_iou"]
        assert there[name] == pytest.approx(alone, rel=1e-12), "the sum of the same values, in another order"


def test_score_reads_anybody_s_maps(
    neu: Path, real_neu: Path | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = load_source(neu)
    for sample in source.splits["val"]:
        annotation = source.annotate(sample)
        assert annotation is not None
        one = np.zeros((200, 200), dtype=np.float32)
        x0, y0, x1, y1 = annotation.boxes_xyxy[0].astype(int)
        one[y0:y1, x0:x1] = 1
        path = tmp_path / "maps" / Path(sample.image_id).with_suffix(".npy")
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, one)
    asked = ("score", tmp_path / "maps", "--data", neu, "--threshold", "0.5", "--protocol", "all")
    code, out, err = in_process(capsys, *asked, "--json", tmp_path / "n.json")
    assert code == 0, err
    assert "one forward pass" not in out
    assert "wsol" in out
    found = json.loads((tmp_path / "n.json").read_text())["protocols"]
    assert found["wsol"]["metrics"]["gt_known_loc"] == found["tscam"]["metrics"]["max_box_acc"] == 100
    missed = found["cdtr"]["metrics"]["gt_known_loc"] < 100
    assert missed is (real_neu is not None), "of the real boxes, not of the drawn, one lies outside of the crop"
    assert found["wsol"]["metrics"]["top1_cls"] is None
    next((tmp_path / "maps" / "IMAGES").iterdir()).unlink()
    code, _, err = in_process(capsys, *asked)
    assert code == 2, err
    assert "lacks the maps of 1 of 18 images" in err
    assert len(err.strip().splitlines()) == 1


def test_score_needs_no_images_where_lists_have_the_sizes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lists, maps = tmp_path / "lists", tmp_path / "maps"
    lists.mkdir()
    maps.mkdir()
    (lists / "image_ids.txt").write_text("a.jpg\nb.jpg\n")
    (lists / "class_labels.txt").write_text("a.jpg,0\nb.jpg,1\n")
    (lists / "image_sizes.txt").write_text("a.jpg,448,448\nb.jpg,448,224\n")
    (lists / "localization.txt").write_text("a.jpg,20,20,198,198\nb.jpg,20,20,60,60\n")
    one = np.zeros((224, 224))
    one[10:100, 10:100] = 1
    for name in ("a", "b"):
        np.save(maps / f"{name}.npy", one)
    code, out, err = in_process(
        capsys, "score", maps, "--data", lists, "--threshold", "0.5", "--json", tmp_path / "n.json"
    )
    assert code == 0, err
    assert "no class scores were given" in out
    numbers = json.loads((tmp_path / "n.json").read_text())
    assert numbers["n_images"] == 2
    assert numbers["metrics"]["gt_known_loc"] == 50
    assert numbers["metrics"]["max_box_acc"] == 50


def test_localize_writes_boxes_heat_maps_and_overlays(calibrated: tuple[Path, str], neu: Path, tmp_path: Path) -> None:
    run, _ = calibrated
    photos = tmp_path / "photos [1]"
    images = sorted((neu / "IMAGES").iterdir())[:4]
    for index, image in enumerate(images):
        target = photos / f"day {index % 2}" / f"{index // 2}.jpg"  # the same base names in two folders
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(image.read_bytes())
    (photos / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    out = tmp_path / "out"
    done = run_cdtr("localize", run, photos, "--out", out, "--format", "coco,csv", "--heatmaps", "--overlays")
    assert done.returncode == 0, done.stderr
    assert "left out broken.png" in done.stderr
    assert "1 could not be read" in done.stdout
    ids = {"day 0/0.jpg", "day 0/1.jpg", "day 1/0.jpg", "day 1/1.jpg"}
    coco = COCO(str(out / "coco.json"))
    assert {image["file_name"] for image in coco.imgs.values()} == ids
    expected = Localizer.from_pretrained(run, "cpu")(images[0])[0]
    first = next(image["id"] for image in coco.imgs.values() if image["file_name"] == "day 0/0.jpg")
    boxes = np.array([found["bbox"] for found in coco.anns.values() if found["image_id"] == first]).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    np.testing.assert_allclose(boxes, expected.boxes_xyxy, atol=1e-3)
    with (out / "boxes.csv").open(newline="", encoding="utf-8") as file:
        assert {row["image"] for row in csv.DictReader(file)} == ids
    assert {path.relative_to(out / "heatmaps").as_posix() for path in (out / "heatmaps").rglob("*.png")} == {
        f"{name}.png" for name in ids
    }
    for name in ids:
        assert Image.open(out / "overlays" / f"{name}.jpg").size == (200, 200)


def test_localize_leaves_regions_below_the_smallest_area_out(
    tiny_run: Path, neu: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    counts = {}
    for share in ("0", "0.2", "1"):
        out = tmp_path / share
        asked = ("localize", tiny_run, neu / "IMAGES", "--out", out, "--threshold", "0.8", "--multi")
        code, _, err = in_process(capsys, *asked, "--min-area", share)
        assert code == 0, err
        counts[share] = len(json.loads((out / "coco.json").read_text())["annotations"])
    assert counts["0"] > counts["0.2"] >= counts["1"] == 0


def test_describe_tells_settings_threshold_and_size(
    calibrated: tuple[Path, str], capsys: pytest.CaptureFixture[str]
) -> None:
    run, _ = calibrated
    code, out, err = in_process(capsys, "describe", run)
    assert code == 0, err
    threshold = json.loads((run / "calibration.json").read_text())["threshold"]
    assert f"threshold: {threshold:g}, calibrated on 12 held-out training images" in out
    assert "classes: 6 (crazing, inclusion, patches" in out
    assert "neu_det data, 36 fit, 12 held out images" in out
    assert "preset: small" in out
    changed = out.partition("settings changed from those of small:\n")[2].partition("versions:")[0]
    assert "  train.batch_size = 16" in changed
    assert "guide.enabled" not in changed, "the preset's own"
    assert "ocm.prior" not in changed
    assert "train.betas" not in out  # as the default
    total = sum(parameter.numel() for parameter in Localizer.from_pretrained(run).method.parameters())
    assert f"parameters: {total:,}" in out


@pytest.fixture(scope="module")
def clip(neu: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A small CLIP, and what `cdtr train-clip` printed."""
    out = tmp_path_factory.mktemp("small") / "clip"
    small = ("--set", "data.workers=0", "--set", "data.holdout=0.25")
    return out, in_fixture("train-clip", neu, "--out", out, "--epochs", "1", *small)[0]


def test_train_clip_measures_the_fit_on_held_out_images(clip: tuple[Path, str]) -> None:
    assert "CLIP fit on 12 held-out training images" in clip[1]


def test_train_with_a_clip_of_its_own(
    clip: tuple[Path, str], neu: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = [*tiny_settings(), "--set", "sba.enabled=true", "--set", f"sba.model={clip[0]}"]
    code, _, err = in_process(capsys, "train", neu, "--out", tmp_path / "run", "--config", "small", *settings)
    assert code == 0, err
    logged = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert np.isfinite(logged[-1]["terms"]["sba"])
