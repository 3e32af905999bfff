import os
import warnings
from pathlib import Path

import pytest
from PIL import Image

from cdtr.config import load_config
from cdtr.data.datasets import load_source
from cdtr.data.loader import eval_loader
from cdtr.errors import DataError
from cdtr.image_files.reading import check_images
from cdtr.records import DataSource


def _make(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 6)).save(root / name)
    return root


def _ids(source: DataSource, split: str = "train") -> list[str]:
    return [sample.image_id for sample in source.splits[split]]


def test_class_folders(tmp_path: Path) -> None:
    root = _make(tmp_path, "c10/2.jpg", "c10/10.jpg", "c9/a.png", "c10/deep/er/x.jpg")
    source = load_source(root)
    assert source.name == "folder"
    assert source.class_names == ("c9", "c10")
    assert list(source.splits) == ["train"]
    assert _ids(source) == ["c9/a.png", "c10/2.jpg", "c10/10.jpg", "c10/deep/er/x.jpg"]
    assert [sample.label for sample in source.splits["train"]] == [0, 1, 1, 1]
    assert all(sample.path == root / sample.image_id for sample in source.splits["train"])
    assert not source.annotated
    assert source.annotate(source.splits["train"][0]) is None


def test_split_folders(tmp_path: Path) -> None:
    source = load_source(_make(tmp_path, "train/a/1.jpg", "train/b/1.jpg", "val/b/2.jpg", "test/a/3.jpg"))
    assert source.class_names == ("a", "b")
    assert {split: _ids(source, split) for split in source.splits} == {
        "train": ["train/a/1.jpg", "train/b/1.jpg"],
        "val": ["val/b/2.jpg"],
        "test": ["test/a/3.jpg"],
    }
    assert source.splits["val"][0].label == 1


@pytest.mark.parametrize(
    ("names", "splits", "classes"),
    [
        pytest.param(["val/a/1.jpg", "val/b/1.jpg"], ["val"], ("a", "b"), id="val-alone"),
        pytest.param(["train/1.jpg", "car/1.jpg"], ["train"], ("car", "train"), id="class-named-train"),
        pytest.param(["train/1.jpg", "valid/1.jpg"], ["train"], ("train", "valid"), id="classes-train-and-valid"),
        pytest.param(["train/a/1.jpg", "valid/b/1.jpg", "train/b/1.jpg"], ["train", "val"], ("a", "b"), id="valid"),
        pytest.param(["Train/a/1.jpg", "Train/b/1.jpg", "VAL/a/1.jpg"], ["train", "val"], ("a", "b"), id="capitals"),
        pytest.param(["train/a/1.jpg", "train/b/1.jpg", "Dev/a/1.jpg"], ["train", "val"], ("a", "b"), id="dev"),
        pytest.param(
            ["training/a/1.jpg", "training/b/1.jpg", "validation/a/1.jpg", "testing/b/1.jpg"],
            ["train", "val", "test"],
            ("a", "b"),
            id="long-names",
        ),
        pytest.param(["train/1.jpg", "test/1.jpg"], ["train"], ("test", "train"), id="classes-train-and-test"),
    ],
)
def test_split_or_class(names: list[str], splits: list[str], classes: tuple[str, ...], tmp_path: Path) -> None:
    source = load_source(_make(tmp_path, *names))
    assert list(source.splits) == splits
    assert source.class_names == classes


@pytest.mark.parametrize(
    ("names", "says"),
    [
        pytest.param(
            ["train/a/1.jpg", "train/b/1.jpg", "holdout/a/1.jpg"],
            r"train can be read in two ways: as the train split with the classes a, b, or as a class beside holdout: "
            r".*; for the second, rename train$",
            id="unknown-split-name",
        ),
        pytest.param(
            ["Train/steam/1.jpg", "car/1.jpg"], "the train split with .* steam, or as a class beside car", id="car"
        ),
        pytest.param(["a/1.jpg", "b/1.jpg", "test/a/1.jpg"], "the test split .* or as a class beside a, b", id="test"),
        pytest.param(
            ["train/a/1.jpg", "val/a/1.jpg", "valid/b/1.jpg"], "val and .*valid would both be the val", id="val-twice"
        ),
    ],
)
def test_a_layout_with_two_readings_is_refused(names: list[str], says: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=says):
        load_source(_make(tmp_path, *names))


