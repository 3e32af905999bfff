from pathlib import Path

import pytest
from layouts import voc_xml, write_files

from cdtr.data.datasets import load_source
from cdtr.errors import AnnotationError, DataError

YEAR = {
    "JPEGImages/1.jpg": (20, 10),
    "JPEGImages/2.jpg": (20, 10),
    "JPEGImages/3.jpg": (20, 10),
    "JPEGImages/4.jpg": (20, 10),
    "Annotations/1.xml": voc_xml(("cat", 0, 1, 1, 20, 10), ("cat", 1, 2, 2, 3, 3), ("cat", 0, 5, 5, 6, 7)),
    "Annotations/2.xml": voc_xml(("cat", 0, 1, 1, 2, 2), ("dog", 1, 1, 1, 2, 2)),
    "Annotations/3.xml": voc_xml(("dog", 1, 1, 1, 2, 2)),
    "Annotations/4.xml": voc_xml(("dog", 0, 1, 1, 2, 2)),
    "ImageSets/Main/train.txt": "1\n2\n3\n",
    "ImageSets/Main/val.txt": "4\n",
    "ImageSets/Main/cat_train.txt": "1  1\n2  1\n3 -1\n",
    "ImageSets/Main/dog_train.txt": "1 -1\n2  0\n3  0\n",
    "ImageSets/Main/cat_val.txt": "4 -1\n",
    "ImageSets/Main/dog_val.txt": "4  1\n",
}


@pytest.mark.parametrize("below", ["", "VOC2007/", "VOCdevkit/VOC2012/"])
def test_images_of_one_class_are_used(tmp_path: Path, below: str) -> None:
    write_files(tmp_path, {f"{below}{name}": content for name, content in YEAR.items()})
    with pytest.warns(UserWarning, match=r"2 images that show several classes, or none clearly, .*train/2\) left out"):
        source = load_source(tmp_path)
    assert source.name == "voc"
    assert source.class_names == ("cat", "dog")
    (only,), (val,) = source.splits["train"], source.splits["val"]
    assert only.image_id == f"{below}JPEGImages/1.jpg"
    assert only.label == 0
    assert val.label == 1
    assert only.path.is_file()
    annotation = source.annotate(only)
    assert annotation is not None
    assert annotation.boxes_xyxy.tolist() == [[0, 0, 20, 10], [4, 4, 6, 7]]


def test_years_are_joined(tmp_path: Path) -> None:
    for year in ("VOC2007", "VOC2012"):
        write_files(tmp_path / year, YEAR)
    with pytest.warns(UserWarning, match="images that show"):
        source = load_source(tmp_path)
    assert [sample.image_id[:7] for sample in source.splits["train"]] == ["VOC2007", "VOC2012"]


def test_sets_of_labelling_tools_take_their_classes_from_the_xml(tmp_path: Path) -> None:
    files = {name: content for name, content in YEAR.items() if "_" not in name}
    files |= {"JPEGImages/a/5.png": (20, 10), "Annotations/a/5.xml": voc_xml(("cat", 0, 2, 3, 4, 5))}
    files["ImageSets/Main/train.txt"] = "1\n2.jpg\n3\na/5.png\ngone\n"
    write_files(tmp_path, files)
    with (
        pytest.warns(UserWarning, match="1 listed images without XML"),
        pytest.warns(UserWarning, match="2 images that show several classes, or none clearly,"),
    ):
        source = load_source(tmp_path)
    assert source.name == "voc"
    assert source.class_names == ("cat", "dog")
    assert [sample.image_id for sample in source.splits["train"]] == ["JPEGImages/1.jpg", "JPEGImages/a/5.png"]
    assert [(sample.image_id, sample.label) for sample in source.splits["val"]] == [("JPEGImages/4.jpg", 1)]
    annotation = source.annotate(source.splits["train"][1])
    assert annotation is not None
    assert annotation.boxes_xyxy.tolist() == [[1, 2, 4, 5]]


def test_a_list_of_another_name_is_of_images_to_train_on(tmp_path: Path) -> None:
    files = {name: content for name, content in YEAR.items() if not name.startswith("ImageSets")}
    write_files(tmp_path, {**files, "ImageSets/Main/default.txt": "1\n4\n"})
    source = load_source(tmp_path)
    assert [(sample.image_id, sample.label) for sample in source.splits["train"]] == [
        ("JPEGImages/1.jpg", 0),
        ("JPEGImages/4.jpg", 1),
    ]


@pytest.mark.parametrize(
    ("line", "message"), [("1 yes\n", "expected an image and 1, 0 or -1"), ("../../../x 1\n", "points outside")]
)
def test_a_damaged_list_is_named(tmp_path: Path, line: str, message: str) -> None:
    write_files(tmp_path / "voc", {**YEAR, "ImageSets/Main/cat_train.txt": line})
    with pytest.raises(DataError, match=message):
        load_source(tmp_path / "voc")


@pytest.mark.parametrize("lists", [True, False])
def test_boxes_are_scaled_clipped_and_counted_as_those_beside_a_folder(tmp_path: Path, lists: bool) -> None:
    size = "<annotation><size><width>10</width><height>5</height></size>"
    files = {name: content for name, content in YEAR.items() if lists or "_" not in name}
    files["Annotations/4.xml"] = voc_xml(("dog", 0, 0, 2, 11, 3)).replace("<annotation>", size)
    files["Annotations/1.xml"] = "<annotation><object>" if lists else files["Annotations/1.xml"]
    write_files(tmp_path, files)
    with pytest.warns(UserWarning, match="images that show"):
        source = load_source(tmp_path)
    annotation = source.annotate(source.splits["val"][0])
    assert annotation is not None
    assert annotation.boxes_xyxy.tolist() == [[0, 2, 20, 6]]
    (_, boxes) = source.accounts
    assert "1 images with boxes scaled from the size that their file says" in boxes.line()
    assert "1 boxes clipped" in boxes.line()
    assert "1 images with boxes from pixel 0" in boxes.line()
    if lists:
        with pytest.raises(AnnotationError, match="cannot be read as Pascal VOC"):
            source.annotate(source.splits["train"][0])


def test_damaged_xml_is_one_reason_however_many_files(tmp_path: Path) -> None:
    files = {name: content for name, content in YEAR.items() if "_" not in name}
    write_files(tmp_path, {**files, "Annotations/1.xml": "<a>", "Annotations/3.xml": "<a>"})
    with (
        pytest.warns(
            UserWarning, match=r"2 images whose XML cannot be read \(such as .*1.xml cannot be read as Pascal"
        ),
        pytest.warns(UserWarning, match="images that show"),
    ):
        load_source(tmp_path)
