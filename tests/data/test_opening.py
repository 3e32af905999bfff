"""What settings do to a data set: copies, boxes from elsewhere, classes whose boxes do not count."""

import shutil
from pathlib import Path

import pytest
from PIL import Image

from cdtr.config import DataConfig
from cdtr.data.duplicates import describe_copies, find_copies, without
from cdtr.data.opening import open_data
from cdtr.errors import AnnotationError, DataError
from cdtr.records import DataSource, Sample


def _image(path: Path, shade: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (8, 8), shade).save(path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Shade 1 is twice in val and once in train; shade 2 in test and val; shade 3 twice in train."""
    shades = {"train/a/1": 1, "train/a/2": 3, "train/b/1": 3, "train/b/2": 4}
    shades |= {"val/a/1": 1, "val/a/2": 1, "val/b/3": 2, "test/b/1": 2, "test/a/9": 9}
    for name, shade in shades.items():
        _image(tmp_path / "data" / f"{name}.png", shade)
    return tmp_path / "data"


def _ids(source: DataSource) -> dict[str, list[str]]:
    return {split: [sample.image_id for sample in samples] for split, samples in source.splits.items()}


def test_copies_stay_in_the_split_for_scores(folder: Path) -> None:
    said: list[str] = []
    source = open_data(folder, DataConfig(deduplicate=True), said.append)
    assert _ids(source) == {
        "train": ["train/a/2.png", "train/b/1.png", "train/b/2.png"],
        "val": ["val/a/1.png", "val/a/2.png"],
        "test": ["test/a/9.png", "test/b/1.png"],
    }
    assert said == [
        "1 images of test are also in val, there 1 times; 2 images of val are also in train, there 1 times: left out "
        "there"
    ]


def test_copies_are_only_reported_unless_asked(folder: Path) -> None:
    with pytest.warns(UserWarning, match=r"2 images of val are also in train.*data\.deduplicate"):
        source = open_data(folder, DataConfig())
    assert len(source.splits["train"]) == 4


def test_broken_files_are_no_copies(tmp_path: Path) -> None:
    samples = [Sample(str(n), tmp_path / str(n), 0) for n in range(4)]
    samples[0].path.touch()
    samples[1].path.touch()
    source = DataSource(
        "x", tmp_path, ("a", "b"), {"train": tuple(samples[::2]), "val": tuple(samples[1::2])}, False, lambda _: None
    )
    assert find_copies(source) == []
    assert describe_copies([]) == ""
    assert without(source, []) == source


def test_files_of_one_size_are_compared(tmp_path: Path) -> None:
    for name, content in {"a": b"12", "b": b"21", "c": b"12"}.items():
        (tmp_path / name).write_bytes(content)
    samples = {name: Sample(name, tmp_path / name, 0) for name in "abc"}
    splits = {"train": (samples["a"], samples["b"]), "extra": (samples["c"],)}
    copies = find_copies(DataSource("x", tmp_path, ("a", "b"), splits, False, lambda _: None))
    assert [(copy.split, copy.sample.image_id, copy.kept_split) for copy in copies] == [("extra", "c", "train")]


def test_nothing_is_said_where_there_is_nothing(tmp_path: Path) -> None:
    for number, name in enumerate(("train/a", "train/b", "val/a")):
        _image(tmp_path / name / "1.png", number)
    said: list[str] = []
    open_data(tmp_path, DataConfig(), said.append)
    assert said == []
    open_data(tmp_path, DataConfig(deduplicate=True), said.append)
    assert said == [f"no image of {tmp_path} is in two splits"]


def test_boxes_are_looked_for_here_and_in_the_data(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "mine").mkdir()
    (folder / "mine" / "b.csv").write_text("image,x0,y0,x1,y1\ntest/b/1.png,1,2,3,4\n")
    monkeypatch.chdir(folder.parent)
    shutil.copy(folder / "mine" / "b.csv", "here.csv")
    for named in ("mine/b.csv", "here.csv", str(folder / "mine" / "b.csv")):
        source = open_data(folder, DataConfig(boxes=named), lambda _line: None)
        annotation = source.annotate(source.splits["test"][1])
        assert annotation is not None
        assert annotation.boxes_xyxy.tolist() == [[1, 2, 3, 4]]
        assert source.annotate(source.splits["test"][0]) is None


@pytest.mark.parametrize(("name", "message"), [("none.csv", "no boxes at none.csv"), ("x.doc", "of no format that is")])
def test_boxes_that_cannot_be_read_are_an_error(folder: Path, name: str, message: str) -> None:
    if name == "x.doc":
        (folder / name).touch()
    with pytest.raises(DataError, match=message):
        open_data(folder, DataConfig(boxes=name), lambda _line: None)


def test_one_damaged_annotation_of_a_published_set_costs_one_image(tmp_path: Path) -> None:
    for folder in ("IMAGES", "ANNOTATIONS"):
        (tmp_path / folder).mkdir()
    box = "<bndbox><xmin>2</xmin><ymin>3</ymin><xmax>5</xmax><ymax>6</ymax></bndbox>"
    for name, text in (
        ("crazing_1", "<annotation>"),
        ("inclusion_1", f"<annotation><object>{box}</object></annotation>"),
    ):
        Image.new("L", (9, 9)).save(tmp_path / "IMAGES" / f"{name}.jpg")
        text = text.replace("<object>", f"<object><name>{name[:-2]}</name>")
        (tmp_path / "ANNOTATIONS" / f"{name}.xml").write_text(text)
    (tmp_path / "train.txt").write_text("crazing_1.jpg\ninclusion_1.jpg\n")
    (tmp_path / "val.txt").write_text("")
    source = open_data(tmp_path, DataConfig(), lambda _line: None)
    with pytest.warns(UserWarning, match=r"boxes left out: .*crazing_1\.xml cannot be read"):
        damaged, good = (source.annotate(sample) for sample in source.splits["train"])
    assert damaged is None
    assert good is not None
    assert good.boxes_xyxy.tolist() == [[1, 2, 5, 6]]
    strict = open_data(tmp_path, DataConfig(), lambda _line: None, strict=True)
    with pytest.raises(AnnotationError, match="crazing_1"):
        strict.annotate(strict.splits["train"][0])
