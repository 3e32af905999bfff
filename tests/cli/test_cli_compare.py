"""Which images `cdtr compare` takes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from cli_helpers import in_process

from cdtr.records import DataSource, Sample
from cdtr.runs import RunFolder
from cdtr.workflows.compare import choose_common_split


def test_test_goes_before_val(tmp_path: Path) -> None:
    run, samples = RunFolder(tmp_path), (Sample("a.jpg", tmp_path / "a.jpg", 0),)
    splits = {"train": samples, "val": samples, "test": samples}
    for left in ("test", "val"):
        source = DataSource("mine", tmp_path, ("cat",), splits, False, lambda _: None)
        assert choose_common_split(run, run, source, None) == (left, samples)
        del splits[left]


def test_plain_folders_without_boxes_are_compared_by_their_classes(
    tiny_run: Path, neu: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (neu / "train.txt").read_text().split():
        target = tmp_path / "steel" / name.rpartition("_")[0] / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(neu / "IMAGES" / name, target)
    other = Path(shutil.copytree(tiny_run, tmp_path / "other"))
    manifest = json.loads((tiny_run / "manifest.json").read_text())
    held_out = manifest["splits"]["held_out"]
    monkeypatch.setattr("cdtr.workflows.opening.hash_names", lambda _names: held_out["sha256"])  # of another layout
    asked = ("compare", tiny_run, other, "--data", tmp_path / "steel", "--json", tmp_path / "d.json")
    code, out, err = in_process(capsys, *asked)
    assert code == 0, err
    assert f"held-out of {tmp_path / 'steel'}" in out
    assert "no image has a box, so only the classes are compared: --boxes names a file or folder of boxes" in out
    differences = json.loads((tmp_path / "d.json").read_text())["differences"]
    assert differences["top1_cls"]["n_images"] == held_out["images"]
    assert "gt_known_loc" not in differences
    manifest["splits"]["held_out"] = {**held_out, "sha256": "0" * 64}
    (other / "manifest.json").write_text(json.dumps(manifest))
    code, _, err = in_process(capsys, *asked)
    assert code == 2, err
    assert "give as --data a folder with val/CLASS folders of images that neither was trained on" in err


def test_held_out_is_compared_on_only_where_both_held_out_the_same(
    tiny_run: Path, neu: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = Path(shutil.copytree(tiny_run, tmp_path / "other"))
    asked = ("compare", tiny_run, other, "--data", neu, "--split", "held-out")
    code, out, err = in_process(capsys, *asked)
    assert code == 0, err
    assert "12 images" in out, err
    manifest = json.loads((other / "manifest.json").read_text())
    manifest["splits"]["held_out"]["sha256"] = "0" * 64
    (other / "manifest.json").write_text(json.dumps(manifest))
    code, _, err = in_process(capsys, *asked)
    assert code == 2, err
    assert "did not hold out the same images" in err


def test_a_leak_is_told_without_options_that_compare_lacks(
    calibrated: tuple[Path, str], neu: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, _ = calibrated
    code, _, err = in_process(capsys, "compare", run, run, "--data", neu, "--split", "held-out")
    assert code == 2, err
    assert "are among them: compare on another --split" in err
    assert "--threshold" not in err
    assert "--allow-leak" not in err