@pytest.mark.parametrize(
    ("names", "left_out", "splits"),
    [
        pytest.param(["test/1.jpg"], "test", ["train"], id="test-without-classes"),
        pytest.param(["val/a/1.jpg", "drafts/x/1.jpg"], "drafts", ["train", "val"], id="beside-two-splits"),
    ],
)
def test_images_beside_clear_splits_are_warned_about(
    names: list[str], left_out: str, splits: list[str], tmp_path: Path
) -> None:
    root = _make(tmp_path, "train/a/1.jpg", "train/b/1.jpg", *names)
    with pytest.warns(UserWarning, match=f"{left_out} is left out: expected class folders"):
        source = load_source(root)
    assert list(source.splits) == splits
    assert source.class_names == ("a", "b")


def test_hidden_files_are_ignored_and_what_else_is_left_out_is_named(tmp_path: Path) -> None:
    hidden = (".git/1.jpg", "a/._1.jpg", "a/.cache/1.jpg", "__MACOSX/a/1.jpg", "@eaDir/1.jpg")
    root = _make(tmp_path, "a/1.jpg", "a/2.jfif", "b/1.jpg", "loose.jpg", *hidden)
    (root / "a" / "notes.txt").touch()
    (root / "a" / "1.jpg").rename(root / "a" / "no suffix")
    (root / "a" / "gone.jpg").symlink_to(tmp_path / "nothing.jpg")
    (root / "c").symlink_to(tmp_path / "nothing", target_is_directory=True)
    with (
        pytest.warns(UserWarning, match=r"1 images in no class folder \(such as loose\.jpg\) left out"),
        pytest.warns(UserWarning, match=r"1 images without one of the suffixes .*no suffix"),
        pytest.warns(UserWarning, match="2 dead links"),
    ):
        source = load_source(root)
    assert _ids(source) == ["a/2.jfif", "b/1.jpg"]
    assert source.accounts[0].line().startswith("2 images; left out: ")


def test_names_that_are_not_utf8_are_left_out_and_named(tmp_path: Path) -> None:
    root = _make(tmp_path, "a/1.jpg", "b/1.jpg")
    name = os.fsencode(root / "a") + b"/caf\xe9.jpg"
    try:
        os.link(root / "a" / "1.jpg", name)
    except OSError:
        pytest.skip("this disk takes no such names")
    with pytest.warns(UserWarning, match=r"1 images whose names are not UTF-8 \(such as a/caf.*e9\.jpg\) left out"):
        assert _ids(load_source(root)) == ["a/1.jpg", "b/1.jpg"]


@pytest.mark.parametrize(
    ("names", "train", "test"),
    [
        pytest.param(("training_set", "test_set"), "training_set", "test_set", id="set"),
        pytest.param(
            ("seg_train/seg_train", "seg_test/seg_test"), "seg_train/seg_train", "seg_test/seg_test", id="twice"
        ),
    ],
)
def test_splits_with_a_word_more_are_splits(tmp_path: Path, names: tuple[str, ...], train: str, test: str) -> None:
    source = load_source(_make(tmp_path, *(f"{name}/{kind}/{n}.jpg" for n, name in enumerate(names) for kind in "ab")))
    assert source.class_names == ("a", "b")
    assert _ids(source) == [f"{train}/a/0.jpg", f"{train}/b/0.jpg"]
    assert _ids(source, "test") == [f"{test}/a/1.jpg", f"{test}/b/1.jpg"]


def test_folders_that_hold_the_same_folders_are_asked_about(tmp_path: Path) -> None:
    root = _make(tmp_path, *(f"fold{n}/{kind}/{n}.jpg" for n in (1, 2, 3) for kind in ("cats", "dogs")))
    with pytest.warns(
        UserWarning, match="fold1, fold2, fold3 hold the same folders, cats, dogs, and are taken for the"
    ):
        assert load_source(root).class_names == ("fold1", "fold2", "fold3")


def test_class_without_images_is_warned_about(tmp_path: Path) -> None:
    root = _make(tmp_path, "a/1.jpg", "b/1.jpg")
    (root / "empty").mkdir()
    with pytest.warns(UserWarning, match="empty has no images"):
        source = load_source(root)
    assert source.class_names == ("a", "b")


