import warnings
from pathlib import Path

import pytest
from layouts import write_files

from cdtr.config import DataConfig
from cdtr.data.datasets import load_source
from cdtr.data.opening import open_data
from cdtr.errors import DataError
from cdtr.records import DataSource, Sample

FILES = {
    "Train/Glioma/images/a (1).jpg": (100, 50),
    "Train/Glioma/labels/a (1).txt": "0 0.5 0.5 0.2 0.4\n2 0.1 0.1 0.1 0.1\n0 0.1 0.1 0.2 0.2\n",
    "Train/NoTumor/images/b.jpg": (10, 10),
    "Train/NoTumor/labels/b.txt": "2 0.5 0.5 1 1\n",
    "Train/Meningioma/images/c.jpg": (10, 10),
    "Train/Meningioma/labels/c.txt": "",
    "Val/Pituitary/images/d.jpg": (10, 10),
}


def _boxes(source: DataSource, sample: Sample) -> list[list[float]] | None:
    found = source.annotate(sample)
    return None if found is None else found.boxes_xyxy.round(9).tolist()


def test_boxes_of_the_images_own_class_count(tmp_path: Path) -> None:
    source = load_source(write_files(tmp_path, FILES))
    assert source.name == "brain_tumor"
    assert source.class_names == ("Glioma", "Meningioma", "NoTumor", "Pituitary")
    first, empty, head = source.splits["train"]
    (unknown,) = source.splits["val"]
    assert first.image_id == "Train/Glioma/images/a (1).jpg"
    assert first.label == 0
    assert head.label == 2
    assert _boxes(source, first) == [[40, 15, 60, 35], [0, 0, 20, 10]]
    assert _boxes(source, head) == [[0, 0, 10, 10]]
    assert _boxes(source, empty) == []
    assert _boxes(source, unknown) is None


def test_the_originals_folder_with_a_blank_is_the_same_class(tmp_path: Path) -> None:
    files = {name.replace("NoTumor", "No Tumor"): content for name, content in FILES.items()}
    source = open_data(write_files(tmp_path, files), DataConfig(unboxed_classes=("NoTumor",)))
    assert source.name == "brain_tumor"
    assert source.class_names == ("Glioma", "Meningioma", "NoTumor", "Pituitary")
    assert source.splits["train"][2].path == tmp_path / "Train" / "No Tumor" / "images" / "b.jpg"
    assert _boxes(source, source.splits["train"][2]) is None
    assert _boxes(load_source(tmp_path), source.splits["train"][2]) == [[0, 0, 10, 10]]


def test_both_spellings_are_one_class(tmp_path: Path) -> None:
    files = {**FILES, "Val/No Tumor/images/e.jpg": (10, 10), "Val/No Tumor/labels/e.txt": "2 0.5 0.5 1 1\n"}
    source = load_source(write_files(tmp_path, files))
    assert source.class_names == ("Glioma", "Meningioma", "NoTumor", "Pituitary")
    assert [sample.label for sample in source.splits["val"]] == [2, 3]
    assert _boxes(source, source.splits["val"][0]) == [[0, 0, 10, 10]]


def test_numbers_in_the_files_stay_where_a_class_is_left_out(tmp_path: Path) -> None:
    files = {name: content for name, content in FILES.items() if "Meningioma" not in name}
    source = load_source(write_files(tmp_path, files))
    assert source.class_names == ("Glioma", "NoTumor", "Pituitary")
    assert _boxes(source, source.splits["train"][1]) == [[0, 0, 10, 10]]


def test_outlines_of_the_head_can_be_left_out(tmp_path: Path) -> None:
    source = open_data(write_files(tmp_path, FILES), DataConfig(unboxed_classes=("NoTumor",)))
    first, _, head = source.splits["train"]
    assert _boxes(source, head) is None
    assert _boxes(source, first) is not None
    with pytest.raises(DataError, match=r"'NoTumour', no class of .*, did you mean 'NoTumor'\?"):
        open_data(tmp_path, DataConfig(unboxed_classes=("NoTumour",)))


def test_a_damaged_label_is_named(tmp_path: Path) -> None:
    source = load_source(write_files(tmp_path, {**FILES, "Train/NoTumor/labels/b.txt": "2 0.5\n"}))
    with pytest.raises(DataError, match=r"b\.txt, line 1"):
        source.annotate(source.splits["train"][2])


def test_the_real_set(shared_data: Path) -> None:
    root = shared_data / "brain-tumor"
    said: list[str] = []
    source = open_data(root, DataConfig(), said.append)
    assert {split: len(samples) for split, samples in source.splits.items()} == {"train": 4737, "val": 512}
    assert len(said) == 1
    assert said[0].startswith("219 images of val are also in train, there 260 times")
    counts = dict.fromkeys(source.class_names, 0)
    unknown = 0
    for sample in source.splits["val"]:
        found = source.annotate(sample)
        unknown += found is None
        counts[source.class_names[sample.label]] += found is not None and len(found.boxes_xyxy) > 0
    assert counts == {"Glioma": 135, "Meningioma": 140, "NoTumor": 98, "Pituitary": 136}
    assert unknown == 2


def test_copies_leave_training_and_validation_stays(shared_data: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        source = open_data(shared_data / "brain-tumor", DataConfig(deduplicate=True), lambda _line: None)
    assert {split: len(samples) for split, samples in source.splits.items()} == {"train": 4477, "val": 512}
