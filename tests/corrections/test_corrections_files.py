"""Files that come back from reviews, broken and hostile ones among them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cdtr.corrections import match_images, read_reviewed, read_written
from cdtr.errors import CdtrError, DataError
from cdtr.formats import _checks


def region(**changes: Any) -> dict[str, Any]:
    value = {"x": 10, "y": 20, "width": 30, "height": 40, "rotation": 0, "rectanglelabels": ["cat"]}
    kept = {key: changes.pop(key) for key in tuple(changes) if key in ("type", "id", "original_width")}
    base = {"id": "box-1", "type": "rectanglelabels", "original_width": 200, "original_height": 100}
    return {**base, **kept, "value": {**value, **changes}}


def task(*regions: object, **changes: object) -> dict[str, Any]:
    return {"data": {"image_id": "a.jpg"}, "annotations": [{"result": list(regions)}], **changes}


def coco(**changes: object) -> dict[str, Any]:
    return {
        "images": [{"id": 1, "file_name": "a.jpg", "width": 200, "height": 100}],
        "categories": [{"id": 5, "name": "cat"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 5, "bbox": [20, 20, 60, 40]}],
        **changes,
    }


def annotation(**changes: object) -> list[dict[str, object]]:
    return [{"image_id": 1, "category_id": 5, "bbox": [20, 20, 60, 40], **changes}]


def cvat(inside: str, name: str = "a.jpg", size: str = 'width="200" height="100"') -> str:
    return (
        "<annotations><version>1.1</version><meta><task><labels><label><name>cat</name></label></labels></task></meta>"
        f'<image id="0" name="{name}" {size}>{inside}</image></annotations>'
    )


def box(xtl: object = 20, more: str = "") -> str:
    return f'<box label="cat" xtl="{xtl}" ytl="20" xbr="80" ybr="60" {more}/>'


def save(folder: Path, content: object) -> Path:
    path = folder / ("x.xml" if isinstance(content, str) else "x.json")
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


@pytest.mark.parametrize("row", ["a.jpg,cat,20,20,80", "a.jpg,cat,20,20,80,60,200,100,7"], ids=["short", "long"])
def test_csv_rows_of_another_length_are_refused(row: str, tmp_path: Path) -> None:
    path = tmp_path / "boxes.csv"
    path.write_text(f"image,label,x_min,y_min,x_max,y_max,width,height\n{row}\n")
    with pytest.raises(DataError, match="row 1 has another number of fields than the header"):
        read_reviewed(path)


@pytest.mark.parametrize("ids", [(1.0, "5"), ("1", 5.0)])
def test_numbers_of_coco_are_ids_however_they_are_written(ids: tuple[object, object], tmp_path: Path) -> None:
    path = save(tmp_path, coco(annotations=annotation(image_id=ids[0], category_id=ids[1])))
    assert [box.name for box in read_reviewed(path).images[0].boxes] == ["cat"]


def test_turned_boxes_of_coco_are_refused_as_those_of_cvat(tmp_path: Path) -> None:
    path = save(tmp_path, coco(annotations=annotation(attributes={"rotation": 18.5})))
    with pytest.raises(DataError, match=r"the box of 'cat': turned by 18\.5 degrees, expected upright boxes"):
        read_reviewed(path)


@pytest.mark.parametrize("content", [[task(region())], coco(), cvat(box())], ids=["label studio", "coco", "cvat"])
def test_the_same_box_from_each_tool(content: object, tmp_path: Path) -> None:
    (image,) = read_reviewed(save(tmp_path, content)).images
    (found,) = image.boxes
    assert image.names[0] == "a.jpg"
    assert image.size_hw == (100, 200)
    assert found.name == "cat"
    assert found.xyxy == pytest.approx((20, 20, 80, 60))


def test_label_studio_names_by_address_and_the_last_annotation_that_was_not_skipped(tmp_path: Path) -> None:
    tasks = [
        {"data": {"image": "/data/local-files/?d=photos/day%201/a%25.jpg"}, "annotations": [{"result": [region()]}]},
        {"data": {"image": "/data/upload/3/0123abcd-b.jpg"}, "annotations": [{"result": []}]},
        {"data": {"image": "https://example.org/x/c.jpg?size=1"}, "annotations": [{"result": []}]},
        task(annotations=[]),
        task(annotations=[{"was_cancelled": True, "result": []}]),
        task(
            annotations=[
                {"updated_at": "2026-02-01", "result": [region(), region(type="polygonlabels")]},
                {"updated_at": "2026-01-01", "result": []},
                {"updated_at": "2026-03-01", "result": [], "was_cancelled": True},
            ]
        ),
    ]
    found = read_reviewed(save(tmp_path, tasks))
    assert [image.names for image in found.images] == [
        ("photos/day 1/a%.jpg",),
        ("data/upload/3/0123abcd-b.jpg", "b.jpg"),
        ("x/c.jpg",),
        ("a.jpg",),
    ]
    assert [len(image.boxes) for image in found.images] == [1, 0, 0, 1]
    assert dict(found.unread) == {"earlier annotations of a task": 1, "results of kind polygonlabels": 1}


def test_what_is_no_box_is_passed_over_and_counted(tmp_path: Path) -> None:
    found = read_reviewed(save(tmp_path, cvat('<polygon label="cat" points="1,1;2,2;3,1"/>' + box())))
    assert len(found.images[0].boxes) == 1
    assert dict(found.unread) == {"shapes of kind polygon": 1}
    found = read_reviewed(save(tmp_path, coco(annotations=annotation(iscrowd=1))))
    assert len(found.images[0].boxes) == 0
    assert dict(found.unread) == {"crowds": 1}


def test_boxes_that_pass_the_edge_end_there(tmp_path: Path) -> None:
    (image,) = read_reviewed(save(tmp_path, coco(annotations=annotation(bbox=[-5, 50, 500, 60])))).images
    assert image.boxes[0].xyxy == (0, 50, 200, 100)


BOMB = '<!DOCTYPE a [<!ENTITY b "ha"><!ENTITY c "&b;&b;&b;">]>'
ENTITY = '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]>'

HOSTILE: dict[str, tuple[object, str]] = {
    "percent above 100": ([task(region(x=80))], "expected percent"),
    "percent below 0": ([task(region(y=-3))], "expected percent"),
    "percent no number": ([task(region(x="left"))], "expected finite numbers"),
    "percent missing": ([task(region(width=None))], "expected finite numbers"),
    "turned": ([task(region(rotation=30))], "turned by 30 degrees"),
    "no inside": ([task(region(width=0))], "covers nothing"),
    "two labels": ([task(region(rectanglelabels=["cat", "dog"]))], "expected one"),
    "size 0": ([task(region(original_width=0))], "expected pixels"),
    "size no number": ([task(region(original_width="wide"))], "expected pixels"),
    "JSON-MIN": ([{"image": "/a.jpg", "label": []}], "JSON-MIN"),
    "task no object": ([3], "data is None"),
    "annotations are ids": ([task(annotations=[7])], "export JSON with annotations"),
    "result no list": ([task(annotations=[{"result": 7}])], "expected a list"),
    "no image": ([{"data": {}, "annotations": []}], "neither image nor image_id"),
    "coco without categories": ({"images": [], "annotations": []}, "expected COCO"),
    "coco unknown image": (coco(annotations=annotation(image_id=7)), "none of its images"),
    "coco unknown category": (coco(annotations=annotation(category_id=7)), "none of its categories"),
    "coco short box": (coco(annotations=annotation(bbox=[1, 2])), "has 2 values"),
    "coco negative side": (coco(annotations=annotation(bbox=[50, 20, -10, 5])), "covers nothing"),
    "coco far outside": (coco(annotations=annotation(bbox=[900, 20, 10, 5])), "covers nothing"),
    "coco huge number": (coco(annotations=annotation(bbox=[10**400, 20, 10, 5])), "expected finite numbers"),
    "coco not a number": (coco(annotations=annotation(bbox=[math.nan, 20, 10, 5])), "NaN is no number"),
    "coco truth value": (coco(annotations=annotation(bbox=[True, 20, 10, 5])), "expected finite numbers"),
    "coco image a number": (coco(images=[4]), "expected a whole number or a text"),
    "coco annotations no list": (coco(annotations={}), "expected a list"),
    "cvat no number": (cvat(box("left")), "expected finite numbers"),
    "cvat infinite": (cvat(box("-inf")), "expected finite numbers"),
    "cvat turned": (cvat(box(more='rotation="45"')), "turned by 45 degrees"),
    "cvat without size": (cvat(box(), size=""), "expected pixels"),
    "cvat video": ("<annotations><track id='0' label='cat'/></annotations>", "CVAT for video"),
    "xml bomb": (BOMB + cvat("&c;"), "cannot be read as CVAT XML"),
    "xml entity": (ENTITY + cvat("&b;"), "cannot be read as CVAT XML"),
    "xml broken": (cvat(box())[:-20], "cannot be read as CVAT XML"),
    "other xml": ("<svg/>", "no known format"),
}  # fmt: skip


@pytest.mark.parametrize(("content", "message"), HOSTILE.values(), ids=HOSTILE)
def test_hostile_files_are_one_clear_line(content: object, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        read_reviewed(save(tmp_path, content))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no known format"),
        ("[" * 200_000, "cannot be read as Label Studio JSON"),
        ('{"images": [', "cannot be read as COCO JSON"),
        ('{"images": [NaN]}', "NaN is no number"),
        ("\ufeff[]", "has no reviewed image: submit some"),
    ],
    ids=["empty", "deep", "cut", "not a number", "no task"],
)
def test_broken_text(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        match_images({}, read_reviewed(tmp_path / "x.json"), "x.json")


def test_a_huge_file_is_refused_before_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for content in ([task(region())], cvat(box())):
        path = save(tmp_path, content)
        with path.open("r+b") as file:  # takes no place on the disk
            file.truncate(_checks.MOST_BYTES + 1)
        with pytest.raises(DataError, match="export it in parts"):
            read_reviewed(path)


def test_files_that_are_none_of_ours(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no file"):
        read_reviewed(tmp_path / "none.json")
    with pytest.raises(DataError, match=r"none of coco\.json, boxes\.csv"):
        read_written(tmp_path)
    (tmp_path / "x.txt").write_text("boxes")
    with pytest.raises(DataError, match="neither"):
        read_written(tmp_path / "x.txt")


@pytest.mark.parametrize("text", ["image;label;x_min\na.jpg;cat;1\n", ""], ids=["semicolons", "empty"])
def test_our_csv_with_other_columns_names_those_expected(text: str, tmp_path: Path) -> None:
    (tmp_path / "boxes.csv").write_text(text)
    with pytest.raises(DataError, match=r"boxes\.csv has no column 'image': expected image,label,x_min.*commas"):
        read_written(tmp_path)


def test_of_a_folder_the_file_in_the_format_of_the_review_counts(tmp_path: Path) -> None:
    """Each is of another run of `cdtr localize`, with another left side."""
    empty = {"id": 2, "file_name": "b.jpg", "width": 30, "height": 20}
    tree = coco(annotations=annotation(bbox=[5, 20, 60, 40]), images=[*coco()["images"], empty])  # type: ignore[misc]
    (tmp_path / "coco.json").write_text(json.dumps(tree))
    header = "image,label,x_min,y_min,x_max,y_max,width,height\n"
    (tmp_path / "boxes.csv").write_text(f"{header}a.jpg,cat,7,20,80,60,200,100\n")
    (tmp_path / "cvat.xml").write_text(cvat(box(9)))
    (tmp_path / "label_studio").mkdir()
    ours: list[dict[str, Any]] = [
        {"data": {"image_id": "a.jpg"}, "predictions": [{"result": [region(x=20)]}]},
        {"data": {"image_id": "b.jpg"}, "predictions": [{"result": []}]},
    ]
    (tmp_path / "label_studio" / "tasks.json").write_text(json.dumps(ours))
    (tmp_path / "export").mkdir()
    reviewed: dict[str, object] = {
        "label_studio/tasks.json": [task(region())],
        "coco.json": coco(),
        "cvat.xml": cvat(box()),
    }
    lefts = {}
    for name, content in reviewed.items():
        file, found = read_written(tmp_path, save(tmp_path / "export", content))
        assert file == tmp_path / name
        lefts[name] = found.images[0].boxes[0].xyxy[0]
        if name.startswith("label_studio"):  # it has no place for these
            assert found.class_names == ("cat",)
            assert found.images[1].size_hw == (20, 30)
    assert lefts == {"label_studio/tasks.json": pytest.approx(40), "coco.json": 5, "cvat.xml": 9}
    assert read_written(tmp_path)[0] == tmp_path / "coco.json"
    (tmp_path / "cvat.xml").unlink()
    assert read_written(tmp_path, tmp_path / "export" / "x.xml")[0] == tmp_path / "coco.json"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(
        st.sampled_from(
            ["data", "image", "image_id", "annotations", "result", "value", "x", "type", "images", "categories", "id",
             "bbox", "file_name", "name", "category_id", "iscrowd", "original_width", "rectanglelabels"]
        ),
        inner,
        max_size=6,
    ),
    max_leaves=25,
)  # fmt: skip


trees = (
    json_values
    | st.lists(json_values, max_size=3).map(lambda found: coco(annotations=found))
    | st.lists(json_values, max_size=2).map(lambda found: coco(images=found))
)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tree=trees)
def test_any_json_is_read_or_refused_with_a_message(tree: object, tmp_path: Path) -> None:
    try:
        read_reviewed(save(tmp_path, [tree] if isinstance(tree, str) else tree))
    except CdtrError as error:
        assert "\n" not in str(error)  # noqa: PT017, most trees are refused and some are not
