"""Every format gives the same boxes, finds its images by name, and refuses what it must not read."""

import json
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from box_files import USUAL, Boxes, write_coco, write_csv
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from cdtr.config import DataConfig
from cdtr.data.datasets import load_source
from cdtr.data.opening import open_data
from cdtr.errors import DataError
from cdtr.formats import annotation_modules
from cdtr.formats.yolo import read_yolo
from cdtr.records import DataSource, FloatArray

IMAGES = ("train/cat/a b.png", "train/cat/same.png", "train/dog/same.png", "val/dog/ü,1.png")
SIZES = {name: (40 + 10 * number, 30) for number, name in enumerate(IMAGES)}
BOXES: Boxes = {
    IMAGES[0]: [("cat", (1, 2, 11, 22)), ("cat", (0, 0, 40, 30))],
    IMAGES[1]: [("cat", (3, 4, 5, 6))],
    IMAGES[3]: [("dog", (7, 8, 17, 28))],
}
OTHERS = pytest.mark.parametrize("format", [name for name in USUAL if name != "wsol"])  # those that name classes
FUZZ = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "data"
    for name, (width, height) in SIZES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (width, height)).save(root / name)
    return root


def _all(source: DataSource) -> dict[str, FloatArray]:
    samples = [sample for split in source.splits.values() for sample in split]
    found = {sample.image_id: source.annotate(sample) for sample in samples}
    return {name: annotation.boxes_xyxy for name, annotation in found.items() if annotation is not None}


def _check(found: dict[str, FloatArray], boxes: Boxes = BOXES) -> None:
    assert found.keys() == boxes.keys()
    for name, expected in boxes.items():
        assert found[name].shape == (len(expected), 4)
        np.testing.assert_allclose(found[name], np.array([box for _, box in expected]).reshape(-1, 4), atol=1e-9)


def test_all_formats_are_tried() -> None:
    assert sorted({*USUAL, "masks"}) == list(annotation_modules()), "test_masks.py tries those"


@pytest.mark.parametrize("format", USUAL)
def test_boxes_in_their_usual_place_are_found(folder: Path, format: str) -> None:
    place, write = USUAL[format]
    write(folder / place, BOXES, SIZES)
    source = load_source(folder)
    assert source.name == "folder"
    assert source.class_names == ("cat", "dog")
    assert source.annotated is True
    _check(_all(source))


@pytest.mark.parametrize("format", USUAL)
def test_boxes_anywhere_are_read_when_named(folder: Path, format: str) -> None:
    place, write = USUAL[format]
    (folder.parent / "elsewhere").mkdir()
    path = write(folder.parent / "elsewhere" / place, BOXES, SIZES)
    assert not load_source(folder).annotated
    _check(_all(open_data(folder, DataConfig(boxes=str(path)))))


@pytest.mark.parametrize("format", ["voc", "yolo"])
def test_boxes_beside_the_images_are_found(folder: Path, format: str) -> None:
    USUAL[format][1](folder, BOXES, SIZES)
    _check(_all(load_source(folder)))


def test_yolo_labels_may_lie_beside_the_images_folder(tmp_path: Path) -> None:
    for name in ("train/a/images/1.png", "train/b/images/1.png"):
        (tmp_path / name).parent.mkdir(parents=True)
        Image.new("L", (10, 20)).save(tmp_path / name)
    (tmp_path / "train" / "b" / "labels").mkdir()
    (tmp_path / "train" / "b" / "labels" / "1.txt").write_text(
        "0 0.5 0.5 0.2 0.1\n1 .1 .1 .3 .1 .3 .2 .1 .2\n1 0 0 2 2\n"
    )
    (tmp_path / "data.yaml").write_text("names: {0: a, 1: b}\n")
    found = _all(load_source(tmp_path))
    assert list(found) == ["train/b/images/1.png"]
    np.testing.assert_allclose(found["train/b/images/1.png"], [[1, 2, 3, 4], [0, 0, 10, 20]])


