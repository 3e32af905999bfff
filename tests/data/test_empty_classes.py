"""Classes without an object: their labels, their annotations, and names that suggest them."""

from __future__ import annotations

from pathlib import Path

import pytest

from cdtr.config import DataConfig, load_config
from cdtr.data.empty_classes import empty_labels, suggested_empty, suggestion
from cdtr.data.opening import open_data
from cdtr.errors import DataError
from oracles.uneven_sets import write_synthetic


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("crack", "good", "hole"), ["good"]),
        (("Glioma", "NoTumor", "Pituitary"), ["NoTumor"]),
        (("no_defect", "scratch"), ["no_defect"]),
        (("No Finding", "Mass"), ["No Finding"]),
        (("yes", "no"), ["no"]),
        (("OK", "healthy", "rust"), ["OK", "healthy"]),
        (("goods", "notable", "normalised", "snow", "nothing new"), []),
        (("good", "ok"), []),
        ((), []),
    ],
    ids=["good", "tumour", "underscore", "space", "yes-no", "two", "alike", "all", "none"],
)
def test_names_that_suggest_no_object(names: tuple[str, ...], expected: list[str]) -> None:
    assert suggested_empty(names) == expected


def test_the_suggestion_says_what_to_set() -> None:
    assert suggestion(["crack"]) is None
    one, two = suggestion(["crack", "good"]), suggestion(["crack", "good", "ok"])
    assert one is not None
    assert two is not None
    assert one.startswith("the name good suggests images without an object")
    assert "data.empty_classes=[good]" in one
    assert two.startswith("the names good, ok suggest images")
    assert "data.empty_classes=[good, ok]" in two
    assert load_config(None, ["data.empty_classes=[good, ok]"]).data.empty_classes == ("good", "ok")


def test_labels_are_those_of_the_names() -> None:
    assert empty_labels(["ok", "good"], ["good", "crack", "ok"], "DATA") == (0, 2)
    assert empty_labels([], ["good"], "DATA") == ()


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("goood",), "data.empty_classes has 'goood', no class of .*, did you mean 'good'"),
        (("xyz",), "no class of .*: it has crack, good"),
        (("crack", "good"), "data.empty_classes names all 2 classes"),
    ],
    ids=["near", "far", "all"],
)
def test_bad_names_are_refused(names: tuple[str, ...], message: str, tmp_path: Path) -> None:
    root = write_synthetic(tmp_path / "data", {"crack": 2, "good": 2})
    with pytest.raises(DataError, match=message):
        open_data(root, DataConfig(empty_classes=names))


def test_their_boxes_do_not_count(tmp_path: Path) -> None:
    root = write_synthetic(tmp_path / "data", {"crack": 2, "good": 2})
    (root / "boxes.csv").write_text(
        "image,x_min,y_min,x_max,y_max,label\ncrack/0.png,1,1,9,9,crack\ngood/0.png,1,1,9,9,good\n"
    )
    source = open_data(root, DataConfig(empty_classes=("good",)))
    found = {sample.image_id: source.annotate(sample) for sample in source.splits["train"]}
    assert found["crack/0.png"] is not None
    assert found["good/0.png"] is None


def test_names_of_classes_stay_text(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text("data: {empty_classes: [no, 01, null], unboxed_classes: [yes]}\n")
    assert load_config(tmp_path / "own.yaml").data.empty_classes == ("no", "01", "null")
    assert load_config(tmp_path / "own.yaml").data.unboxed_classes == ("yes",)
    assert load_config(None, ["data.empty_classes=[no]"]).data.empty_classes == ("no",)
