"""The files of examples/ run, on a few drawn images."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

import cdtr
from cdtr.config import load_config
from cdtr.data.drawing import draw_image
from oracles.untrained_run import write_untrained_run

PROJECT = Path(__file__).resolve().parents[2]
EXAMPLES = PROJECT / "examples"
CLASSES = ("checks", "dots", "good")
SETTINGS = (
    "sba.enabled=false",
    "data.workers=0",
    "data.input_size=[32, 32]",
    "data.resize=[36, 36]",
    "data.holdout=0.2",
    "backbone.overrides={patch_size: 8, embed_dim: 48, depth: 2, num_heads: 2}",
    "csm.g=4",
    "ocm.k=2",
    "guide.width=32",
    "evaluation.threshold=0.4",
    "train.epochs=1",
    "train.batch_size=8",
    "train.precision=no",
)
TINY = 48  # pixels a side


def load_example(name: str) -> ModuleType:
    specification = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Class folders in train and val, with a box for each image in a CSV file."""
    root = tmp_path_factory.mktemp("photos")
    boxes = ["image,x_min,y_min,x_max,y_max,label"]
    for split, count in (("train", 6), ("val", 2)):
        for label, name in enumerate(CLASSES):
            (root / split / name).mkdir(parents=True)
            for index in range(count):
                drawn = draw_image(label, TINY, np.random.default_rng([label, index, len(split)]))
                Image.fromarray(drawn.image).save(root / split / name / f"{index}.png")
                boxes.append(f"{split}/{name}/{index}.png,12,8,40,36,{name}")
    (root / "boxes.csv").write_text("\n".join(boxes) + "\n")
    return root


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "mine"
    return write_untrained_run(path, load_config("small", list(SETTINGS)), CLASSES).path


def test_every_example_is_listed_and_tested() -> None:
    listed = re.findall(r"`(\w+)\.py ", (EXAMPLES / "README.md").read_text(encoding="utf-8"))
    assert sorted(listed) == sorted(path.stem for path in EXAMPLES.glob("*.py"))
    tested = re.findall(r"load_example\(\"(\w+)\"\)", Path(__file__).read_text(encoding="utf-8"))
    assert set(tested) == set(listed)


def test_localize_to_coco(run: Path, photos: Path, tmp_path: Path) -> None:
    count = load_example("localize_to_coco").localize_to_coco(str(run), str(photos / "val"), tmp_path / "boxes")
    coco = json.loads((tmp_path / "boxes" / "coco.json").read_text())
    assert len(coco["images"]) == 2 * len(CLASSES)
    assert [one["name"] for one in coco["categories"]] == list(CLASSES)
    assert len(coco["annotations"]) == count > 0
    assert {one["image_id"] for one in coco["annotations"]} <= {one["id"] for one in coco["images"]}
    for annotation in coco["annotations"]:
        x, y, width, height = annotation["bbox"]
        assert min(x, y) >= 0
        assert max(x + width, y + height) <= TINY


def test_skip_good_parts(run: Path, photos: Path) -> None:
    example = load_example("skip_good_parts")
    predicted = {found.class_names[found.labels[0]] for found in cdtr.Localizer.from_pretrained(run)(photos / "val")}
    for good in CLASSES:
        found = {name for _, name, _ in example.find_defects(str(run), str(photos / "val"), good)}
        assert found == predicted - {good}
    with pytest.raises(SystemExit, match="choose one of checks, dots, good"):
        list(example.find_defects(str(run), str(photos / "val"), "fine"))


def test_score_maps(photos: Path, tmp_path: Path) -> None:
    """Maps that are bright in the true box and dark elsewhere find every object."""
    for name in CLASSES:
        for index in range(2):
            path = tmp_path / "val" / name / f"{index}.npy"
            path.parent.mkdir(parents=True, exist_ok=True)
            score_map = np.zeros((TINY, TINY), np.float32)
            score_map[8:36, 12:40] = 1
            np.save(path, score_map)
    metrics = load_example("score_maps").score_maps(tmp_path, photos, 0.5)
    assert metrics["gt_known_loc"] == 100
    assert metrics["top1_loc"] is None


@pytest.mark.slow
def test_train_from_folders(photos: Path, tmp_path: Path) -> None:
    path = load_example("train_from_folders").train_from_folders(photos, tmp_path / "run", changes=SETTINGS)
    localizer = cdtr.Localizer.from_pretrained(path)
    assert localizer.class_names == CLASSES
    assert len(localizer(photos / "val")) == 2 * len(CLASSES)
