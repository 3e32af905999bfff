from pathlib import Path

import pytest
from PIL import Image

from cdtr.data.datasets import load_source
from cdtr.errors import DataError
from cdtr.image_files.reading import read_size

LISTS = {
    "classes.txt": "7 007.Crow\n9 009.Blue_Jay\n",
    "images.txt": "1 007.Crow/a b.jpg\n4 009.Blue_Jay/c.jpg\n5 009.Blue_Jay/d.jpg\n",
    "image_class_labels.txt": "1 7\n4 9\n5 9\n",
    "bounding_boxes.txt": "1 2.5 3.0 4.0 5.0\n4 0.0 0.0 10.0 11.0\n",
    "train_test_split.txt": "1 1\n4 0\n5 1\n",
}


def _make(root: Path, **changed: str | None) -> Path:
    (root / "images").mkdir(parents=True)
    changes = {f"{name}.txt": text for name, text in changed.items()}
    for name, text in (LISTS | changes).items():
        if text is not None:
            (root / name).write_text(text)
    return root


def test_the_published_lists_are_read_with_gaps_and_blanks(tmp_path: Path) -> None:
    source = load_source(_make(tmp_path))
    assert source.name == "cub"
    assert source.class_names == ("007.Crow", "009.Blue_Jay")
    assert source.annotated is True
    (test,) = source.splits["test"]
    train = source.splits["train"]
    assert [(s.image_id, s.label) for s in train] == [("images/007.Crow/a b.jpg", 0), ("images/009.Blue_Jay/d.jpg", 1)]
    assert train[0].path == tmp_path / "images" / "007.Crow" / "a b.jpg"
    box, outside = source.annotate(train[0]), source.annotate(test)
    assert box is not None
    assert box.boxes_xyxy.tolist() == [[2.5, 3, 6.5, 8]]
    assert outside is not None
    assert source.annotate(train[1]) is None


def test_without_boxes_it_is_not_annotated(tmp_path: Path) -> None:
    assert not load_source(_make(tmp_path, bounding_boxes=None)).annotated


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("bounding_boxes", "1 2 3 4\n", "bounding_boxes.txt, line 1: box '2 3 4'"),
        ("bounding_boxes", "1 2 3 0 4\n", "width and height above 0"),
        ("bounding_boxes", "1 2 3 nan 4\n", "finite"),
        ("image_class_labels", "1 7\n4 8\n5 9\n", "line 2: '8', expected a class of classes.txt"),
        ("image_class_labels", "1 7\n", "lacks 2 images of images.txt, such as 009.Blue_Jay/c.jpg"),
        ("train_test_split", "1 1\n4 2\n5 1\n", "expected 1 for train or 0 for test"),
        ("images", "1 a.jpg\n1 b.jpg\n", "line 2: number 1 comes twice"),
        ("images", "a.jpg\n", "expected a number and a value"),
        ("images", "1 ../../x.jpg\n4 a\n5 b\n", "points outside the data set"),
    ],
)
def test_a_broken_line_is_named(tmp_path: Path, name: str, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_source(_make(tmp_path / "cub", **{name: text}))


def test_the_real_subset(shared_data: Path) -> None:
    source = load_source(shared_data / "cub-50")
    assert {split: len(samples) for split, samples in source.splits.items()} == {"train": 1500, "test": 1389}
    assert len(source.class_names) == 50
    outside = 0
    for sample in [sample for samples in source.splits.values() for sample in samples]:
        annotation = source.annotate(sample)
        assert annotation is not None
        height, width = read_size(sample.path, 10**8)
        x0, y0, x1, y1 = annotation.boxes_xyxy[0]
        assert 0 <= x0 < x1 < width + 24
        assert 0 <= y0 < y1 < height + 24
        outside += x1 > width + 1 or y1 > height + 1
    assert outside == 3
    with Image.open(source.splits["test"][0].path) as image:
        image.verify()