def test_links_are_followed_wherever_they_lead(tmp_path: Path) -> None:
    outside = _make(tmp_path / "outside", "1.jpg")
    (outside / "round").symlink_to(outside, target_is_directory=True)
    root = _make(tmp_path / "root", "a/1.jpg", "b/1.jpg")
    (root / "a" / "out.jpg").symlink_to(outside / "1.jpg")
    (root / "linked").symlink_to(outside, target_is_directory=True)
    (root / "inner").symlink_to(root / "b", target_is_directory=True)
    assert _ids(load_source(root)) == ["a/1.jpg", "a/out.jpg", "b/1.jpg", "inner/1.jpg", "linked/1.jpg"]


def test_root_may_be_a_link_and_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = _make(tmp_path / "real", "a/1.jpg", "b/1.jpg")
    (tmp_path / "link").symlink_to(real, target_is_directory=True)
    monkeypatch.chdir(tmp_path)
    assert _ids(load_source("link")) == ["a/1.jpg", "b/1.jpg"]


def test_class_unknown_to_training_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="train lacks: cat"):
        load_source(_make(tmp_path, "train/a/1.jpg", "train/b/1.jpg", "val/cat/1.jpg"))


def test_class_unknown_to_training_names_the_folders_that_exist(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"Valid has classes that .*Train lacks: cat"):
        load_source(_make(tmp_path, "Train/a/1.jpg", "Train/b/1.jpg", "Valid/cat/1.jpg"))


def test_broken_image_is_listed_found_and_left_out(tmp_path: Path) -> None:
    root = _make(tmp_path, "a/1.jpg", "a/3.jpg", "b/1.jpg")
    (root / "a" / "2.jpg").write_text("not a picture")
    samples = load_source(root).splits["train"]
    good, broken = check_images(samples, 1000)
    assert [sample.image_id for sample, _ in broken] == ["a/2.jpg"]
    assert [sample.image_id for sample in good] == ["a/1.jpg", "a/3.jpg", "b/1.jpg"]
    config = load_config().updated(data={"workers": 0, "input_size": [8, 8]})
    with pytest.warns(UserWarning, match="left out a/2"):
        batches = list(eval_loader(samples, config))
    assert [sample.image_id for sample in batches[0].samples] == ["a/1.jpg", "a/3.jpg", "b/1.jpg"]


@pytest.mark.filterwarnings("ignore:.*has no images")
@pytest.mark.parametrize(
    ("names", "says"),
    [
        pytest.param([], "is empty", id="empty"),
        pytest.param(
            ["1.jpg"],
            "one sub-folder per class, found 0 images; left out: 1 images in no class folder",
            id="loose-images",
        ),
        pytest.param(["a/1.jpg"], "one class, a: expected at least two", id="one-class"),
        pytest.param(["a/1.jpg.bak/x/.1.jpg"], "found none", id="hidden-only"),
    ],
)
def test_unusable_root_is_one_clear_line(names: list[str], says: str, tmp_path: Path) -> None:
    root = _make(tmp_path, *names)
    with pytest.raises(DataError, match=says) as caught:
        load_source(root)
    assert "\n" not in str(caught.value)


def test_missing_root_and_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no folder"):
        load_source(tmp_path / "none")
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="is a file"):
        load_source(tmp_path / "file")


def test_unknown_format_names_the_choices(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"'foldr', did you mean 'folder'\?; choose one of auto, .*folder.*neu_det"):
        load_source(tmp_path, "foldr")


def test_format_overrides_recognition(tmp_path: Path) -> None:
    root = _make(tmp_path, "IMAGES/cut_1.jpg", "ANNOTATIONS/x.jpg")
    assert load_source(root, "folder").class_names == ("ANNOTATIONS", "IMAGES")


def test_a_run_below_the_data_is_neither_a_class_nor_a_problem(tmp_path: Path) -> None:
    root = _make(tmp_path, "a/1.jpg", "b/1.jpg")
    (root / "run").mkdir()
    for name in ("manifest.json", "classes.txt"):
        (root / "run" / name).touch()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load_source(root).class_names == ("a", "b")
