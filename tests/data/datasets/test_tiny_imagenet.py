from pathlib import Path

import pytest
from PIL import Image

from cdtr.data.datasets import load_source
from cdtr.errors import DataError

BOXES = {"n1": "n1_0.JPEG\t0\t2\t63\t40\nn1_1.JPEG\t5\t6\t5\t6\n", "n2": "n2_0.JPEG\t1\t1\t2\t2\n"}
VAL = "val_0.JPEG\tn2\t0\t32\t44\t62\n"


def _make(root: Path, boxes: dict[str, str] = BOXES, val: str = VAL, wnids: str = "n2\nn1\n") -> Path:
    for wnid, text in boxes.items():
        (root / "train" / wnid / "images").mkdir(parents=True)
        (root / "train" / wnid / f"{wnid}_boxes.txt").write_text(text)
        for name in [line.split("\t")[0] for line in BOXES[wnid].splitlines()]:
            Image.new("RGB", (64, 64)).save(root / "train" / wnid / "images" / name, "JPEG")
    (root / "val" / "images").mkdir(parents=True)
    (root / "val" / "val_annotations.txt").write_text(val)
    (root / "wnids.txt").write_text(wnids)
    (root / "words.txt").write_text("n1\tcrane, lifting device\nn2\tcrane\nn3\tgoose\n")
    return root


def test_the_published_layout_is_read(tmp_path: Path) -> None:
    source = load_source(_make(tmp_path))
    assert source.name == "tiny_imagenet"
    assert source.class_names == ("crane (n2)", "crane (n1)")
    assert [(s.image_id, s.label) for s in source.splits["train"]] == [
        ("train/n2/images/n2_0.JPEG", 0),
        ("train/n1/images/n1_0.JPEG", 1),
        ("train/n1/images/n1_1.JPEG", 1),
    ]
    (val,) = source.splits["val"]
    assert val.image_id == "val/images/val_0.JPEG"
    assert val.label == 0
    boxes = [
        annotation.boxes_xyxy.tolist() for s in (*source.splits["train"], val) if (annotation := source.annotate(s))
    ]
    assert boxes == [[[1, 1, 3, 3]], [[0, 2, 64, 41]], [[5, 6, 6, 7]], [[0, 32, 45, 63]]]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"val": "val_0.JPEG\tn9\t0\t0\t1\t1\n"}, "val_annotations.txt, line 1: class 'n9'"),
        ({"val": "val_0.JPEG n2 0 0 1 1\n"}, "line 1: 1 fields, expected 6 with tabs"),
        ({"val": "val_0.JPEG\tn2\t9\t0\t1\t1\n"}, "inverted"),
        ({"val": "val_0.JPEG\tn2\tx\t0\t1\t1\n"}, "expected whole numbers"),
        ({"val": "../../../x.JPEG\tn2\t0\t0\t1\t1\n"}, "points outside"),
        ({"boxes": BOXES | {"n1": "n1_0.JPEG\t0\t1\t1\n"}}, "n1_boxes.txt, line 1: 4 fields"),
        ({"wnids": "n1\nn1\n"}, "n1 twice"),
        ({"wnids": "n1\nn7\n"}, "lacks train/n7"),
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, changes: dict[str, str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_source(_make(tmp_path / "tiny", **changes))  # type: ignore[arg-type]


def test_the_real_subset(shared_data: Path) -> None:
    source = load_source(shared_data / "tiny-imagenet-40")
    assert {split: len(samples) for split, samples in source.splits.items()} == {"train": 20000, "val": 2000}
    assert source.class_names[:2] == ("goose", "slug")
    for sample in source.splits["val"][::40] + source.splits["train"][::400]:
        annotation = source.annotate(sample)
        assert annotation is not None
        x0, y0, x1, y1 = annotation.boxes_xyxy[0]
        assert 0 <= x0 < x1 <= 64
        assert 0 <= y0 < y1 <= 64
