from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdtr.errors import DataError
from cdtr.formats.voc import VocObject, read_voc, voc_to_half_open

BOX = "<object><name>{}</name><bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox></object>"


def _write(folder: Path, body: str) -> Path:
    path = folder / "a.xml"
    path.write_text(f"<annotation>{body}</annotation>")
    return path


def test_reads_objects_in_order(tmp_path: Path) -> None:
    path = _write(tmp_path, BOX.format("cat", 1, 2, 3, 4) + BOX.format(" dog ", 5, 5, 5, 5.5))
    assert read_voc(path) == [VocObject("cat", 1, 2, 3, 4), VocObject("dog", 5, 5, 5, 5.5)]


def test_no_object_is_no_box(tmp_path: Path) -> None:
    assert voc_to_half_open(read_voc(_write(tmp_path, ""))).shape == (0, 4)


@given(*(st.integers(1, 20) for _ in range(4)))
def test_half_open_box_covers_the_counted_pixels(x0: int, y0: int, width: int, height: int) -> None:
    inclusive = VocObject("cat", x0, y0, x0 + width - 1, y0 + height - 1)
    left, top, right, bottom = voc_to_half_open([inclusive])[0]
    assert right - left == width
    assert bottom - top == height
    assert left == x0 - 1
    assert top == y0 - 1


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("<annotation><object>", id="cut-short"),
        pytest.param("<annotation><object><name>cat</name></object></annotation>", id="no-box"),
        pytest.param(f"<annotation>{BOX.format('cat', 1, 1, 'many', 2)}</annotation>", id="word"),
        pytest.param(f"<annotation>{BOX.format('cat', 1, 1, 'nan', 2)}</annotation>", id="nan"),
        pytest.param(f"<annotation>{BOX.format('cat', 1, 1, 'inf', 2)}</annotation>", id="infinite"),
        pytest.param(f"<annotation>{BOX.format('cat', 5, 1, 4, 2)}</annotation>", id="inside-out"),
        pytest.param('<?xml version="1.0" encoding="no-such"?><annotation/>', id="encoding"),
    ],
)
def test_damaged_file_is_one_line(text: str, tmp_path: Path) -> None:
    path = tmp_path / "a.xml"
    path.write_text(text)
    with pytest.raises(DataError, match=r"a\.xml cannot be read as Pascal VOC") as caught:
        read_voc(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "doctype",
    ['<!DOCTYPE a [<!ENTITY e "1">]>', '<!DOCTYPE a SYSTEM "file:///etc/passwd">', "<!DOCTYPE a>"],
    ids=["entity", "external", "plain"],
)
def test_document_type_is_refused(doctype: str, tmp_path: Path) -> None:
    path = tmp_path / "a.xml"
    path.write_text(f"{doctype}<annotation/>")
    with pytest.raises(DataError, match="document type"):
        read_voc(path)


def test_missing_file_is_a_data_error(tmp_path: Path) -> None:
    with pytest.raises(DataError):
        read_voc(tmp_path / "none.xml")
