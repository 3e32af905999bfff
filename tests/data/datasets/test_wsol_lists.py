import numpy as np
import pytest
from PIL import Image

from cdtr.data.datasets import load_source
from cdtr.errors import DataError

LISTS = {
    "image_ids.txt": "val/a,b.jpg\nval/c.jpg\n",
    "class_labels.txt": "val/a,b.jpg,1\nval/c.jpg,0\n",
    "image_sizes.txt": "val/a,b.jpg,500,375\nval/c.jpg,10,20\n",
    "localization.txt": "val/a,b.jpg,1,2,30,40\nval/a,b.jpg,5,6,7,8\nval/c.jpg,0,0,9,19\n",
}


def write(folder, **changes):
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in {**LISTS, **{f"{key}.txt": value for key, value in changes.items()}}.items():
        (folder / name).write_text(text)
    return folder


def test_lists_are_read_without_images(tmp_path):
    source = load_source(write(tmp_path))
    assert source.name == "wsol_lists"
    assert source.class_names == ("class 0", "class 1")
    first, second = source.splits["test"]
    assert first.image_id == "val/a,b.jpg"
    assert first.label == 1
    assert source.size_hw(first) == (375, 500)
    assert source.annotate(first).boxes_xyxy.tolist() == [[1, 2, 30, 40], [5, 6, 7, 8]]
    assert source.annotate(second).boxes_xyxy.tolist() == [[0, 0, 9, 19]]


def test_sizes_that_no_list_has_are_the_images_own(tmp_path):
    source = load_source(write(tmp_path, image_sizes="val/c.jpg,10,20\n"))
    first, second = source.splits["test"]
    assert source.size_hw(second) == (20, 10)
    with pytest.raises(DataError, match="does not exist"):
        source.size_hw(first)
    first.path.parent.mkdir()
    Image.new("L", (7, 5)).save(first.path)
    assert source.size_hw(first) == (5, 7)
    (tmp_path / "image_sizes.txt").unlink()
    assert load_source(tmp_path).size_hw is None


def test_folders_are_splits_and_names_may_be_given(tmp_path):
    for name in ("train-fullsup", "test"):
        write(tmp_path / name)
    (tmp_path / "class_names.txt").write_text("finch\nwren\n")
    source = load_source(tmp_path)
    assert set(source.splits) == {"train-fullsup", "test"}
    assert source.class_names == ("finch", "wren")


def test_masks_become_one_with_the_ignored_region_under_the_objects(tmp_path):
    places = "val/c.jpg,m/1.png,m/i.png\nval/c.jpg,m/2.png,\n"
    write(tmp_path, localization=places, image_sizes="val/c.jpg,8,6\n")
    (tmp_path / "m").mkdir()
    for name, (rows, columns) in {"1": ([0], [0, 1]), "2": ([2], [3]), "i": ([0, 1], [1])}.items():
        mask = np.zeros((3, 4), dtype=np.uint8)
        mask[np.ix_(rows, columns)] = 200
        Image.fromarray(mask).save(tmp_path / "m" / f"{name}.png")
    source = load_source(tmp_path)
    found = source.annotate(source.splits["test"][1])
    assert found.mask.tolist() == [[1, 1, 0, 0], [0, 255, 0, 0], [0, 0, 0, 1]]
    assert found.boxes_xyxy.tolist() == [[0, 0, 4, 2], [6, 4, 8, 6]], "in pixels of the image, not of the mask"
    assert source.annotate(source.splits["test"][0]) is None
    Image.fromarray(np.zeros((5, 5), dtype=np.uint8)).save(tmp_path / "m" / "2.png")
    with pytest.raises(DataError, match="its masks have sizes"):
        source.annotate(source.splits["test"][1])
    (tmp_path / "m" / "2.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"2\.png: cannot be read as a mask"):
        source.annotate(source.splits["test"][1])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_ids": "val/c.jpg\nval/c.jpg\n"}, r"val/c\.jpg twice"),
        ({"class_labels": "val/c.jpg,0\n"}, r"lacks 1 images, such as val/a,b\.jpg"),
        ({"class_labels": "val/a,b.jpg,-1\nval/c.jpg,0\n"}, "entry 1: label '-1'"),
        ({"localization": "val/c.jpg,9,0,1,19\n"}, "entry 1: box 9,0,1,19 is inverted"),
        ({"localization": "val/c.jpg,a,0,1,19\n"}, "entry 1: .*expected numbers"),
        ({"localization": "val/c.jpg,0,0,1,19\nval/c.jpg,m,i\n"}, r"entry 2: val/c\.jpg has boxes and masks"),
        ({"localization": "val/c.jpg,m,i\nval/c.jpg,0,0,1,19\n"}, r"entry 2: val/c\.jpg has boxes and masks"),
        ({"localization": "val/d.jpg,0,0,1,19\n"}, r"entry 1: 'val/d\.jpg.*is not an id"),
        ({"image_sizes": "val/c.jpg,0,4\n"}, "entry 1: size"),
        ({"image_ids": "../c.jpg\n", "class_labels": "../c.jpg,0\n", "localization": "", "image_sizes": ""}, "outside"),
    ],
    ids=[
        "twice",
        "no-label",
        "negative",
        "inverted",
        "word",
        "mixed",
        "mixed-masks-first",
        "unknown",
        "no-size",
        "leaves-the-root",
    ],
)
def test_bad_list_names_the_entry(changes, message, tmp_path):
    with pytest.raises(DataError, match=message):
        load_source(write(tmp_path, **changes))


def test_mask_outside_the_root_is_refused(tmp_path):
    source = load_source(write(tmp_path / "root", localization="val/c.jpg,../secret.png,\n"))
    with pytest.raises(DataError, match="outside"):
        source.annotate(source.splits["test"][1])
