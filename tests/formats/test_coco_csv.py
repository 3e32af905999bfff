import contextlib
import csv
import io
import json

import numpy as np
import pytest
from pycocotools.coco import COCO

from cdtr.errors import DataError
from cdtr.formats import find_exporter
from cdtr.formats.csv import COLUMNS
from cdtr.records import Localization

write_coco, write_csv = find_exporter("coco").write, find_exporter("csv").write
CLASSES = ("black, footed", 'Größe "3"')


def localization(image_id, boxes, labels=(), size_hw=(60, 100)):
    return Localization(
        image_id=image_id,
        size_hw=size_hw,
        boxes_xyxy=np.array(boxes, dtype=np.float32).reshape(-1, 4),
        labels=np.array(labels, dtype=np.int64),
        scores=np.linspace(0.9, 0.5, len(labels), dtype=np.float32),
        map=np.zeros(size_hw, dtype=np.float32),
        map_label=0,
        class_probs=np.array([0.9, 0.1], dtype=np.float32),
        class_names=CLASSES,
    )


FOUND = [
    localization("dir a/one, two.jpg", [[10, 20, 40, 50]], [1]),
    localization("нет.png", []),
    localization("three.jpg", [[0, 0, 100, 60], [1.5, 2, 3, 9.25]], [0, 1]),
]


def test_coco_is_read_by_pycocotools_with_the_same_boxes(tmp_path):
    path = tmp_path / "deep" / "boxes.json"
    write_coco(iter(FOUND), path, CLASSES)
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(path))
        results = coco.loadRes(json.loads(path.read_text())["annotations"])
    images = coco.loadImgs(coco.getImgIds())
    assert [image["file_name"] for image in images] == [found.image_id for found in FOUND]
    assert {(image["width"], image["height"]) for image in images} == {(100, 60)}
    assert [category["name"] for category in coco.loadCats(coco.getCatIds())] == list(CLASSES)
    for image, found in zip(images, FOUND, strict=True):
        annotations = results.loadAnns(results.getAnnIds(image["id"]))
        xywh = np.array([annotation["bbox"] for annotation in annotations]).reshape(-1, 4)
        np.testing.assert_array_equal(np.hstack([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]]), found.boxes_xyxy)
        assert [annotation["category_id"] - 1 for annotation in annotations] == found.labels.tolist()
        np.testing.assert_allclose([annotation["score"] for annotation in annotations], found.scores)
        np.testing.assert_allclose([annotation["area"] for annotation in annotations], xywh[:, 2] * xywh[:, 3])
    assert sorted(coco.getAnnIds()) == [1, 2, 3]


def test_csv_roundtrip_with_commas_quotes_and_unicode(tmp_path):
    path = tmp_path / "boxes.csv"
    write_csv(iter(FOUND), path, CLASSES)
    with path.open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    assert tuple(header) == COLUMNS
    assert rows == [
        ["dir a/one, two.jpg", 'Größe "3"', "0.900000", "10", "20", "40", "50", "100", "60"],
        ["нет.png", "", "", "", "", "", "", "100", "60"],
        ["three.jpg", "black, footed", "0.900000", "0", "0", "100", "60", "100", "60"],
        ["three.jpg", 'Größe "3"', "0.500000", "1.5", "2", "3", "9.25", "100", "60"],
    ]


@pytest.mark.parametrize("write", [write_coco, write_csv], ids=["coco", "csv"])
def test_failed_write_leaves_the_old_file(write, tmp_path):
    path = tmp_path / "boxes"
    path.write_text("old")
    with pytest.raises(DataError, match="class 1, 1 class names"):
        write(FOUND, path, CLASSES[:1])
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["boxes"]


def test_coco_refuses_a_file_name_twice(tmp_path):
    with pytest.raises(DataError, match="comes twice"):
        write_coco([FOUND[0], FOUND[0]], tmp_path / "boxes.json", CLASSES)
    assert not any(tmp_path.iterdir())


def test_large_coordinates_keep_their_digits(tmp_path):
    box = [1234567.0, 0.0, 12345678.0, 10.0]
    write_csv([localization("a", [box], [0], size_hw=(10, 10))], tmp_path / "a.csv", CLASSES)
    with (tmp_path / "a.csv").open(newline="") as file:
        row = next(csv.DictReader(file))
    assert [float(row[name]) for name in COLUMNS[3:7]] == box