def test_no_boxes_are_read_before_somebody_asks(folder: Path) -> None:
    (folder / "boxes.csv").write_text("not,what,is,expected\n")
    source = load_source(folder)
    assert source.annotated
    with pytest.raises(DataError, match=r"boxes\.csv has the columns not, what"):
        source.annotate(source.splits["train"][0])


def test_boxes_can_be_switched_off(folder: Path) -> None:
    (folder / "boxes.csv").write_text("anything\n")
    source = open_data(folder, DataConfig(boxes="none"))
    assert not source.annotated
    assert _all(source) == {}


def test_boxes_in_two_formats_are_not_guessed_between(folder: Path) -> None:
    for format in ("csv", "coco"):
        USUAL[format][1](folder / USUAL[format][0], BOXES, SIZES)
    with pytest.raises(DataError, match=r"annotations\.json \(coco\) and boxes\.csv \(csv\).*data\.boxes"):
        _all(load_source(folder))
    _check(_all(open_data(folder, DataConfig(boxes="boxes.csv"))))
    assert not open_data(folder, DataConfig(boxes="none")).annotated


def test_a_label_file_of_several_images_is_an_error_once_boxes_are_needed(folder: Path) -> None:
    (folder / "same.txt").write_text("0 0.5 0.5 1 1\n")
    source = load_source(folder)
    with pytest.raises(DataError, match=r"same\.txt may be of train/cat/same\.png or train/dog/same\.png"):
        _all(source)


@OTHERS
def test_only_boxes_of_the_images_class_count(folder: Path, format: str) -> None:
    place, write = USUAL[format]
    write(
        folder / place,
        {IMAGES[0]: [("dog", (1, 2, 3, 4)), ("Cat", (5, 6, 7, 8))], IMAGES[1]: [("dog", (0, 0, 1, 1))]},
        SIZES,
    )
    _check(_all(load_source(folder)), {IMAGES[0]: [("cat", (5, 6, 7, 8))], IMAGES[1]: []})


@OTHERS
def test_one_class_that_is_none_of_the_datas_counts_for_all(folder: Path, format: str) -> None:
    place, write = USUAL[format]
    boxes = {IMAGES[0]: [("object", (1, 2, 3, 4))], IMAGES[3]: [("object", (5, 6, 7, 8))]}
    write(folder / place, boxes, SIZES)
    _check(_all(load_source(folder)), boxes)


@OTHERS
def test_classes_named_otherwise_are_an_error(folder: Path, format: str) -> None:
    place, write = USUAL[format]
    write(folder / place, {IMAGES[0]: [("katze", (1, 2, 3, 4)), ("hund", (1, 2, 3, 4))]}, SIZES)
    source = load_source(folder)
    with pytest.raises(DataError, match=r"has boxes of hund, katze, the images are of cat, dog"):
        _all(source)


@given(st.integers(1, 5000), st.data(), st.integers(6, 17))
def test_whole_pixels_come_back_whole_from_yolos_decimals(side: int, data: st.DataObject, decimals: int) -> None:
    """What the protocols cut off behind the point is not what the decimals have lost."""
    start = data.draw(st.integers(0, side - 1))
    end = data.draw(st.integers(start + 1, side))
    centre, length = round((start + end) / 2 / side, decimals), round((end - start) / side, decimals)
    with TemporaryDirectory() as folder:
        file = Path(folder) / "a.txt"
        file.write_text(f"0 {centre:.17f} {centre:.17f} {length:.17f} {length:.17f}\n")
        assert read_yolo(file, (side, side)) == [(0, (start, start, end, end))]


