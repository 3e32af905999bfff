"""The folder of the format yolo is a data set that trainers and converters read: splits, links, flat names."""

from __future__ import annotations

import csv
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import supervision as sv
import yaml
from PIL import Image

from cdtr.formats import Target, find_exporter
from cdtr.formats._splits import split_names
from cdtr.records import Localization

CLASSES = ("dent", "scratch")


def localization(image_id: str, label: int) -> Localization:
    return Localization(
        image_id=image_id,
        size_hw=(20, 30),
        boxes_xyxy=np.array([[3, 2, 15, 12]], dtype=np.float32),
        labels=np.array([label]),
        scores=np.ones(1, dtype=np.float32),
        map=np.zeros((0, 0)),
        map_label=label,
        class_probs=np.zeros(0),
    )


def photos(root: Path, names: Iterable[str]) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (30, 20)).save(root / name)
    return root


def write(
    root: Path, out: Path, names: list[str], val_share: float | None = None, flat: bool = False, copies: bool = False
) -> Path:
    photos(root, names)
    target = Target(out, CLASSES, root, "x", val_share, flat, copies)
    with find_exporter("yolo").open(target) as add:
        for name in names:
            add(localization(name, int("scratch" in name)))
    return out


def named(count: int) -> list[str]:
    return [f"{name}/{number:05}.jpg" for name in CLASSES for number in range(count)]


def ultralytics_labels(image: Path) -> Path:
    """Its img2label_paths: the last /images/ becomes /labels/, the suffix .txt."""
    return Path("/labels/".join(str(image).rsplit("/images/", 1)).rsplit(".", 1)[0] + ".txt")


def images_of(yolo: Path, split: str) -> list[Path]:
    """As ultralytics looks for them: every file at any depth below the folder that data.yaml names."""
    settings = yaml.safe_load((yolo / "data.yaml").read_text(encoding="utf-8"))
    return sorted(path for path in (yolo / settings[split]).rglob("*") if path.is_file())


def test_a_share_of_each_class_is_to_measure_on(tmp_path: Path) -> None:
    yolo = write(tmp_path / "in", tmp_path / "yolo", named(10), 0.2)
    train, val = images_of(yolo, "train"), images_of(yolo, "val")
    assert len(train) == 16
    assert len(val) == 4
    assert sorted(path.parent.name for path in val) == ["dent", "dent", "scratch", "scratch"]
    assert all(ultralytics_labels(path).is_file() for path in (*train, *val))
    again = write(tmp_path / "in", tmp_path / "again", list(reversed(named(10))), 0.2)
    assert [path.relative_to(yolo) for path in val] == [path.relative_to(again) for path in images_of(again, "val")]


def test_the_datas_own_splits_stay(tmp_path: Path) -> None:
    names = [f"{split}/{name}" for split in ("train", "valid", "test") for name in named(2)]
    yolo = write(tmp_path / "in", tmp_path / "yolo", names, 0.2)
    for split, own in (("train", "train"), ("val", "valid"), ("test", "test")):
        found = images_of(yolo, split)
        assert [path.relative_to(yolo / "images" / split).as_posix() for path in found] == named(2)
        assert all(f"/{own}/" in os.fspath(path.resolve()) for path in found)


@pytest.mark.parametrize(
    ("names", "share", "expected"),
    [
        (["train/a.jpg", "test/a.jpg"], None, ["train/a.jpg", "test/a.jpg"]),
        (["train/a.jpg", "train/b.jpg", "test/a.jpg"], 0.5, 1),
        (["val/a.jpg", "val/b.jpg"], None, ["train/val/a.jpg", "train/val/b.jpg"]),
        (["train/a.jpg", "b.jpg"], None, ["train/train/a.jpg", "train/b.jpg"]),
        (["train", "val"], None, ["train/train", "train/val"]),
        (["a.jpg"], 0.2, ["train/a.jpg"]),
        (["a.jpg", "b.jpg"], 0.01, 1),
        (["a.jpg", "b.jpg"], 0.9, 1),
        ([], 0.2, []),
    ],
    ids=["two", "no val", "one", "loose", "files", "one image", "little", "much", "none"],
)
def test_split_names(names: list[str], share: float | None, expected: list[str] | int) -> None:
    found = split_names([(name, 0) for name in names], share)
    if isinstance(expected, int):
        assert sum(split == "val" for split, _ in found) == expected
    else:
        assert ["/".join(pair) for pair in found] == expected


def test_links_are_relative_and_survive_a_move(tmp_path: Path) -> None:
    work = tmp_path / "work"
    yolo = write(work / "in", work / "out" / "yolo", named(2))
    links = images_of(yolo, "train")
    assert all(path.is_symlink() and not path.readlink().is_absolute() for path in links)
    moved = shutil.move(work, tmp_path / "elsewhere")
    assert len(images_of(Path(moved) / "out" / "yolo", "train")) == 4


def test_links_are_right_where_out_lies_behind_a_link(tmp_path: Path) -> None:
    (tmp_path / "disk" / "deep").mkdir(parents=True)
    (tmp_path / "out").symlink_to(tmp_path / "disk" / "deep")
    yolo = write(tmp_path / "in", tmp_path / "out" / "yolo", named(1))
    assert [path.resolve() for path in images_of(yolo, "train")] == [tmp_path / "in" / name for name in named(1)]


def test_copies_are_files_of_their_own(tmp_path: Path) -> None:
    yolo = write(tmp_path / "in", tmp_path / "yolo", named(1), copies=True)
    shutil.rmtree(tmp_path / "in")
    assert [path.is_symlink() for path in images_of(yolo, "train")] == [False, False]


def test_flat_folders_are_read_whole_by_supervision(tmp_path: Path) -> None:
    names = [*named(3), "dent_00000.jpg"]
    yolo = write(tmp_path / "in", tmp_path / "yolo", names, 0.3, flat=True)
    found = 0
    for split in ("train", "val"):
        folders = (str(yolo / kind / split) for kind in ("images", "labels"))
        data = sv.DetectionDataset.from_yolo(*folders, str(yolo / "data.yaml"))
        found += len(data)
        assert not [path for path in (yolo / "images" / split).iterdir() if path.is_dir()]
        for _, _, detections in data:
            np.testing.assert_allclose(detections.xyxy, [[3, 2, 15, 12]], atol=1e-3)
    assert found == len(names)


@pytest.mark.parametrize("flat", [False, True])
def test_names_say_which_file_an_image_became(flat: bool, tmp_path: Path) -> None:
    names = [*named(2), "images/a.jpg", "dent_00000.jpg"]
    yolo = write(tmp_path / "in", tmp_path / "yolo", names, 0.4, flat=flat)
    with (yolo / "names.csv").open(newline="", encoding="utf-8") as file:
        rows = {row["image"]: row["file"] for row in csv.DictReader(file)}
    assert list(rows) == names
    assert all((yolo / file).resolve() == (tmp_path / "in" / name).resolve() for name, file in rows.items())
