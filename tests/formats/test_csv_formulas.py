"""No file of ours hands a spreadsheet a formula, and our readers answer the names as they were."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cdtr.corrections import read_written
from cdtr.formats import LEFT_OUT, Images, find_exporter, open_boxes, write_left_out
from cdtr.records import Localization, Sample

NAMES = ("=cmd|'C calc'!A0.jpg", "+1+1.jpg", "-x.jpg", "@SUM(1).jpg", "'=y.jpg", "plain.jpg")
CLASSES = ("=1+1", "@class")


def some() -> list[Localization]:
    return [
        Localization(
            image_id=name,
            size_hw=(20, 30),
            boxes_xyxy=np.array([[1, 2, 11.5, 12]], dtype=np.float32),
            labels=np.array([number % 2]),
            scores=np.array([0.5], dtype=np.float32),
            map=np.zeros((0, 0)),
            map_label=0,
            class_probs=np.zeros(0),
            doubts=((),),
        )
        for number, name in enumerate(NAMES)
    ]


def cells(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def is_formula(cell: str) -> bool:
    return cell[:1] in tuple("=+-@")


@pytest.mark.parametrize("name", ["csv", "review"])
def test_boxes_and_review_hold_no_formula(name: str, tmp_path: Path) -> None:
    find_exporter(name).write(some(), tmp_path / "x.csv", CLASSES)
    assert not [cell for row in cells(tmp_path / "x.csv") for cell in row if is_formula(cell)]


def test_images_left_out_hold_no_formula(tmp_path: Path) -> None:
    write_left_out(tmp_path / LEFT_OUT, [("=1.jpg", "=2 it holds no image"), ("b.jpg", "it is empty")])
    assert cells(tmp_path / LEFT_OUT) == [
        ["image", "reason"],
        ["'=1.jpg", "'=2 it holds no image"],
        ["b.jpg", "it is empty"],
    ]


def test_yolo_names_hold_no_formula(tmp_path: Path) -> None:
    find_exporter("yolo").write(some(), tmp_path / "yolo", CLASSES)
    assert not [cell for row in cells(tmp_path / "yolo" / "names.csv") for cell in row if is_formula(cell)]


def test_corrections_read_the_names_back(tmp_path: Path) -> None:
    find_exporter("csv").write(some(), tmp_path / "boxes.csv", CLASSES)
    _, found = read_written(tmp_path / "boxes.csv")
    assert [image.names[0] for image in found.images] == list(NAMES)
    assert [image.boxes[0].name for image in found.images] == [CLASSES[n % 2] for n in range(len(NAMES))]


def test_a_data_set_reads_the_names_back(tmp_path: Path) -> None:
    samples: Sequence[Sample] = [Sample(name, tmp_path / name, number % 2) for number, name in enumerate(NAMES)]
    for sample in samples:
        Image.new("RGB", (30, 20)).save(sample.path)
    file = tmp_path / "ours.csv"
    find_exporter("csv").write([replace(one) for one in some()], file, CLASSES)
    annotate, _ = open_boxes(file, Images(tmp_path, samples, CLASSES, named=True))
    for sample in samples:
        annotation = annotate(sample)
        assert annotation is not None
        assert annotation.boxes_xyxy.tolist() == [[1, 2, 11.5, 12]]
