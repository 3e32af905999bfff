import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cdtr.errors import DataError
from cdtr.evaluation import Tally, find_protocol
from cdtr.evaluation.measure import ScoredBox, measure_boxes
from cdtr.evaluation.scored_boxes import read_coco_boxes
from cdtr.records import Annotation, Sample

SAMPLES = [Sample(f"val/{name}.jpg", Path(name), label) for name, label in (("a", 0), ("b/c", 1), ("d", 1))]
NAMES = ("cat", "dog")


def result(image: Any, category: Any = 1, bbox: Any = (1, 2, 3, 4), score: Any = 0.5) -> dict[str, Any]:
    return {"image_id": image, "category_id": category, "bbox": list(bbox), "score": score}


def read(tmp_path: Path, content: Any, images: Any = None) -> dict[str, list[ScoredBox]]:
    (tmp_path / "boxes.json").write_text(json.dumps(content))
    if images is not None:
        (tmp_path / "images.json").write_text(json.dumps(images))
    return read_coco_boxes(tmp_path / "boxes.json", SAMPLES, NAMES, tmp_path / "images.json" if images else None)


def test_results_by_file_name(tmp_path: Path) -> None:
    found = read(tmp_path, [result("a.png", 2), result("b/c"), result("c.jpg", score=7), result("other")])
    assert found == {
        "val/a.jpg": [ScoredBox(1, 0.5, (1, 2, 4, 6))],
        "val/b/c.jpg": [ScoredBox(0, 0.5, (1, 2, 4, 6)), ScoredBox(0, 7.0, (1, 2, 4, 6))],
    }


def test_numbers_stand_for_the_images_and_categories_of_another_file(tmp_path: Path) -> None:
    index = {"images": [{"id": 9, "file_name": "d.jpg"}], "categories": [{"id": 5, "name": "dog"}]}
    assert read(tmp_path, [result(9, 5)], index) == {"val/d.jpg": [ScoredBox(1, 0.5, (1, 2, 4, 6))]}
    assert read(tmp_path, {**index, "annotations": [result(9, 5)]}) == {"val/d.jpg": [ScoredBox(1, 0.5, (1, 2, 4, 6))]}


def test_a_file_may_be_named_by_a_number(tmp_path: Path) -> None:
    index = {"images": [{"id": 9, "file_name": 7}], "annotations": [result(9)]}
    with pytest.raises(DataError, match="none of them of the 3 images"):
        read(tmp_path, index)


@pytest.mark.parametrize(
    ("content", "images", "message"),
    [
        ({"boxes": []}, None, "no list of COCO results"),
        ([result("a", 3)], None, "category_id 3, expected one of 1, 2"),
        ([result("a", bbox=(1, 2, 3))], None, "expected x, y, width and height"),
        ([result("a", bbox=(1, 2, -3, 4))], None, "no negative size"),
        ([result("a", score=float("nan"))], None, "finite"),
        ([result("a", score=None)], None, "bbox and score: .* expected finite numbers"),
        ([result(3)], None, "none of them of the 3 images"),
        ([{"category_id": 1}], None, "result 0: image_id is None"),
        ([result(3)], {"images": [{"id": 9, "file_name": "d.jpg"}]}, "image_id 3 is not in the images"),
        ([result(9)], {"images": [{"id": 9, "file_name": "d"}], "categories": [{"id": 1, "name": "cow"}]}, "'cow'"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, content: Any, images: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(tmp_path, content, images)


def test_a_name_of_two_images_is_refused(tmp_path: Path) -> None:
    samples = [Sample("x/a.jpg", Path("a"), 0), Sample("y/a.jpg", Path("a"), 0)]
    (tmp_path / "boxes.json").write_text(json.dumps([result("a.jpg")]))
    with pytest.raises(DataError, match="may be x/a"):
        read_coco_boxes(tmp_path / "boxes.json", samples, NAMES)


def test_the_best_scored_box_of_each_class_counts() -> None:
    truth = Annotation(np.array([[20.0, 40.0, 60.0, 80.0]]))
    good, bad = (20.0, 40.0, 60.0, 80.0), (0.0, 0.0, 10.0, 10.0)
    cases = {
        "right": [ScoredBox(1, 0.9, good), ScoredBox(1, 0.1, bad), ScoredBox(0, 0.5, bad)],
        "class": [ScoredBox(0, 0.9, bad), ScoredBox(1, 0.8, good)],
        "place": [ScoredBox(1, 0.9, bad), ScoredBox(1, 0.8, good)],
        "none": [],
    }
    for protocol in ("wsol", "tscam", "sat", "cdtr"):
        rules = find_protocol(protocol)
        tally = Tally(rules, None)
        for name, boxes in cases.items():
            tally.add(measure_boxes(Sample(name, Path(name), 1), (100, 100), boxes, truth, rules))
        rows = {row.image_id: row for row in tally.accuracy.rows}
        assert rows["right"].iou_label == pytest.approx(1, abs=0.05), protocol
        assert rows["none"].iou_label == 0
        metrics = tally.finish().metrics
        # The released protocol takes the predicted class's box for everything, which misses in the second image.
        assert metrics["gt_known_loc"] == (25 if protocol == "cdtr" else 50)
        assert metrics["top1_loc"] == 25
        assert metrics["top1_cls"] == 50
        assert metrics["max_box_acc"] is None
        assert metrics["pxap"] is None


@pytest.mark.parametrize(
    ("ids", "name", "expected"),
    [
        (("x/a.jpg", "x/a.png"), "x/a.jpg", "x/a.jpg"),
        (("a.jpg", "x/a.jpg"), "a.jpg", "a.jpg"),
        (("a.jpg", "a.1.jpg"), "a.1", "a.1.jpg"),
        (("x/a.jpg", "x/b.jpg"), "a.png", "x/a.jpg"),
    ],
    ids=["suffix tells", "whole path", "dot in a name", "other suffix"],
)
def test_the_name_as_it_is_goes_first(tmp_path: Path, ids: tuple[str, str], name: str, expected: str) -> None:
    (tmp_path / "boxes.json").write_text(json.dumps([result(name)]))
    samples = [Sample(image_id, Path(image_id), 0) for image_id in ids]
    assert list(read_coco_boxes(tmp_path / "boxes.json", samples, NAMES)) == [expected]


@pytest.mark.parametrize("content", [None, 3, "text", [{"image_id": "", "category_id": 1}]])
def test_json_of_another_kind_is_refused(tmp_path: Path, content: Any) -> None:
    with pytest.raises(DataError):
        read(tmp_path, content)
