"""Damaged settings, JSON, and boxes in all formats: read, or refused in one line that names the file, and soon."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from cdtr.config import load_config, parse_config, read_tree
from cdtr.data.opening import open_data
from cdtr.deployment.facts import Facts
from cdtr.errors import CdtrError
from cdtr.formats import cvat, label_studio
from cdtr.formats.voc import read_voc
from cdtr.json_tree import load_json
from fuzz.mutations import damaged, rounds

SECONDS_EACH = 5.0

CONFIG = load_config("small").to_yaml().encode()
FACTS = json.dumps(
    {
        "cdtr_version": "0.1",
        "run": {"name": "r", "method": "cdtr", "weights_sha256": "0"},
        "class_names": ["cat", "dog"],
        "input": {"size_hw": [32, 32], "mean": [0, 0, 0], "std": [1, 1, 1], "max_pixels": 10},
    }
).encode()
VOC = (
    b"<annotation><filename>a.png</filename><size><width>40</width><height>30</height><depth>3</depth></size>"
    b"<object><name>cat</name><difficult>0</difficult><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>12</xmax>"
    b"<ymax>20</ymax></bndbox></object></annotation>"
)
CVAT = (
    b'<annotations><meta><task><labels><label><name>cat</name></label></labels></task></meta><image id="0" '
    b'name="cat/a.png" width="40" height="30"><box label="cat" xtl="1.0" ytl="2.0" xbr="12.0" ybr="20.0"/></image>'
    b"</annotations>"
)
STUDIO = json.dumps(
    [
        {
            "data": {"image": "/data/cat/a.png"},
            "annotations": [
                {
                    "result": [
                        {
                            "type": "rectanglelabels",
                            "original_width": 40,
                            "original_height": 30,
                            "value": {"x": 1, "y": 2, "width": 30, "height": 40, "rectanglelabels": ["cat"]},
                        }
                    ]
                }
            ],
        }
    ]
).encode()
COCO = json.dumps(
    {
        "images": [{"id": 1, "file_name": "cat/a.png", "width": 40, "height": 30}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 11, 18], "area": 198, "iscrowd": 0}],
        "categories": [{"id": 1, "name": "cat"}],
    }
).encode()


def config_of_a_run(path: Path) -> None:
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return  # a run's own reader says it
    parse_config(text, str(path))


def facts_of_a_file(path: Path) -> None:
    Facts.from_json(path.read_bytes().decode("utf-8", "replace"), str(path))


READERS: dict[str, tuple[str, bytes, Callable[[Path], object]]] = {
    "config": ("config.yaml", CONFIG, config_of_a_run),
    "given-config": ("own.yaml", CONFIG, load_config),
    "tree": ("data.yaml", b"train: images\nnames:\n  0: cat\n  1: dog\n", read_tree),
    "json": ("a.json", COCO, lambda path: load_json(path, "COCO JSON")),
    "onnx-metadata": ("m.onnx", FACTS, facts_of_a_file),
    "voc": ("a.xml", VOC, read_voc),
    "cvat": ("c.xml", CVAT, lambda path: cvat.read(path, True)),
    "label-studio": ("l.json", STUDIO, lambda path: label_studio.read(path, True)),
}


@pytest.mark.parametrize("name", READERS)
def test_damaged_files(name: str, tmp_path: Path) -> None:
    file, content, read = READERS[name]
    path = tmp_path / file
    path.write_bytes(content)
    read(path)  # what is not damaged is read
    for random in rounds(150):
        path.write_bytes(damaged(content, random))
        refused_in_one_line(lambda: read(path), file)


BOXES: dict[str, tuple[str, bytes]] = {
    "coco": ("boxes.json", COCO),
    "csv": ("boxes.csv", b"image_id,class,xmin,ymin,xmax,ymax\ncat/a.png,cat,1,2,12,20\n"),
    "voc": ("cat/a.xml", VOC),
    "yolo": ("cat/a.txt", b"0 0.5 0.5 0.25 0.25\n"),
    "yolo-names": ("data.yaml", b"names: {0: cat, 1: dog}\n"),
}


@pytest.mark.parametrize("name", BOXES)
@pytest.mark.filterwarnings("ignore")
def test_damaged_boxes_of_a_data_set(name: str, tmp_path: Path) -> None:
    for label in ("cat", "dog"):
        (tmp_path / label).mkdir()
        Image.new("RGB", (40, 30)).save(tmp_path / label / "a.png")
    if name == "yolo-names":
        (tmp_path / "cat/a.txt").write_bytes(BOXES["yolo"][1])
    if name == "yolo":
        (tmp_path / "data.yaml").write_bytes(BOXES["yolo-names"][1])
    file, content = BOXES[name]

    def read() -> None:
        source = open_data(tmp_path, load_config("small").data)
        for samples in source.splits.values():
            for sample in samples:
                refused_in_one_line(lambda sample=sample: source.annotate(sample), "")

    for random in rounds(40):
        (tmp_path / file).write_bytes(damaged(content, random))
        refused_in_one_line(read, "")


def refused_in_one_line(read: Callable[[], object], named: str) -> None:
    """Any error but ours, a long line and a long time fail the test."""
    start, message = time.process_time(), named
    try:
        read()
    except CdtrError as error:
        message = str(error)
    assert "\n" not in message
    assert named in message
    assert len(message) < 20_000  # names are shown whole
    assert time.process_time() - start < SECONDS_EACH
