"""`cdtr export`, and its files where PyTorch is not installed."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from cli_helpers import in_process, run_cdtr
from PIL import Image

import cdtr

NEEDS_TORCH = ("torch", "torchvision", "timm", "accelerate", "open_clip", "safetensors", "huggingface_hub")
FORMATS = "coco,coco-results,csv,cvat,fiftyone,label-studio,masks,voc,yolo"
FILES = {"coco.json", "coco_results.json", "boxes.csv", "cvat.xml", "review.csv"}
FOLDERS = {"fiftyone", "label_studio", "masks", "voc", "yolo", "heatmaps", "overlays"}


@pytest.fixture(scope="module")
def without_torch(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a process in which no import of PyTorch and its kin succeeds."""
    folder = tmp_path_factory.mktemp("blocker")
    (folder / "sitecustomize.py").write_text(
        "import sys\n\n\nclass Blocker:\n    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.split('.')[0] in {NEEDS_TORCH!r}:\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n\n\n"
        "sys.meta_path.insert(0, Blocker())\n"
    )
    return {"PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])}


@pytest.fixture(scope="module")
def scored_run(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a threshold and scores of boxes, set by hand: the few images at hand would not do to fit any."""
    run = Path(shutil.copytree(tiny_run, tmp_path_factory.mktemp("runs") / "scored"))
    scores = {"features": ["class", "contrast", "size"], "mean": [0, 0, 0], "scale": [1, 1, 1]}
    scores |= {
        "weights": [0.5, 1, -0.5],
        "class_weights": [0.0] * 6,
        "intercept": -0.5,
        "n_images": 40,
        "hit_rate": 0.5,
    }
    calibration = {"source": "held-out training images", "n_images": 40, "threshold": 0.4, "box_scores": scores}
    (run / "calibration.json").write_text(json.dumps(calibration))
    return run


@pytest.fixture(scope="module")
def exported(scored_run: Path, neu: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, str]:
    """The run, the folder with its files, and what the command printed."""
    out = tmp_path_factory.mktemp("files")
    done = run_cdtr(
        "export", scored_run, "--onnx", out / "neu.onnx", "--int8", "--data", neu, "--split", "val", "--images", 12
    )
    assert done.returncode == 0, done.stderr
    return scored_run, out, done.stdout


def rows(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as lines:
        return list(csv.DictReader(lines))


def same_boxes(printed: str, count: int) -> list[int]:
    """A map that is a millionth off may move a box by a pixel, so not all need be the same on every machine."""
    return [int(found) for found in re.findall(rf"(\d+) of {count} boxes the same", printed)]


def test_files_are_written_checked_and_described(exported: tuple[Path, Path, str]) -> None:
    run, out, printed = exported
    assert sorted(path.name for path in out.iterdir()) == ["neu.int8.onnx", "neu.onnx"]
    assert "ONNX: largest difference from the run" in printed
    assert min(same_boxes(printed, 12)) >= 11
    assert "int8-dynamic: IoU with float32's boxes" in printed
    session = onnxruntime.InferenceSession(str(out / "neu.onnx"), providers=["CPUExecutionProvider"])
    facts = json.loads(session.get_modelmeta().custom_metadata_map["cdtr"])
    assert facts["threshold"] == 0.4
    assert facts["threshold_source"] == "calibrated on 40 held-out training images"
    assert facts["box_scores"] == json.loads((run / "calibration.json").read_text())["box_scores"]
    assert facts["class_names"] == (run / "classes.txt").read_text().splitlines()
    assert facts["input"]["size_hw"] == [64, 64]
    assert facts["precision"] == "float32"
    assert session.get_modelmeta().producer_name == "cdtr"
    content = (out / "neu.onnx").read_bytes() + (out / "neu.int8.onnx").read_bytes()
    assert str(run.parent).encode() not in content


def test_localizing_needs_no_torch_and_answers_as_the_run(
    exported: tuple[Path, Path, str], neu: Path, without_torch: dict[str, str], tmp_path: Path
) -> None:
    run, out, _ = exported
    pictures = [neu / "IMAGES" / name for name in (neu / "val.txt").read_text().split()[:4]]
    wanted = ("--format", FORMATS, "--heatmaps", "--overlays", "--multi", "--top-k", 2, "--min-score", 0.01)
    blocked = run_cdtr("localize", run, *pictures, "--out", tmp_path / "none", env=without_torch)
    assert blocked.returncode == 2
    assert "needs PyTorch, which is not installed" in blocked.stderr
    done = run_cdtr("localize", out / "neu.onnx", *pictures, "--out", tmp_path / "file", *wanted, env=without_torch)
    assert done.returncode == 0, done.stderr
    of_run = run_cdtr("localize", run, *pictures, "--out", tmp_path / "run", *wanted)
    assert of_run.returncode == 0, of_run.stderr
    names = sorted(path.relative_to(tmp_path / "run") for path in (tmp_path / "run").rglob("*"))
    assert sorted(path.relative_to(tmp_path / "file") for path in (tmp_path / "file").rglob("*")) == names
    assert {path.name for path in (tmp_path / "file").iterdir()} >= FILES | FOLDERS
    ours, theirs = (rows(tmp_path / which / "boxes.csv") for which in ("file", "run"))
    assert len(ours) >= 4
    for one, other in zip(ours, theirs, strict=True):
        assert float(one.pop("score")) == pytest.approx(float(other.pop("score")), abs=1e-2)
        corners = [[float(row.pop(name)) for name in ("x_min", "y_min", "x_max", "y_max")] for row in (one, other)]
        assert corners[0] == pytest.approx(corners[1], abs=2)
        assert one == other
    ours, theirs = (rows(tmp_path / which / "review.csv") for which in ("file", "run"))
    assert [row["reasons"] for row in ours] == [row["reasons"] for row in theirs]
    assert len(ours) == 4
    for drawn in (tmp_path / "run" / "heatmaps").iterdir():
        both = [np.asarray(Image.open(tmp_path / which / "heatmaps" / drawn.name)) for which in ("file", "run")]
        assert np.abs(both[0].astype(int) - both[1]).mean() < 0.1


def test_the_documented_way_without_cdtr_finds_the_same_box(
    exported: tuple[Path, Path, str], neu: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = Path(__file__).parents[2] / "docs" / "deployment.md"
    (example,) = (code for code in re.findall(r"```python\n(.*?)```", page.read_text(), re.S) if "cv2" in code)
    shutil.copy(exported[1] / "neu.onnx", tmp_path)
    shutil.copy(neu / "IMAGES" / (neu / "val.txt").read_text().split()[0], tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    done = subprocess.run([sys.executable, "-c", example], capture_output=True, text=True, check=True)
    found = cdtr.Localizer.from_pretrained("neu.onnx")("photo.jpg")[0]
    label, *corners = done.stdout.split()
    assert label == found.class_names[found.map_label]
    assert [int(corner) for corner in corners] == found.boxes_xyxy[0].tolist()


def test_what_differs_too_much_is_not_written(
    tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cdtr.deployment.agreement.TOLERANCE", -1.0)
    code, _, error = in_process(capsys, "export", tiny_run, "--onnx", tmp_path / "a.onnx", "--int8")
    assert code == 2
    assert "differs from the run by" in error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Missing option '--onnx'"),
        (["--onnx", "a.bin"], "a.bin: expected the name of a file that ends in .onnx"),
        (["--onnx", "a.onnx", "--split", "val"], "give --data as well"),
        (["--onnx", "a.onnx", "--threshold", "1.5"], "the threshold is 1.5"),
        (["--onnx", "a.onnx", "--data", "nowhere"], "nowhere"),
    ],
)
def test_bad_options_get_one_line(
    tiny_run: Path,
    arguments: list[str],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, error = in_process(capsys, "export", tiny_run, *arguments)
    assert code == 2
    assert message in error
    assert len(error.splitlines()) <= 2
    assert list(tmp_path.iterdir()) == []


def test_missing_libraries_are_named(
    tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    code, _, error = in_process(capsys, "export", tiny_run, "--onnx", tmp_path / "a.onnx")
    assert code == 2
    assert "pip install '.[onnx]'" in error
    (tmp_path / "b.onnx").write_bytes(b"x")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    code, _, error = in_process(capsys, "localize", tmp_path / "b.onnx", tiny_run, "--out", tmp_path / "out")
    assert code == 2