def test_what_six_decimals_can_tell_from_a_whole_pixel_stays(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("0 0.505002 0.500000 0.490000 0.200000\n")
    [(_, corners)] = read_yolo(tmp_path / "a.txt", (99, 100))
    np.testing.assert_allclose(corners, (26.0002, 39.6, 75.0002, 59.4), atol=1e-9)


def test_yolo_numbers_without_names_are_an_error(folder: Path) -> None:
    USUAL["yolo"][1](folder / "labels", {IMAGES[0]: [("cat", (1, 2, 3, 4)), ("dog", (1, 2, 3, 4))]}, SIZES)
    (folder / "labels" / "classes.txt").unlink()
    with pytest.raises(DataError, match=r"class 0, class 1, and no names.*classes\.txt"):
        _all(load_source(folder))


def test_a_short_name_is_enough_where_it_is_the_only_one(folder: Path) -> None:
    write_coco(folder / "annotations.json", {"a b.png": BOXES[IMAGES[0]], "cat/same.png": BOXES[IMAGES[1]]}, SIZES)
    _check(_all(load_source(folder)), {name: BOXES[name] for name in IMAGES[:2]})


def test_a_name_of_two_images_is_an_error(folder: Path) -> None:
    write_csv(folder / "boxes.csv", {"same.png": [("cat", (1, 2, 3, 4))]}, SIZES)
    with pytest.raises(DataError, match=r"row 1: image 'same\.png' may be train/cat/same\.png or train/dog/same\.png"):
        _all(load_source(folder))


def test_a_name_that_says_more_than_the_id_is_taken_once(folder: Path) -> None:
    """The data are one folder of those that the file is about."""
    rows = [f"{split}/{IMAGES[0]},1,2,3,4\n" for split in ("train", "train", "val")]
    (folder / "boxes.csv").write_text("image,xmin,ymin,xmax,ymax\n" + "".join(rows[:2]))
    assert _all(load_source(folder))[IMAGES[0]].tolist() == [[1, 2, 3, 4]] * 2
    (folder / "boxes.csv").write_text("image,xmin,ymin,xmax,ymax\n" + "".join(rows))
    with pytest.raises(DataError, match=r"may be train/train/cat/a b\.png or val/train/cat/a b\.png"):
        _all(load_source(folder))


@pytest.mark.parametrize("format", ["voc", "yolo"])
def test_two_files_of_boxes_of_one_image_must_say_the_same(folder: Path, format: str) -> None:
    write = USUAL[format][1]
    write(folder, BOXES, SIZES)
    write(folder / "labels", BOXES, SIZES)
    _check(_all(load_source(folder)))
    write(folder / "labels", {IMAGES[1]: [("cat", (3, 4, 6, 6)), ("dog", (1, 2, 3, 4))]}, SIZES)
    with pytest.raises(DataError, match=r"train/cat/same\.png has two files of boxes"):
        _all(load_source(folder))


def test_a_number_of_no_class_costs_its_image_alone(folder: Path) -> None:
    USUAL["yolo"][1](folder, BOXES, SIZES)
    (folder / "classes.txt").write_text("cat\n")
    source = load_source(folder)
    samples = {sample.image_id: sample for samples in source.splits.values() for sample in samples}
    assert source.annotate(samples[IMAGES[1]]) is not None
    with pytest.raises(DataError, match=r"class 1, but there are 1 names of classes"):
        source.annotate(samples[IMAGES[3]])


def test_coco_in_a_splits_folder_names_its_images(folder: Path) -> None:
    Image.new("L", (9, 9)).save(folder / "train" / "dog" / "ü,1.png")
    write_coco(folder / "val" / "_annotations.coco.json", {"ü,1.png": BOXES[IMAGES[3]]}, SIZES)
    _check(_all(load_source(folder)), {IMAGES[3]: BOXES[IMAGES[3]]})


def test_images_that_are_not_there_are_reported(folder: Path) -> None:
    write_csv(folder / "boxes.csv", {**BOXES, "gone.png": [("cat", (1, 2, 3, 4))]}, SIZES)
    with pytest.warns(UserWarning, match=r"1 of its images are not in .*gone\.png"):
        _check(_all(load_source(folder)))


def test_a_file_of_other_images_is_an_error(folder: Path) -> None:
    write_csv(folder / "boxes.csv", {"gone.png": [("cat", (1, 2, 3, 4))]}, SIZES)
    with pytest.raises(DataError, match=r"names no image of .* it has 'gone\.png', the images are named like 'train/"):
        _all(load_source(folder))


@pytest.mark.parametrize(
    "name", ["../a b.png", "train/cat/../../../etc/passwd", "/etc/passwd", "..\\a b.png", "C:\\a b.png"]
)
@pytest.mark.parametrize("format", ["coco", "csv", "wsol"])
def test_names_that_leave_the_data_are_refused(folder: Path, format: str, name: str) -> None:
    place, write = USUAL[format]
    write(folder / place, {name: [("cat", (1, 2, 3, 4))]}, SIZES)
    with pytest.raises(DataError, match="points outside the data set"):
        _all(load_source(folder))


def test_masks_of_a_list_must_lie_inside(folder: Path) -> None:
    (folder / "localization.txt").write_text(f"{IMAGES[0]},../mask.png,\n")
    with pytest.raises(DataError, match="points outside the data set"):
        _all(load_source(folder))


def test_linked_labels_are_followed_as_the_folder_is_the_users(folder: Path) -> None:
    (folder.parent / "stored.txt").write_text("0 0.5 0.5 1 1\n")
    (folder / IMAGES[0]).with_suffix(".txt").symlink_to(folder.parent / "stored.txt")
    (folder / IMAGES[1]).with_suffix(".txt").write_text("0 0.5 0.5 1 1\n")
    assert list(_all(load_source(folder))) == [IMAGES[0], IMAGES[1]]


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        pytest.param([], "is no COCO file", id="list"),
        pytest.param({"images": [], "annotations": 3}, "is no COCO file", id="number"),
        pytest.param({"images": [{"id": 1}], "annotations": []}, r"images\[0\]: file_name is None", id="no-name"),
        pytest.param({"bbox": [1, 2, 3]}, r"annotations\[0\] \(.*\): bbox \[1, 2, 3\]", id="three"),
        pytest.param({"bbox": [1, 2, "3", 4]}, r"annotations\[0\] \(.*\): bbox \[1, 2, '3', 4\]", id="text"),
        pytest.param({"bbox": [1, 2, 0, 4]}, "has no inside", id="flat"),
        pytest.param({"bbox": [1, 2, 10**400, 4]}, "bbox", id="huge"),
        pytest.param({"category_id": 5}, "category_id 5 is none of its categories", id="other-class"),
        pytest.param({"category_id": [5]}, "category_id", id="list-class"),
    ],
)
def test_damaged_coco_is_one_line(folder: Path, tree: object, message: str) -> None:
    if isinstance(tree, dict) and "images" not in tree:
        entry = {"image_id": 1, "category_id": 2, "bbox": [1, 2, 3, 4], **tree}
        images = [{"id": 1, "file_name": IMAGES[0]}]
        tree = {"images": images, "annotations": [entry], "categories": [{"id": 2, "name": "cat"}]}
    (folder / "annotations.json").write_text(json.dumps(tree))
    with pytest.raises(DataError, match=message):
        _all(load_source(folder))


