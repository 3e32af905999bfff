import shutil
from pathlib import Path

import pytest
from layouts import Files, write_files

from cdtr.data.datasets import load_source
from cdtr.errors import DataError

CUB: dict[str, str | tuple[int, int]] = {
    "classes.txt": "1 001.Crow\n2 002.Blue_Jay\n",
    "images.txt": "1 001.Crow/a.jpg\n2 002.Blue_Jay/b.jpg\n",
    "image_class_labels.txt": "1 1\n2 2\n",
    "bounding_boxes.txt": "1 2.0 3.0 4.0 5.0\n2 0.0 0.0 5.0 5.0\n",
    "train_test_split.txt": "1 1\n2 0\n",
    "images/001.Crow/a.jpg": (9, 9),
    "images/002.Blue_Jay/b.jpg": (9, 9),
}
EXTRA = {
    "image_ids.txt": "001.Crow/301.jpg\n002.Blue_Jay/302.jpg\n",
    "class_labels.txt": "001.Crow/301.jpg,0\n002.Blue_Jay/302.jpg,1\n",
    "localization.txt": "001.Crow/301.jpg,1,2,3,4\n002.Blue_Jay/302.jpg,5,6,7,8\n",
    "image_sizes.txt": "001.Crow/301.jpg,9,9\n002.Blue_Jay/302.jpg,9,9\n",
}
IMAGES = dict.fromkeys(("001.Crow/301.jpg", "002.Blue_Jay/302.jpg"), (9, 9))


def _below(folder: str, files: Files) -> dict[str, str | tuple[int, int]]:
    return {f"{folder}/{name}": content for name, content in files.items()}  # type: ignore[misc]


BESIDE: Files = CUB | _below("metadata/CUB/val", EXTRA) | _below("images", IMAGES)
IN_FOLDER: Files = CUB | _below("CUBV2", {**EXTRA, **IMAGES})
BENCHMARK: Files = (
    _below("metadata/CUB/val", EXTRA)
    | _below("dataset/CUB", {**IMAGES, "001.Crow/a.jpg": (9, 9), "002.Blue_Jay/b.jpg": (9, 9)})
    | _below("metadata/CUB/train", {"image_ids.txt": "001.Crow/a.jpg\n", "class_labels.txt": "001.Crow/a.jpg,0\n"})
    | _below(
        "metadata/CUB/test",
        {
            "image_ids.txt": "002.Blue_Jay/b.jpg\n",
            "class_labels.txt": "002.Blue_Jay/b.jpg,1\n",
            "localization.txt": "002.Blue_Jay/b.jpg,0,0,5,5\n",
        },
    )
)


@pytest.mark.parametrize("files", [BESIDE, IN_FOLDER, BENCHMARK], ids=["beside", "folder", "benchmark"])
def test_the_extra_images_are_a_split_to_calibrate_on(tmp_path: Path, files: Files) -> None:
    source = load_source(write_files(tmp_path, files))
    assert source.name == "cub_v2"
    assert source.class_names == ("001.Crow", "002.Blue_Jay")
    assert {split: len(samples) for split, samples in source.splits.items()} == {
        "train": 1,
        "test": 1,
        "train-fullsup": 2,
    }
    assert all(sample.path.is_file() for samples in source.splits.values() for sample in samples)
    first, second = source.splits["train-fullsup"]
    boxes = [source.annotate(sample) for sample in (first, second, source.splits["test"][0])]
    assert [box.boxes_xyxy.tolist() for box in boxes if box] == [[[1, 2, 3, 4]], [[5, 6, 7, 8]], [[0, 0, 5, 5]]]
    assert first.label == 0
    assert second.label == 1


def test_without_the_lists_it_is_cub(tmp_path: Path) -> None:
    assert load_source(write_files(tmp_path, CUB)).name == "cub"
    with pytest.raises(DataError, match="is not CUB with CUB-V2"):
        load_source(tmp_path, "cub_v2")


def test_lists_of_all_classes_fit_a_set_of_some(tmp_path: Path) -> None:
    more = {name: text + text.replace("002.Blue_Jay", "003.Gull") for name, text in EXTRA.items()}
    more["image_ids.txt"] = EXTRA["image_ids.txt"] + "003.Gull/303.jpg\n"
    more["class_labels.txt"] = EXTRA["class_labels.txt"] + "003.Gull/303.jpg,2\n"
    more["localization.txt"] = EXTRA["localization.txt"] + "003.Gull/303.jpg,1,1,2,2\n"
    more.pop("image_sizes.txt")
    source = load_source(write_files(tmp_path, {**BESIDE, **_below("metadata/CUB/val", more)}))
    assert len(source.splits["train-fullsup"]) == 2


def test_ids_outside_are_refused(tmp_path: Path) -> None:
    hostile = {name: text.replace("001.Crow/301", "001.Crow/../../../301") for name, text in EXTRA.items()}
    with pytest.raises(DataError, match="points outside"):
        load_source(write_files(tmp_path / "cub", {**CUB, **_below("metadata/CUB/val", hostile)}))


def test_the_real_subset_with_lists_beside(shared_data: Path, tmp_path: Path) -> None:
    for name in (shared_data / "cub-50").iterdir():
        (tmp_path / name.name).symlink_to(name) if name.is_file() else shutil.copytree(
            name, tmp_path / name.name, copy_function=lambda a, b: Path(b).touch()
        )
    folder = "001.Black_footed_Albatross"
    lists = {
        "image_ids.txt": f"{folder}/9.jpg\n",
        "class_labels.txt": f"{folder}/9.jpg,0\n",
        "localization.txt": f"{folder}/9.jpg,1,2,3,4\n",
    }
    source = load_source(write_files(tmp_path, _below("metadata/CUB/val", lists)))
    assert {split: len(samples) for split, samples in source.splits.items()} == {
        "train": 1500,
        "test": 1389,
        "train-fullsup": 1,
    }
