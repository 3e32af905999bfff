"""HTML of results for notebooks: tables, charts and images, bounded in number and size.

All text is escaped. Images are data URIs, so that a notebook needs no other file.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from cdtr.errors import DataError
from cdtr.image_files.reading import read_image
from cdtr.text import printable

if TYPE_CHECKING:  # an exported model runs where rich and matplotlib are not installed
    from cdtr.evaluation import Evaluation
    from cdtr.records import Localization
    from cdtr.reports.page import Chart

MOST_ROWS = 100  # of a table
MOST_IMAGES = 12  # of a result
LONGEST_SIDE = 1024  # pixels of an image
SMALL_SIDE = 256  # pixels of an image beside others


def html_text(text: str) -> str:
    """Escape plain text for HTML; characters that cannot be shown are replaced by their number."""
    return escape(printable(text))


def html_table(caption: str, header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return an HTML table.

    Args:
        caption: the line above the table, as plain text.
        header: the names of the columns.
        rows: the cells of each row, as plain text; those above ``MOST_ROWS`` are counted in a last line.
    """
    head = "".join(f"<th>{html_text(name)}</th>" for name in header)
    lines = [f"<tr>{''.join(f'<td>{html_text(cell)}</td>' for cell in row)}</tr>" for row in rows]
    body = "".join(lines[:MOST_ROWS])
    return (
        f"<table><caption>{html_text(caption)}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        + html_more(len(lines) - MOST_ROWS)
    )


def html_more(count: int) -> str:
    """Return a line that says how many more there are; nothing for none."""
    return f"<p>and {count} more</p>" if count > 0 else ""


def html_image(image: Image.Image, caption: str, longest_side: int = LONGEST_SIDE) -> str:
    """Return a figure of an image.

    Args:
        image: RGB; scaled down where a side has more pixels than ``longest_side``.
        caption: plain text, also for readers that see no image.
        longest_side: in pixels.
    """
    small = image.copy()
    small.thumbnail((longest_side, longest_side))
    buffer = BytesIO()
    small.save(buffer, "PNG")
    return _figure("data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii"), caption, caption)


def html_charts(charts: Sequence[Chart]) -> str:
    """Return figures of charts, at most ``MOST_IMAGES``."""
    return "".join(_figure(chart.uri, chart.title, chart.alt) for chart in charts[:MOST_IMAGES])


def html_evaluation(caption: str, evaluation: Evaluation) -> str:
    """Return the table of an evaluation, and the charts of hits over the map threshold and of the IoU."""
    from cdtr.reports.charts import overlap_charts, threshold_charts
    from cdtr.reports.tables import ALL_BASELINE_NAMES, INTERVAL_NAME, metric_rows

    header = ["metric", "score", INTERVAL_NAME, *ALL_BASELINE_NAMES.values()]
    rows = [[name, *values] for name, values in metric_rows(evaluation)]
    charts = [*threshold_charts(evaluation, None), *overlap_charts(evaluation)]
    return html_table(f"{caption}, protocol {evaluation.protocol}", header, rows) + html_charts(charts)


def html_localizations(localizations: Sequence[Localization], paths: Mapping[str, Path]) -> str:
    """Return small figures of the first ``MOST_IMAGES`` images with the boxes that were found in them.

    Args:
        localizations: what was found.
        paths: the file of each image, by its id; an image without a file that can be read is left out.
    """
    figures = "".join(_boxes_figure(one, paths.get(one.image_id)) for one in localizations[:MOST_IMAGES])
    return figures + html_more(len(localizations) - MOST_IMAGES)


def _boxes_figure(found: Localization, path: Path | None) -> str:
    from cdtr.reports.overlays import draw_boxes

    height, width = found.size_hw
    try:
        small = None if path is None else read_image(path, height * width)
    except DataError:
        small = None
    if small is None:
        return ""
    small.thumbnail((SMALL_SIDE, SMALL_SIDE))
    draw_boxes(small, found.boxes_xyxy * ([small.width / width, small.height / height] * 2))
    return html_image(small, repr(found))


def _figure(uri: str, caption: str, alt: str) -> str:
    image = f'<img alt="{html_text(alt)}" style="max-width: 100%" src="{escape(uri)}">'
    return f'<figure style="display: inline-block">{image}<figcaption>{html_text(caption)}</figcaption></figure>'
