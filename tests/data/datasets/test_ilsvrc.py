import shutil
from pathlib import Path

import pytest
from layouts import Files, voc_xml, write_files
from PIL import Image

from cdtr.data.datasets import load_source
from cdtr.errors import DataError
from cdtr.records import DataSource

CRANE, BIRD = "n02012849", "n03126707"
VAL = "ILSVRC2012_val_00000001"
KAGGLE: dict[str, str | tuple[int, int]] = {
    f"ILSVRC/Data/CLS-LOC/train/{CRANE}/{CRANE}_1.JPEG": (9, 9),
    f"ILSVRC/Data/CLS-LOC/train/{BIRD}/{BIRD}_7.JPEG": (9, 9),
    f"ILSVRC/Data/CLS-LOC/val/{VAL}.JPEG": (500, 375),
    f"ILSVRC/Annotations/CLS-LOC/train/{CRANE}/{CRANE}_1.xml": voc_xml((CRANE, 0, 0, 1, 8, 7)),
    "LOC_val_solution.csv": f"ImageId,PredictionString\n{VAL},{BIRD} 0 0 499 374 {CRANE} 1 1 2 2 {BIRD} 5 6 7 8 \n",
    "LOC_synset_mapping.txt": f"{CRANE} crane, wading bird\n{BIRD} crane\n",
}
PLAIN: dict[str, str | tuple[int, int]] = {
    f"train/{CRANE}/1.JPEG": (9, 9),
    f"train/{BIRD}/1.JPEG": (9, 9),
    f"val/{VAL}.JPEG": (500, 375),
    f"val/{VAL}.xml": voc_xml((BIRD, 0, 0, 0, 499, 374), (BIRD, 0, 5, 6, 7, 8)),
}
SORTED: Files = {k: v for k, v in PLAIN.items() if not k.startswith("val/")} | {
    f"val/{BIRD}/{VAL}.JPEG": (500, 375),
    f"Annotations/val/{VAL}.xml": PLAIN[f"val/{VAL}.xml"],
}
BENCHMARK: Files = {
    f"dataset/ILSVRC/train/{CRANE}/1.JPEG": (9, 9),
    f"dataset/ILSVRC/train/{BIRD}/1.JPEG": (9, 9),
    f"dataset/ILSVRC/val/{VAL}.JPEG": (500, 375),
    "metadata/ILSVRC/test/image_ids.txt": f"val/{VAL}.JPEG\n",
    "metadata/ILSVRC/test/class_labels.txt": f"val/{VAL}.JPEG,1\n",
    "metadata/ILSVRC/test/localization.txt": f"val/{VAL}.JPEG,0,0,499,374\nval/{VAL}.JPEG,5,6,7,8\n",
}


def _boxes(source: DataSource, split: str, number: int = 0) -> list[list[float]] | None:
    found = source.annotate(source.splits[split][number])
    return None if found is None else found.boxes_xyxy.tolist()