@pytest.mark.parametrize("line", ["0 0.5 0.5 1", "x 0.5 0.5 1 1", "0 0.5 0.5 0 1", "0 nan 0 1 1", "0 0 0 1 1 0.9", "0"])
def test_a_damaged_yolo_line_is_named(folder: Path, line: str) -> None:
    (folder / "labels" / "train" / "cat").mkdir(parents=True)
    (folder / "labels" / "train" / "cat" / "a b.txt").write_text(f"{line}\n")
    with pytest.raises(DataError, match=r"a b\.txt, line 1"):
        _all(load_source(folder))


@pytest.mark.parametrize("row", ["a b.png,1,2,3,x", "a b.png,1,2,1,4", "a b.png,1,2,,4", ",1,2,3,4"])
def test_a_damaged_csv_row_is_named(folder: Path, row: str) -> None:
    (folder / "boxes.csv").write_text(f"image,x_min,y_min,x_max,y_max\n{row}\n")
    with pytest.raises(DataError, match=r"boxes\.csv, row 1"):
        _all(load_source(folder))


def test_csv_takes_sizes_too(folder: Path) -> None:
    (folder / "boxes.csv").write_text("path,X,Y,Width,Height\na b.png,1,2,3,4\n")
    assert _all(load_source(folder))[IMAGES[0]].tolist() == [[1, 2, 4, 6]]


