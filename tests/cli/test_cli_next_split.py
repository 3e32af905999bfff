"""The next step that `cdtr import-corrections` prints has the data and the split that it needs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from cli_helpers import in_process
from PIL import Image

from cdtr.config import load_config
from cdtr.workflows.import_corrections import find_origin
from oracles.untrained_run import write_untrained_run

CLASSES = ("cat", "dog")
SETTINGS = ["sba.enabled=false", "ocm.k=2", "backbone.overrides={embed_dim: 48, depth: 2, num_heads: 2}"]
Maker = Callable[..., tuple[Path, Path]]


@pytest.fixture
def make(tmp_path: Path) -> Maker:
    """A data set of such images, and a run that says it was trained on it."""

    def write(*names: str) -> tuple[Path, Path]:
        data = tmp_path / "data"
        for name in names:
            (data / name).parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (20, 10)).save(data / name)
        run = write_untrained_run(tmp_path / "run", load_config("small", SETTINGS), CLASSES)
        run.manifest_file.write_text(json.dumps({"data": {"root": str(data)}}))
        return data, run.path

    return write


OF_THEIR_OWN = ("train/cat/1.png", "train/dog/2.png", "val/cat/3.png", "val/dog/4.png")
SHARED = ("train/cat/1.png", "train/dog/1.png", "val/cat/1.png", "val/dog/1.png")


@pytest.mark.parametrize(
    ("names", "reviewed", "split"),
    [
        (OF_THEIR_OWN, ["cat/3.png", "dog/4.png"], "val"),
        (OF_THEIR_OWN, ["val/cat/3.png"], "val"),
        (OF_THEIR_OWN, ["cat/1.png"], "held-out"),
        (OF_THEIR_OWN, ["cat/1.png", "cat/3.png"], None),
        (SHARED, ["cat/1.png"], "val"),
    ],
    ids=["val", "val by its folder", "training images", "of two splits", "shared names"],
)
def test_the_split_is_found_in_the_runs_data(
    make: Maker, names: tuple[str, ...], reviewed: list[str], split: str | None
) -> None:
    data, run = make(*names)
    expected = (str(data), split) if split is not None else ("DATA", None)
    assert find_origin(run, reviewed) == expected


def test_without_the_data_the_names_may_say_it(make: Maker, tmp_path: Path) -> None:
    assert find_origin(None, ["val/cat/1.png", "val/dog/2.png"]) == ("DATA", "val")
    assert find_origin(None, ["cat/1.png", "val/dog/2.png"]) == ("DATA", None)
    assert find_origin(None, ["val"]) == ("DATA", None)
    data, run = make(*OF_THEIR_OWN)
    data.rename(tmp_path / "moved")
    assert find_origin(run, ["val/cat/3.png"]) == ("DATA", "val")
    (run / "manifest.json").write_text("[]")
    assert find_origin(run, ["cat/3.png"]) == ("DATA", None)


def coco(path: Path, image: str) -> Path:
    tree = {
        "images": [{"id": 1, "file_name": image, "width": 20, "height": 10}],
        "categories": [{"id": 1, "name": "cat"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [2, 2, 6, 6]}],
    }
    path.write_text(json.dumps(tree))
    return path


def test_the_printed_command_is_whole(make: Maker, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, run = make(*OF_THEIR_OWN)
    boxes, out = coco(tmp_path / "coco.json", "cat/3.png"), tmp_path / "reviewed.json"
    words = "import-corrections", boxes, "--boxes", boxes, "--run", run, "--out", out
    code, printed, err = in_process(capsys, *words)
    assert code == 0, err
    assert f"  cdtr calibrate {run} --data {data} --split val --boxes {out}\n" in printed
    code, printed, err = in_process(capsys, *words, "--split", "train-fullsup")
    assert "--split train-fullsup --boxes" in printed
    code, printed, _ = in_process(capsys, *words[:4], "--json", "-")
    assert json.loads(printed)["total"]["kept"] == 1
