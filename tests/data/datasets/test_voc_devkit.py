from pathlib import Path

import pytest
from layouts import voc_xml, write_files

from cdtr.data.datasets import load_source
from cdtr.errors import DataError

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
    with pytest.warns(UserWarning, match="2 images that show several classes, or none clearly, are left out"):
        source = load_source(tmp_path)
    assert (source.name, source.class_names) == ("voc", ("cat", "dog"))
    (only,), (val,) = source.splits["train"], source.splits["val"]
    assert (only.image_id, only.label, val.label) == (f"{below}JPEGImages/1.jpg", 0, 1)
    assert only.path.is_file()
    annotation = source.annotate(only)
    assert annotation is not None
    assert annotation.boxes_xyxy.tolist() == [[0, 0, 20, 10], [4, 4, 6, 7]]


def test_years_are_joined(tmp_path: Path) -> None:
    for year in ("VOC2007", "VOC2012"):
        write_files(tmp_path / year, YEAR)
    with pytest.warns(UserWarning, match="4 images"):
        source = load_source(tmp_path)
    assert [sample.image_id[:7] for sample in source.splits["train"]] == ["VOC2007", "VOC2012"]


@pytest.mark.parametrize(
    ("line", "message"), [("1 yes\n", "expected an image and 1, 0 or -1"), ("../../../x 1\n", "points outside")]
)
def test_a_damaged_list_is_named(tmp_path: Path, line: str, message: str) -> None:
    write_files(tmp_path / "voc", {**YEAR, "ImageSets/Main/cat_train.txt": line})
    with pytest.raises(DataError, match=message):
        load_source(tmp_path / "voc")