@pytest.mark.parametrize("files", [KAGGLE, PLAIN, SORTED, BENCHMARK], ids=["kaggle", "tars", "sorted-val", "benchmark"])
def test_all_layouts_are_read_without_opening_an_image(
    tmp_path: Path, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_files(tmp_path, files)

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("an image was opened")

    monkeypatch.setattr(Image, "open", refuse)
    source = load_source(tmp_path)
    assert source.name == "ilsvrc"
    assert source.annotated
    (val,) = source.splits["val"]
    assert val.image_id == f"val/{VAL}.JPEG"
    assert val.label == 1
    assert val.path.is_file()
    assert _boxes(source, "val") == [[0, 0, 499, 374], [5, 6, 7, 8]]
    assert [sample.label for sample in source.splits["train"]] == [0, 1]


def test_classes_of_one_name_are_told_apart_and_training_boxes_are_read(tmp_path: Path) -> None:
    source = load_source(write_files(tmp_path, KAGGLE))
    assert source.class_names == (f"crane ({CRANE})", f"crane ({BIRD})")
    assert _boxes(source, "train", 0) == [[0, 1, 8, 7]]
    assert _boxes(source, "train", 1) is None


def test_lists_of_classes_that_are_not_all_here_are_passed_over(tmp_path: Path) -> None:
    lists = {"metadata/ILSVRC/test/class_labels.txt": f"val/{VAL}.JPEG,2\n"}
    with pytest.raises(DataError, match="1 images are of no known class"):
        load_source(write_files(tmp_path / "flat", {**BENCHMARK, **lists}))
    metadata = {name: text for name, text in {**BENCHMARK, **lists}.items() if name.startswith("metadata")}
    source = load_source(write_files(tmp_path / "sorted", {**SORTED, **metadata}))
    assert _boxes(source, "val") == [[0, 0, 499, 374], [5, 6, 7, 8]], "a part of the classes, with the XML"


def test_links_are_followed_and_dead_ones_counted(tmp_path: Path) -> None:
    outside = write_files(tmp_path / "elsewhere", {f"{CRANE}/2.JPEG": (9, 9), "3.JPEG": (9, 9)})
    root = write_files(tmp_path / "set", PLAIN)
    (root / "val" / BIRD).mkdir()
    (root / "val" / f"{VAL}.JPEG").rename(root / "flat.JPEG")
    (root / "val" / BIRD / f"{VAL}.JPEG").symlink_to(root / "flat.JPEG")
    (root / "val" / "3.JPEG").symlink_to(outside / "4.JPEG")
    (root / "train" / "n9").symlink_to(outside / "n9")
    with pytest.warns(UserWarning, match="2 dead links are left out"):
        source = load_source(root)
    assert [(sample.image_id, sample.label) for sample in source.splits["val"]] == [(f"val/{VAL}.JPEG", 1)]
    assert [sample.path.name for sample in source.splits["train"]] == ["1.JPEG", "1.JPEG"]
    shutil.rmtree(root / "train")
    (root / "train").mkdir()
    (root / "train" / CRANE).symlink_to(outside / "gone")
    with pytest.raises(DataError, match=r"expected train/WNID.* and found 1 dead links"):
        load_source(root, "ilsvrc")


def test_image_net_v2_is_the_split_to_calibrate_on(tmp_path: Path) -> None:
    lists = {
        "image_ids.txt": "val2/1/0.jpeg\n",
        "class_labels.txt": "val2/1/0.jpeg,1\n",
        "localization.txt": "val2/1/0.jpeg,1,2,3,4\nval2/1/0.jpeg,5,6,7,8\n",
    }
    files: dict[str, str | tuple[int, int]] = {f"metadata/ILSVRC/val/{name}": text for name, text in lists.items()}
    source = load_source(write_files(tmp_path, {**PLAIN, **files, "val2/1/0.jpeg": (9, 9)}))
    (extra,) = source.splits["train-fullsup"]
    assert extra.label == 1
    assert extra.path.is_file()
    assert _boxes(source, "train-fullsup") == [[1, 2, 3, 4], [5, 6, 7, 8]]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"LOC_val_solution.csv": f"ImageId,PredictionString\n{VAL},{BIRD} 1 2\n"}, r"row 1: expected ImageId"),
        ({"LOC_val_solution.csv": "a,b\n1,2\n"}, r"row 1: expected ImageId"),
        ({"LOC_val_solution.csv": "ImageId,PredictionString\n"}, "1 images are of no known class"),
    ],
)
def test_damaged_solutions_are_named(tmp_path: Path, changes: dict[str, str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_source(write_files(tmp_path, {**KAGGLE, **changes}))


def test_a_damaged_box_is_named(tmp_path: Path) -> None:
    text = f"ImageId,PredictionString\n{VAL},{BIRD} 5 6 1 8\n"
    source = load_source(write_files(tmp_path, {**KAGGLE, "LOC_val_solution.csv": text}))
    with pytest.raises(DataError, match=f"{VAL}: a box is inverted"):
        source.annotate(source.splits["val"][0])
