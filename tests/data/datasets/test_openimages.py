from pathlib import Path

import numpy as np
import pytest
from layouts import Files, write_files

from cdtr.data.datasets import load_source
from cdtr.errors import DataError

OBJECT, OTHER, IGNORE = (np.zeros((3, 4), dtype=bool) for _ in range(3))
OBJECT[0, :2] = OTHER[2, 3] = IGNORE[:2, 1] = True
MASK = [[1, 1, 0, 0], [0, 255, 0, 0], [0, 0, 0, 1]]
FOLDERS: dict[str, str | tuple[int, int] | np.ndarray] = {
    "train/0bt_c3/a.jpg": (4, 3),
    "train/0by6g/b.jpg": (4, 3),
    "val/0bt_c3/c.jpg": (4, 3),
    "val/0bt_c3/c_m0bt_c3_6932e993.png": OBJECT,
    "val/0bt_c3/c_m0bt_c3_0932e9ff.png": OTHER,
    "val/0bt_c3/c_ignore.png": IGNORE,
    "test/0by6g/d.jpg": (4, 3),
    "test/0by6g/d_m0by6g_6932e993.png": OBJECT,
    "test/0by6g/d_ignore.png": np.zeros((3, 4)),
}
LISTS: Files = {
    "metadata/OpenImages/train/image_ids.txt": "train/0bt_c3/a.jpg\ntrain/0by6g/b.jpg\n",
    "metadata/OpenImages/train/class_labels.txt": "train/0bt_c3/a.jpg,0\ntrain/0by6g/b.jpg,1\n",
    "metadata/OpenImages/val/image_ids.txt": "val/0bt_c3/c.jpg\n",
    "metadata/OpenImages/val/class_labels.txt": "val/0bt_c3/c.jpg,0\n",
    "metadata/OpenImages/val/localization.txt": "val/0bt_c3/c.jpg,val/0bt_c3/c_m0bt_c3_6932e993.png,val/0bt_c3/"
    "c_ignore.png\nval/0bt_c3/c.jpg,val/0bt_c3/c_m0bt_c3_0932e9ff.png,\n",
    "metadata/OpenImages/test/image_ids.txt": "test/0by6g/d.jpg\n",
    "metadata/OpenImages/test/class_labels.txt": "test/0by6g/d.jpg,1\n",
}
BENCHMARK: Files = {**LISTS, **{f"dataset/OpenImages/{name}": content for name, content in FOLDERS.items()}}


@pytest.mark.parametrize("files", [FOLDERS, {**FOLDERS, **LISTS}, BENCHMARK], ids=["folders", "lists", "benchmark"])
def test_masks_are_joined_and_no_images(tmp_path: Path, files: Files) -> None:
    source = load_source(write_files(tmp_path, files))
    assert source.name == "openimages"
    assert source.class_names == ("0bt_c3", "0by6g")
    ids = {split: [sample.image_id for sample in samples] for split, samples in source.splits.items()}
    assert ids == {
        "train": ["train/0bt_c3/a.jpg", "train/0by6g/b.jpg"],
        "train-fullsup": ["val/0bt_c3/c.jpg"],
        "test": ["test/0by6g/d.jpg"],
    }
    (val,) = source.splits["train-fullsup"]
    assert val.path.is_file()
    found = source.annotate(val)
    assert found is not None
    assert found.mask is not None
    assert found.mask.tolist() == MASK
    assert sorted(found.boxes_xyxy.tolist()) == [[0, 0, 2, 1], [3, 2, 4, 3]]
    assert source.annotate(source.splits["train"][0]) is None


def test_classes_may_have_names(tmp_path: Path) -> None:
    write_files(tmp_path, {**FOLDERS, "class-descriptions-boxable.csv": "/m/0bt_c3,Book\n/m/0by6g,Table\n"})
    assert load_source(tmp_path).class_names == ("Book", "Table")


def test_masks_outside_are_refused(tmp_path: Path) -> None:
    text = "val/0bt_c3/c.jpg,../../secret.png,\n"
    source = load_source(
        write_files(tmp_path / "set", {**FOLDERS, **LISTS, "metadata/OpenImages/val/localization.txt": text})
    )
    with pytest.raises(DataError, match="points outside"):
        source.annotate(source.splits["train-fullsup"][0])


def test_boxes_of_masks_stored_at_another_scale_are_the_images(tmp_path: Path) -> None:
    large = np.kron(OBJECT, np.ones((2, 2), dtype=bool))
    source = load_source(write_files(tmp_path, {**FOLDERS, "val/0bt_c3/c_m0bt_c3_6932e993.png": large}))
    found = source.annotate(source.splits["train-fullsup"][0])
    assert found is not None
    assert found.mask is not None
    assert found.mask.tolist() == np.kron(np.array(MASK), np.ones((2, 2), dtype=int)).tolist()
    assert sorted(found.boxes_xyxy.tolist()) == [[0, 0, 2, 1], [3, 2, 4, 3]]


def test_masks_of_several_shapes_are_an_error(tmp_path: Path) -> None:
    source = load_source(write_files(tmp_path, {**FOLDERS, "val/0bt_c3/c_ignore.png": np.zeros((5, 5))}))
    with pytest.raises(DataError, match=r"its masks have sizes .* expected the same proportions"):
        source.annotate(source.splits["train-fullsup"][0])
