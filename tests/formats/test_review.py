import csv
from pathlib import Path

import numpy as np
import pytest

from cdtr.errors import DataError
from cdtr.formats import find_exporter
from cdtr.records import Localization


def answer(image_id: str, scores: list[float], doubts: tuple[tuple[str, ...], ...] | None) -> Localization:
    return Localization(
        image_id=image_id,
        size_hw=(8, 8),
        boxes_xyxy=np.tile([0, 0, 4, 4], (len(scores), 1)).astype(np.float32),
        labels=np.arange(len(scores)),
        scores=np.array(scores, dtype=np.float32),
        map=np.zeros((0, 0)),
        map_label=1,
        class_probs=np.zeros(0),
        doubts=doubts,
    )


def test_the_most_doubtful_image_comes_first(tmp_path: Path) -> None:
    found = [
        answer("good.jpg", [0.25, 0.75], (("small",), ())),
        answer("none, at all.jpg", [], ()),
        answer("bad.jpg", [0.125], (("unusual size", "the class is uncertain"),)),
    ]
    find_exporter("review").write(found, tmp_path / "review.csv", ("cat", "dog"))
    with (tmp_path / "review.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows == [
        {
            "image": "none, at all.jpg",
            "help": "1.0000",
            "label": "dog",
            "score": "",
            "boxes": "0",
            "reasons": "no box, or none with a high enough score",
        },
        {
            "image": "bad.jpg",
            "help": "0.8750",
            "label": "cat",
            "score": "0.1250",
            "boxes": "1",
            "reasons": "unusual size; the class is uncertain",
        },
        {"image": "good.jpg", "help": "0.2500", "label": "dog", "score": "0.7500", "boxes": "2", "reasons": ""},
    ]


def test_without_calibrated_scores_there_is_nothing_to_sort_by(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="run `cdtr calibrate`"):
        find_exporter("review").write([answer("a", [0.5], None)], tmp_path / "review.csv", ("cat",))
    assert not (tmp_path / "review.csv").exists()
