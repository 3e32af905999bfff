"""HTML of results in a notebook: escaped, images inside it, few and small."""

from __future__ import annotations

import base64
import re
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cdtr.records import Localization
from cdtr.reports.notebook import (
    LONGEST_SIDE,
    MOST_IMAGES,
    MOST_ROWS,
    SMALL_SIDE,
    html_charts,
    html_image,
    html_localizations,
    html_table,
    html_text,
)
from cdtr.reports.overlays import PREDICTED_COLOUR
from cdtr.reports.page import Chart

HOSTILE = '<b>"x"</b>&\udcff\x1b'
ESCAPED = "&lt;b&gt;&quot;x&quot;&lt;/b&gt;&amp;\\udcff\\x1b"


def images_in(html: str) -> list[Image.Image]:
    return [
        Image.open(BytesIO(base64.b64decode(data))) for data in re.findall(r'src="data:image/png;base64,([^"]+)"', html)
    ]


def localization(name: str) -> Localization:
    nothing = np.zeros(0)
    boxes = np.array([[100.0, 100, 300, 200]])
    return Localization(name, (300, 600), boxes, np.array([0]), np.array([0.5]), nothing, 0, nothing, (HOSTILE,))


def test_text_is_escaped_and_can_be_shown() -> None:
    assert html_text(HOSTILE) == ESCAPED


def test_each_text_of_a_table_is_escaped() -> None:
    html = html_table(HOSTILE, [HOSTILE], [[HOSTILE]])
    assert html.count(ESCAPED) == 3
    assert "<b>" not in html
    html.encode("utf-8")


@pytest.mark.parametrize(
    ("rows", "shown", "more"), [(0, 0, ""), (MOST_ROWS, MOST_ROWS, ""), (MOST_ROWS + 7, MOST_ROWS, "<p>and 7 more</p>")]
)
def test_a_table_has_a_bounded_number_of_rows(rows: int, shown: int, more: str) -> None:
    html = html_table("", ["number"], ([str(number)] for number in range(rows)))
    assert html.count("<td>") == shown
    assert html.endswith(f"</table>{more}")


def test_a_large_image_is_scaled_down_and_a_small_one_kept() -> None:
    html = html_image(Image.new("RGB", (4000, 1000)), HOSTILE) + html_image(Image.new("RGB", (30, 20)), "small")
    assert [image.size for image in images_in(html)] == [(LONGEST_SIDE, LONGEST_SIDE // 4), (30, 20)]
    assert f'alt="{ESCAPED}"' in html
    assert f"<figcaption>{ESCAPED}</figcaption>" in html


def test_charts_are_bounded_and_described() -> None:
    html = html_charts([Chart(HOSTILE, "a line", "data:image/svg+xml;base64,AA==")] * 20)
    assert html.count("<img ") == MOST_IMAGES
    assert html.count(ESCAPED) == MOST_IMAGES
    assert html.count('alt="a line"') == MOST_IMAGES


def test_localizations_are_small_images_with_their_boxes(tmp_path: Path) -> None:
    file = tmp_path / "grey.png"
    Image.new("RGB", (600, 300), (128, 128, 128)).save(file)
    found = [localization(f"{number}.png") for number in range(MOST_IMAGES + 3)]
    html = html_localizations(found, {one.image_id: file for one in found})
    shown = images_in(html)
    assert [image.size for image in shown] == [(SMALL_SIDE, SMALL_SIDE // 2)] * MOST_IMAGES
    rows, columns = np.nonzero((np.asarray(shown[0]) == PREDICTED_COLOUR).all(axis=2))
    scale = SMALL_SIDE / 600
    assert [columns.min(), columns.max() + 1] == pytest.approx([100 * scale, 300 * scale], abs=1.5)
    assert [rows.min(), rows.max() + 1] == pytest.approx([100 * scale, 200 * scale], abs=1.5)
    assert html.endswith("<p>and 3 more</p>")
    assert "<b>" not in html


def test_an_image_that_cannot_be_read_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no image")
    found = [localization("gone.png"), localization("broken.png"), localization("unknown.png")]
    paths = {"gone.png": tmp_path / "gone.png", "broken.png": tmp_path / "broken.png"}
    assert html_localizations(found, paths) == ""
