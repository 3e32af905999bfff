"""Every reader says how many links it passed over because they lead out of the set."""

from pathlib import Path

import numpy as np
import pytest
from layouts import Files, write_files
from PIL import Image

from cdtr.data.datasets import load_source

EDGE = np.ones((3, 4), dtype=bool)
SETS: dict[str, tuple[Files, str]] = {
    "folder": ({"cat/a.jpg": (4, 3), "dog/a.jpg": (4, 3)}, "cat/b.jpg"),
    "brain_tumor": (
        {"Train/NoTumor/images/a.jpg": (4, 3), "Train/Glioma/images/a.jpg": (4, 3)},
        "Train/Glioma/images/b.jpg",
    ),
    "neu_det": (
        {"IMAGES/cut_1.jpg": (4, 3), "IMAGES/spot_1.jpg": (4, 3), "ANNOTATIONS/spot_1.xml": "<annotation/>"},
        "IMAGES/spot_2.jpg",
    ),
    "neu_det mirror": (
        {f"train/images/{name}/{name}_1.jpg": (4, 3) for name in ("crazing", "inclusion", "patches")}
        | {"train/annotations/crazing_1.xml": "<annotation/>"},
        "train/images/crazing/crazing_2.jpg",
    ),
    "openimages": (
        {
            "train/a/a.jpg": (4, 3),
            "train/b/a.jpg": (4, 3),
            "test/a/b.jpg": (4, 3),
            "test/a/b_ignore.png": EDGE,
            "val/a/b_ignore.png": EDGE,
        },
        "train/a/c.jpg",
    ),
    "tiny_imagenet": (
        {"wnids.txt": "n1\nn2\n", "train/n1/images/a.jpg": (4, 3), "train/n2/images/a.jpg": (4, 3)},
        "train/n1/images/b.jpg",
    ),
}


@pytest.mark.parametrize("name", SETS)
def test_links_that_leave_the_set_are_counted(name: str, tmp_path: Path) -> None:
    files, link = SETS[name]
    root = write_files(tmp_path / "set", files)
    Image.new("L", (4, 3)).save(tmp_path / "outside.jpg")
    (root / link).symlink_to(tmp_path / "outside.jpg")
    with pytest.warns(UserWarning, match="1 links lead out of it and are left out"):
        source = load_source(root)
    assert source.name == name.split()[0]
    assert all(sample.image_id != link for samples in source.splits.values() for sample in samples)


def test_a_linked_class_folder_of_the_mirror_is_counted(tmp_path: Path) -> None:
    files, _ = SETS["neu_det mirror"]
    root = write_files(tmp_path / "set", files)
    (root / "train" / "images" / "patches").rename(tmp_path / "patches")
    (root / "train" / "images" / "patches").symlink_to(tmp_path / "patches")
    with pytest.warns(UserWarning, match="1 links lead out of it and are left out"):
        load_source(root)
