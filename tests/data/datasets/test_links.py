"""Every reader follows links, as subsets and data under version control are made of them, and names dead ones."""

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
def test_links_are_followed_and_dead_ones_named(name: str, tmp_path: Path) -> None:
    files, link = SETS[name]
    root = write_files(tmp_path / "set", files)
    (root / link).symlink_to(tmp_path / "outside.jpg")
    with pytest.warns(UserWarning, match="1 dead links"):
        load_source(root)
    Image.new("L", (4, 3)).save(tmp_path / "outside.jpg")
    source = load_source(root)
    assert source.name == name.split()[0]
    assert any(sample.image_id == link for samples in source.splits.values() for sample in samples)


def test_a_linked_class_folder_of_the_mirror_is_followed(tmp_path: Path) -> None:
    files, _ = SETS["neu_det mirror"]
    root = write_files(tmp_path / "set", files)
    (root / "train" / "images" / "patches").rename(tmp_path / "patches")
    (root / "train" / "images" / "patches").symlink_to(tmp_path / "patches")
    assert "train/images/patches/patches_1.jpg" in [sample.image_id for sample in load_source(root).splits["train"]]
