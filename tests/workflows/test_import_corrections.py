"""``cdtr.import_corrections`` as a notebook calls it: typed result, nothing printed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import cdtr
from cdtr.errors import ConfigError
from cdtr.formats import find_exporter
from cdtr.records import Localization


@pytest.fixture
def review(tmp_path: Path) -> tuple[Path, Path]:
    """Two images as a COCO file of ours; of its reviewed copy one box is moved and one deleted."""
    boxes = np.array([[1.0, 2, 21, 22], [30, 5, 38, 19]])
    labels, nothing = np.array([0, 1]), np.zeros(0)
    ours = tmp_path / "boxes" / "coco.json"
    ours.parent.mkdir()
    find_exporter("coco").write(
        (
            Localization(name, (30, 40), boxes, labels, np.full(2, 0.5), nothing, 0, nothing)
            for name in ("a.jpg", "b.jpg")
        ),
        ours,
        ("cat", "dog"),
    )
    tree = json.loads(ours.read_text())
    tree["annotations"][0]["bbox"][0] += 5
    del tree["annotations"][3]
    tree["annotations"][2]["iscrowd"] = 1
    reviewed = tmp_path / "reviewed.json"
    reviewed.write_text(json.dumps(tree))
    return reviewed, ours.parent


class Notes:
    """A reporter that keeps the notes."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, message: str) -> None:
        self.lines.append(message)


def test_the_result_says_what_was_changed(review: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    reviewed, boxes = review
    notes = Notes()
    found = cdtr.import_corrections(reviewed, boxes, reporter=notes)  # type: ignore[arg-type]
    assert repr(found) == (
        "Corrections(2 images reviewed, 25.0% of 4 boxes accepted: 1 kept, 1 moved, 0 relabelled, 2 deleted, 0 added)"
    )
    assert "<tr><td>all</td><td>4</td><td>1</td><td>1</td><td>0</td><td>2</td><td>0</td></tr>" in found._repr_html_()
    assert found.class_names == ("cat", "dog")
    assert found.to_json()["boxes"] == str(boxes / "coco.json")
    assert found.to_json()["total"]["moved"] == 1
    assert found.find_origin() == ("DATA", None)
    assert notes.lines == ["passed over 1 crowds"]
    assert capsys.readouterr() == ("", "")


def test_the_reviewed_boxes_are_written_as_coco(review: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    cdtr.import_corrections(str(review[0]), str(review[1]), out=out)
    tree = json.loads(out.read_text())
    assert [image["file_name"] for image in tree["images"]] == ["a.jpg", "b.jpg"]
    assert [entry["bbox"] for entry in tree["annotations"]] == [[6.0, 2.0, 20.0, 20.0], [30.0, 5.0, 8.0, 14.0]]


def test_the_name_of_the_file_is_checked_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"expected a name that ends with \.json"):
        cdtr.import_corrections(tmp_path / "none.json", tmp_path, out="out.txt")