@FUZZ
@given(
    st.lists(st.tuples(*(st.floats(0, 0.9) for _ in range(2)), *(st.floats(0.05, 0.1) for _ in range(2))), max_size=4)
)
@pytest.mark.parametrize("format", USUAL)
def test_any_box_comes_back(folder: Path, format: str, shares: list[tuple[float, ...]]) -> None:
    width, height = SIZES[IMAGES[0]]
    corners = [(x * width, y * height, (x + w) * width, (y + h) * height) for x, y, w, h in shares]
    boxes = {IMAGES[0]: [("cat", box) for box in corners], IMAGES[1]: [("cat", (0.0, 0.0, 40.0, 30.0))]}
    place, write = USUAL[format]
    write(folder / place, boxes, SIZES)
    found = _all(load_source(folder)).get(IMAGES[0])
    if format == "wsol" and not corners:
        assert found is None  # a list of boxes cannot tell that there is none
    else:
        assert found is not None
        off = 1e-6 * width if format == "yolo" else 1e-9  # what lies that near a whole pixel is put on it
        np.testing.assert_allclose(found, np.array(corners).reshape(-1, 4), atol=off)


@FUZZ
@given(st.text(max_size=200) | st.binary(max_size=200))
@pytest.mark.parametrize(
    "name", ["annotations.json", "boxes.csv", "localization.txt", "train/cat/a b.txt", "train/cat/a b.xml"]
)
def test_nonsense_is_a_data_error_or_nothing(folder: Path, name: str, content: str | bytes) -> None:
    (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    with suppress(DataError):
        _all(load_source(folder))


@OTHERS
def test_one_bad_box_leaves_those_of_other_images(folder: Path, format: str) -> None:
    place, write = USUAL[format]
    boxes = {IMAGES[0]: [("cat", (5.0, 5.0, 5.0, 9.0))], IMAGES[1]: [("cat", (1.0, 2.0, 8.0, 9.0))]}
    write(folder / place, boxes, SIZES)
    source = load_source(folder)
    samples = {sample.image_id: sample for samples in source.splits.values() for sample in samples}
    found = source.annotate(samples[IMAGES[1]])
    assert found is not None
    np.testing.assert_allclose(found.boxes_xyxy, [[1, 2, 8, 9]], atol=1e-6)
    with pytest.raises(DataError, match=r"no inside|expected xmin <= xmax"):
        source.annotate(samples[IMAGES[0]])


def test_a_broken_image_leaves_the_boxes_of_others(folder: Path) -> None:
    place, write = USUAL["yolo"]
    write(folder / place, {name: [("cat", (1.0, 2.0, 8.0, 9.0))] for name in IMAGES[:2]}, SIZES)
    (folder / IMAGES[0]).write_bytes(b"")
    source = load_source(folder)
    samples = {sample.image_id: sample for samples in source.splits.values() for sample in samples}
    assert source.annotate(samples[IMAGES[1]]) is not None
    with pytest.raises(DataError, match="is empty"):
        source.annotate(samples[IMAGES[0]])
