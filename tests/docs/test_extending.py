"""The code of docs/extending.md, run as the files that it says it is."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cdtr import load_model
from cdtr.cli import main
from cdtr.data.datasets import load_source
from cdtr.data.drawing import draw_image
from cdtr.errors import DataError

PROJECT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"```python\n# (src/cdtr/\S+\.py)\n(.*?)```", re.DOTALL)
SETTINGS = (
    "data.workers=0",
    "data.input_size=[32, 32]",
    "data.resize=[36, 36]",
    "data.holdout=0.2",
    "backbone.overrides={patch_size: 8, embed_dim: 48, depth: 2, num_heads: 2}",
    "train.epochs=1",
    "train.batch_size=8",
)
LISTED = """# a remark
shiba_inu_1 25 2 4
shiba_inu_2 25 2 4
pug_1 22 2 3
"""
HEAD = (
    "<annotation><object><name>dog</name><bndbox><xmin>3</xmin><ymin>5</ymin><xmax>20</xmax><ymax>30</ymax></bndbox>"
    "</object></annotation>"
)


@pytest.fixture(scope="module")
def blocks() -> dict[str, str]:
    return dict(BLOCK.findall((PROJECT / "docs" / "extending.md").read_text(encoding="utf-8")))


@pytest.fixture(scope="module", autouse=True)
def _written(blocks: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Each block as a file in a folder that its package also looks in."""
    with pytest.MonkeyPatch.context() as patch:
        for name, code in blocks.items():
            folder = tmp_path_factory.mktemp("added")
            (folder / Path(name).name).write_text(code)
            package = importlib.import_module(Path(name).parent.relative_to("src").as_posix().replace("/", "."))
            patch.setattr(package, "__path__", [*package.__path__, str(folder)])
        importlib.invalidate_caches()
        yield
    for name in blocks:
        sys.modules.pop(Path(name).with_suffix("").relative_to("src").as_posix().replace("/", "."), None)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("photos")
    for split, count in (("train", 10), ("val", 2)):
        for label, name in enumerate(("checks", "dots", "rings")):
            (root / split / name).mkdir(parents=True)
            for index in range(count):
                picture = draw_image(label, 48, np.random.default_rng([label, index, len(split)]))
                Image.fromarray(picture.image).save(root / split / name / f"{index}.png")
    return root


@pytest.fixture(scope="module")
def runs(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the page's method and one of TS-CAM."""
    out = tmp_path_factory.mktemp("runs")
    for method in ("patch_cam", "tscam"):
        settings = [word for setting in (f"method={method}", *SETTINGS) for word in ("--set", setting)]
        run_cdtr("train", photos, "--out", out / method, "--config", "small", *settings)
    return out


def run_cdtr(*arguments: object) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    assert not stopped.value.code


def test_the_page_has_a_method_a_data_set_and_a_format(blocks: dict[str, str]) -> None:
    packages = {Path(name).parent.as_posix() for name in blocks}
    assert packages == {f"src/cdtr/{name}" for name in ("model/methods", "data/datasets", "formats")}
    assert not [name for name in blocks if (PROJECT / name).exists()], "the page shows what is there already"


@pytest.mark.parametrize("command", [["check", "--quiet"], ["format", "--check", "--quiet"]], ids=["lint", "format"])
def test_its_code_is_written_as_ours_is(blocks: dict[str, str], command: list[str]) -> None:
    for name, code in blocks.items():
        arguments = [sys.executable, "-m", "ruff", *command, "--stdin-filename", str(PROJECT / name), "-"]
        done = subprocess.run(arguments, input=code, text=True, capture_output=True, check=False, cwd=PROJECT)
        assert done.returncode == 0, f"{name}: {done.stdout}{done.stderr}"


def test_the_method_trains_and_is_compared(runs: Path, photos: Path, tmp_path: Path) -> None:
    assert type(load_model(runs / "patch_cam")).__name__ == "PatchCam"
    terms = [json.loads(line).get("terms") for line in (runs / "patch_cam" / "metrics.jsonl").read_text().splitlines()]
    assert set(terms[-1]) == {"cls", "total"}
    run_cdtr("compare", runs / "tscam", runs / "patch_cam", "--data", photos, "--json", tmp_path / "both.json")
    assert json.loads((tmp_path / "both.json").read_text())


def test_the_data_set_is_recognised_and_read(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "annotations" / "xmls").mkdir(parents=True)
    for split in ("trainval", "test"):
        (tmp_path / "annotations" / f"{split}.txt").write_text(LISTED)
    (tmp_path / "annotations" / "xmls" / "pug_1.xml").write_text(HEAD)
    source = load_source(tmp_path)
    assert source.name == "oxford_pets"
    assert source.class_names == ("pug", "shiba_inu")
    assert [sample.label for sample in source.splits["test"]] == [1, 1, 0]
    assert source.annotate(source.splits["train"][0]) is None
    pug = source.annotate(source.splits["train"][2])
    assert pug is not None
    assert pug.boxes_xyxy.tolist() == [[2, 4, 20, 30]]
    (tmp_path / "annotations" / "test.txt").write_text("../../secret_1 1 1 1\n")
    with pytest.raises(DataError, match="points outside the data set"):
        load_source(tmp_path)


def test_the_format_holds_the_boxes_of_coco(runs: Path, photos: Path, tmp_path: Path) -> None:
    run_cdtr("localize", runs / "patch_cam", photos / "val", "--out", tmp_path, "--format", "json-lines,coco")
    coco = json.loads((tmp_path / "coco.json").read_text())
    lines = [json.loads(line) for line in (tmp_path / "boxes.jsonl").read_text().splitlines()]
    assert [line["image"] for line in lines] == [image["file_name"] for image in coco["images"]]
    ours = [(*box["xyxy"][:2], box["score"]) for line in lines for box in line["boxes"]]
    theirs = [(*one["bbox"][:2], one["score"]) for one in coco["annotations"]]
    assert ours
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
