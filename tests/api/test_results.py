"""What a localizer answers, as other libraries' objects."""

import sys
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas
import pytest
import supervision
import torch
from PIL import Image

from cdtr.api import LocalizedImage
from cdtr.api.results import LocalizedImages
from cdtr.errors import ConfigError, DataError
from cdtr.records import Localization

BOXES = [[2, 3, 12, 9], [10.5, 0, 20, 10]]


def localization(boxes: list[list[float]] = BOXES, masks: bool = False) -> Localization:
    count = len(boxes)
    return Localization(
        image_id="a/b.png",
        size_hw=(10, 20),
        boxes_xyxy=np.array(boxes, np.float32).reshape(-1, 4),
        labels=np.array([1, 0][:count], np.int64),
        scores=np.array([0.75, 0.5][:count], np.float32),
        map=np.linspace(0, 1, 200, dtype=np.float32).reshape(10, 20),
        map_label=1,
        class_probs=np.array([0.25, 0.75], np.float32),
        class_names=("cat", "dog"),
        masks=np.ones((count, 10, 20), np.uint8) if masks else None,
    )


def image(**options: object) -> LocalizedImage:
    return LocalizedImage.of(localization(**options), Image.new("RGB", (20, 10), "white"))  # type: ignore[arg-type]


def test_it_is_a_localization_with_all_that_one_has() -> None:
    found, plain = image(), localization()
    assert isinstance(found, Localization)
    for name in Localization.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(found, name), getattr(plain, name))


def test_coco_results_are_read_by_pycocotools() -> None:
    from pycocotools.coco import COCO

    found = image().to_coco()
    assert found[0] == {"image_id": "a/b.png", "category_id": 2, "bbox": [2.0, 3.0, 10.0, 6.0], "score": 0.75}
    truth = COCO()
    truth.dataset = {
        "info": {},
        "images": [{"id": 7, "width": 20, "height": 10}],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
        "annotations": [],
    }
    truth.createIndex()
    loaded = truth.loadRes([row | {"image_id": 7} for row in found])
    assert [row["area"] for row in loaded.loadAnns(loaded.getAnnIds())] == [60.0, 95.0]


@pytest.mark.parametrize("masks", [False, True])
def test_supervision_has_the_same_boxes(masks: bool) -> None:
    found = image(masks=masks).to_supervision()
    assert isinstance(found, supervision.Detections)
    np.testing.assert_array_equal(found.xyxy, BOXES)
    assert found["class_name"].tolist() == ["dog", "cat"]
    assert found.class_id.tolist() == [1, 0]
    assert (found.mask is not None) == masks
    assert len(found[found.confidence > 0.6]) == 1
    assert len(image(boxes=[], masks=masks).to_supervision()) == 0


def test_pandas_has_a_row_a_box() -> None:
    table = pandas.concat([image().to_pandas(), image(boxes=[]).to_pandas()])
    assert table.columns.tolist() == ["image_id", "label", "class_name", "score", "x0", "y0", "x1", "y1"]
    assert table.iloc[0].tolist() == ["a/b.png", 1, "dog", 0.75, 2, 3, 12, 9]
    assert len(table) == 2


def test_a_library_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ConfigError, match="pip install pandas"):
        image().to_pandas()


@pytest.mark.parametrize("kind", ["picture", "array", "tensor", "path"])
def test_plot_draws_the_boxes_on_the_image(kind: str, tmp_path: Path) -> None:
    picture = Image.new("RGB", (20, 10), "white")
    picture.save(tmp_path / "white.png")
    array = np.asarray(picture)
    source = {
        "picture": picture,
        "array": array,
        "tensor": torch.from_numpy(array.copy()).permute(2, 0, 1),
        "path": tmp_path / "white.png",
    }[kind]
    found = LocalizedImage.of(localization(), source)
    none = LocalizedImage.of(localization(boxes=[]), source)
    drawn, without = found.plot(), none.plot()
    assert drawn.mode == "RGB"
    assert drawn.size == (20, 10)
    assert drawn.tobytes() != without.tobytes()
    assert none.plot([[0, 0, 5, 5]]).tobytes() != without.tobytes()


def test_plot_refuses_an_image_that_is_gone_or_another(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.png"):
        LocalizedImage.of(localization(), tmp_path / "gone.png").plot()
    with pytest.raises(DataError, match="source image"):
        LocalizedImage.of(localization(), Image.new("RGB", (5, 5))).plot()


def test_the_text_of_a_result_is_short_and_names_its_boxes() -> None:
    assert repr(image()) == "LocalizedImage('a/b.png', 20 x 10, 2 boxes: dog 0.75, cat 0.50)"
    assert repr(localization([])) == "Localization('a/b.png', 20 x 10, 0 boxes)"
    assert repr(image(boxes=BOXES[:1])) == "LocalizedImage('a/b.png', 20 x 10, 1 box: dog 0.75)"


def test_a_notebook_shows_the_picture() -> None:
    found = image()
    png = found._repr_png_()
    assert png is not None
    np.testing.assert_array_equal(np.asarray(Image.open(BytesIO(png))), np.asarray(found.plot()))


def test_a_notebook_shows_the_text_where_the_image_is_gone(tmp_path: Path) -> None:
    Image.new("RGB", (20, 10)).save(tmp_path / "a.png")
    found = LocalizedImage.of(localization(), tmp_path / "a.png")
    (tmp_path / "a.png").unlink()
    assert found._repr_png_() is None


def test_a_notebook_shows_some_pictures_of_a_list() -> None:
    named = replace(localization(), image_id='<b>"x"')
    many = LocalizedImages(LocalizedImage.of(named, Image.new("RGB", (20, 10))) for _ in range(14))
    html = many._repr_html_()
    assert html.count("<img ") == 12
    assert "and 2 more" in html
    assert "<b>" not in html
    assert isinstance(many, list)
