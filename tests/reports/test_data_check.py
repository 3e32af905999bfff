"""Tables, lines, JSON and pictures of a look at a data set."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cdtr.data.check import Finding
from cdtr.data.check.scan import BoxFacts, Fault, ImageFacts
from cdtr.errors import ConfigError
from cdtr.records import Annotation, DataSource, Sample
from cdtr.reports.contact_sheet import CELL, class_sheet, copies_sheet, write_sheet
from cdtr.reports.data_check import DataCheck, classes_table, find_easy_boxes, finding_lines, splits_table
from cdtr.reports.overlays import TRUTH_COLOUR
from cdtr.terminal import PlainConsole


def _check(root: Path, n_classes: int = 3, allowed: tuple[str, ...] = ()) -> DataCheck:
    """Two grey pictures a class in train and one in val, the first with a box; one broken file more in train."""
    facts, boxes = [], []
    for label in range(n_classes):
        for split, count in (("train", 2), ("val", 1)):
            for number in range(count):
                path = root / f"{split}-{label}-{number}.png"
                Image.new("L", (120, 60), 200).save(path)
                facts.append(ImageFacts(split, Sample(path.name, path, label), (60, 120), "L", "PNG", path.name))
        annotation = Annotation(np.array([[20.0, 10, 80, 50]]))
        boxes.append(BoxFacts(facts[-1], annotation))
    broken = Sample("broken.png", root / "broken.png", 0)
    facts.append(ImageFacts("train", broken, fault=Fault("empty", "broken.png is empty")))
    splits = {split: tuple(one.sample for one in facts if one.split == split) for split in ("train", "val")}
    names = tuple(f"class {n}" for n in range(n_classes))
    source = DataSource("made", root, names, splits, True, lambda _sample: None)
    scores = {"gt_known_loc": 12.34, "gt_known_loc_iou70": 1.0}
    findings = [
        Finding("empty", "train: broken.png is empty", ("broken.png",)),
        Finding("copies-within", "two of one", ("bad\udcff.png = b.png",)),
    ]
    baselines = {"train": None, "val": {"full_image": scores, "centre_box": scores, "centre_box_per_class": scores}}
    return DataCheck(source, facts, boxes, baselines, findings, allowed)


def _printed(table: object) -> str:
    console = PlainConsole(width=120)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def test_lines_tell_problems_from_notes(tmp_path: Path) -> None:
    assert finding_lines(_check(tmp_path)) == [
        "problem [empty] train: broken.png is empty",
        "note [copies-within] two of one",
        "1 problem (empty), 1 note",
    ]
    assert finding_lines(_check(tmp_path, allowed=("empty",)))[-1] == "no problem, 2 notes"


def test_a_notebook_shows_the_findings_and_a_sheet_of_the_classes(tmp_path: Path) -> None:
    html = _check(tmp_path, 20)._repr_html_()
    assert "<tr><td>problem</td><td>empty</td><td>train: broken.png is empty</td></tr>" in html
    assert "<tr><td>note</td><td>copies-within</td><td>two of one</td></tr>" in html
    assert html.count("<img ") == 1


def test_the_tables_hold_the_numbers(tmp_path: Path) -> None:
    printed = _printed(splits_table(_check(tmp_path)))
    for cells in (["images", "7", "3"], ["that cannot be read", "1", "0"], ["boxes", "0", "3"], ["modes", "L", "L"]):
        assert any([cell.strip() for cell in line.split("│")[1:-1]] == cells for line in printed.splitlines()), cells
    assert "120 - 120 - 120" in printed
    assert "33%" in printed
    assert "12.3" in printed
    assert "class 2" in _printed(classes_table(_check(tmp_path)))


def test_brackets_in_a_name_are_no_markup(tmp_path: Path) -> None:
    (tmp_path / "a [b]").mkdir()
    check = _check(tmp_path / "a [b]")
    names = ("part [a]", "part [b]", "part")
    changed = replace(check, source=replace(check.source, root=Path("a [b]"), class_names=names))
    assert "part [b]" in _printed(classes_table(changed))
    assert "a [b], read as made" in _printed(splits_table(changed))


def test_of_many_classes_the_smallest_and_largest_are_shown(tmp_path: Path) -> None:
    printed = _printed(classes_table(_check(tmp_path, 30)))
    assert "of 30 classes" in printed
    assert len([line for line in printed.splitlines() if "class " in line and "│" in line]) == 24


def test_the_json_is_whole_and_can_be_written(tmp_path: Path) -> None:
    check = _check(tmp_path)
    tree = json.loads(json.dumps(check.to_json(), ensure_ascii=False).encode("utf-8"))
    assert list(tree["splits"]) == ["train", "val"]
    assert tree["splits"]["train"]["per_class"] == {"class 0": 2, "class 1": 2, "class 2": 2}
    assert tree["splits"]["train"]["unreadable"] == 1
    assert tree["splits"]["val"]["boxes"] == 3
    assert tree["splits"]["val"]["baselines"]["full_image"]["gt_known_loc"] == 12.34
    assert tree["problems"] == 1
    assert [(found["kind"], found["problem"]) for found in tree["findings"]] == [
        ("empty", True),
        ("copies-within", False),
    ]
    assert tree["findings"][1]["items"] == ["bad\\udcff.png = b.png"]


@pytest.mark.parametrize(("rate", "told"), [(74.9, 0), (75.0, 1)])
def test_a_score_without_looking_is_told(rate: float, told: int) -> None:
    scores = {"full_image": {"gt_known_loc": 10.0}, "centre_box": {"gt_known_loc": rate}}
    assert len(list(find_easy_boxes({"val": scores, "train": None}))) == told


def test_the_sheet_shows_pictures_with_their_boxes(tmp_path: Path) -> None:
    check = _check(tmp_path)
    sheet = np.asarray(class_sheet(check, per_class=2, max_pixels=10**6))
    red = (np.abs(sheet.astype(int) - TRUTH_COLOUR).sum(axis=2) < 30).sum()
    # Of each class one of the two pictures has a box, 64 x 43 large on the sheet; half of its line and more is red.
    line = 3 * 2 * (64 + 43)
    assert line / 2 < red < line
    grey = (sheet == 200).all(axis=2).sum()
    assert grey == pytest.approx(6 * CELL * CELL / 2 - line, rel=0.02)


def test_a_picture_that_went_away_does_not_end_the_sheet(tmp_path: Path) -> None:
    check = _check(tmp_path)
    (tmp_path / "train-0-0.png").unlink()
    assert class_sheet(check, per_class=3, max_pixels=10**6).width > 3 * CELL


def test_a_sheet_of_many_classes_is_a_page(tmp_path: Path) -> None:
    sheet = class_sheet(_check(tmp_path, 60), per_class=2, max_pixels=10**6)
    assert 0.7 < sheet.height / sheet.width < 2.2


def test_copies_are_shown_beside_each_other(tmp_path: Path) -> None:
    check = _check(tmp_path)
    sheet = copies_sheet([check.facts[:2], check.facts[1:3]], check.source.class_names, 10**6)
    grey = (np.asarray(sheet) == 200).all(axis=2).sum()
    assert grey == pytest.approx(4 * CELL * CELL / 2, abs=5)  # the titles' letters are grey too


def test_a_picture_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    picture = Image.new("RGB", (5, 5))
    for name, format in {"a.jpg": "JPEG", "b.PNG": "PNG"}.items():
        write_sheet(picture, tmp_path / "new" / name)
        with Image.open(tmp_path / "new" / name) as found:
            assert found.format == format
    with pytest.raises(ConfigError, match=r"a\.gif: expected a file name that ends in \.jpg"):
        write_sheet(picture, tmp_path / "a.gif")
