from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cdtr.data.datasets import load_source
from cdtr.errors import DataError
from cdtr.image_files.reading import read_image

BOX = "<object><name>{}</name><bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox></object>"


def _make(root: Path, images: int = 5, lists: dict[str, str] | None = None) -> Path:
    for folder in ("IMAGES", "ANNOTATIONS"):
        (root / folder).mkdir(parents=True)
    for name in ("deep_cut", "spot"):
        for number in range(1, images + 1):
            Image.new("L", (10, 10)).save(root / "IMAGES" / f"{name}_{number}.jpg")
            body = BOX.format(name, 1, 2, 3, 4) + BOX.format("other", 1, 1, 10, 10)
            (root / "ANNOTATIONS" / f"{name}_{number}.xml").write_text(f"<annotation>{body}</annotation>")
    for split, text in (lists or {}).items():
        (root / f"{split}.txt").write_text(text)
    return root


def test_lists_make_the_splits(tmp_path: Path) -> None:
    root = _make(tmp_path, lists={"train": "spot_2.jpg\ndeep_cut_1.jpg\n\n", "val": "spot_1.jpg\r\n"})
    source = load_source(root)
    assert source.name == "neu_det"
    assert source.class_names == ("deep_cut", "spot")
    assert source.annotated is True
    assert [(s.image_id, s.label) for s in source.splits["train"]] == [
        ("IMAGES/spot_2.jpg", 1),
        ("IMAGES/deep_cut_1.jpg", 0),
    ]
    assert [s.image_id for s in source.splits["val"]] == ["IMAGES/spot_1.jpg"]


def test_boxes_are_half_open_and_of_the_own_class(tmp_path: Path) -> None:
    source = load_source(_make(tmp_path))
    annotation = source.annotate(source.splits["train"][0])
    assert annotation is not None
    assert annotation.boxes_xyxy.tolist() == [[0, 1, 3, 4]]
    assert annotation.mask is None


def test_without_lists_the_last_fifth_by_number_is_val(tmp_path: Path) -> None:
    source = load_source(_make(tmp_path, images=10))
    assert [s.image_id for s in source.splits["val"]] == [
        f"IMAGES/{name}_{number}.jpg" for name in ("deep_cut", "spot") for number in (9, 10)
    ]
    assert len(source.splits["train"]) == 16


def test_kaggles_mirror_is_read_as_it_is(tmp_path: Path) -> None:
    for split, number in (("train", 1), ("train", 2), ("validation", 3)):
        for name in ("crazing", "inclusion", "patches"):
            image = tmp_path / split / "images" / name / f"{name}_{number}.jpg"
            image.parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (10, 10)).save(image)
            xml = tmp_path / split / "annotations" / f"{name}_{number}.xml"
            xml.parent.mkdir(parents=True, exist_ok=True)
            body = BOX.format(name, 1, 2, 3, 4) + BOX.format("other", 1, 1, 10, 10)
            xml.write_text(f"<annotation>{body}</annotation>")
    source = load_source(tmp_path)
    assert source.name == "neu_det"
    assert source.class_names == ("crazing", "inclusion", "patches")
    assert {split: len(samples) for split, samples in source.splits.items()} == {"train": 6, "val": 3}
    sample = source.splits["val"][1]
    assert sample.image_id == "validation/images/inclusion/inclusion_3.jpg"
    assert sample.label == 1
    annotation = source.annotate(sample)
    assert annotation is not None
    assert annotation.boxes_xyxy.tolist() == [[0, 1, 3, 4]]


def test_annotations_are_read_lazily(tmp_path: Path) -> None:
    root = _make(tmp_path)
    (root / "ANNOTATIONS" / "spot_1.xml").write_text("broken")
    (root / "ANNOTATIONS" / "spot_2.xml").unlink()
    by_id = {sample.path.stem: sample for sample in load_source(root).splits["train"]}
    source = load_source(root)
    with pytest.raises(DataError, match="spot_1"):
        source.annotate(by_id["spot_1"])
    assert source.annotate(by_id["spot_2"]) is None


@pytest.mark.parametrize(
    ("line", "says"),
    [("spot_99.jpg", "names 1 images that IMAGES lacks"), ("../../secret_1.jpg", "outside")],
    ids=["missing", "escaping"],
)
def test_bad_list_is_refused(line: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=says):
        load_source(_make(tmp_path, lists={"train": line}))


def test_name_without_class_is_refused(tmp_path: Path) -> None:
    root = _make(tmp_path)
    Image.new("L", (10, 10)).save(root / "IMAGES" / "7.jpg")
    with pytest.raises(DataError, match=r"'7\.jpg' does not name its class"):
        load_source(root)


def test_forced_format_on_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(DataError, match="is not NEU-DET"):
        load_source(tmp_path, "neu_det")


def test_real_data(shared_data: Path) -> None:
    source = load_source(shared_data / "neu-det")
    assert source.name == "neu_det"
    assert {split: len(samples) for split, samples in source.splits.items()} == {"train": 1440, "val": 360}
    assert len(source.class_names) == 6
    assert Counter(s.label for s in source.splits["val"]) == dict.fromkeys(range(6), 60)
    assert read_image(source.splits["val"][0].path, 10**6).size == (200, 200)
    everything = (*source.splits["train"], *source.splits["val"])
    boxes = [annotation.boxes_xyxy for s in everything if (annotation := source.annotate(s)) is not None]
    assert len(boxes) == 1800
    assert min(len(b) for b in boxes) >= 1
    corners = np.concatenate(boxes)
    assert corners.min() == 0
    assert corners.max() == 200
    assert (corners[:, 2:] > corners[:, :2]).all()


def test_lists_of_the_real_data_are_the_default_split(shared_data: Path, tmp_path: Path) -> None:
    """The original has no lists, so leaving them out must give the same split."""
    listed = load_source(shared_data / "neu-det")
    (tmp_path / "ANNOTATIONS").mkdir()
    (tmp_path / "IMAGES").mkdir()
    for samples in listed.splits.values():
        for sample in samples:
            (tmp_path / sample.image_id).touch()
    unlisted = load_source(tmp_path)
    for split in ("train", "val"):
        assert sorted(s.image_id for s in unlisted.splits[split]) == sorted(s.image_id for s in listed.splits[split])
