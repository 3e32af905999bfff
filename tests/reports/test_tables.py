"""Numbers in tables."""

from __future__ import annotations

import io

from rich.console import Console

from cdtr.evaluation import Evaluation
from cdtr.reports.tables import metric_rows, metrics_table, percent, summary_lines
from cdtr.threshold import Threshold, ThresholdSource


def _evaluation(**changes: object) -> Evaluation:
    values: dict[str, object] = {
        "protocol": "wsol",
        "n_images": 5,
        "n_annotated": 4,
        "map_threshold": Threshold(0.25, ThresholdSource.GIVEN),
        "intervals": {"gt_known_loc": (70.0, 80.04), "pxap": None},
        "metrics": {"gt_known_loc": 75.0, "top1_cls": 60.0, "pxap": None},
        "baselines": {
            "full_image": {"gt_known_loc": 12.34},
            "centre_box": {"gt_known_loc": 50.0},
            "largest_class": {"top1_cls": 71.25},
        },
        "oracle": {"threshold": 0.4, "gt_known_loc": 80.0, "top1_loc": 55.0},
        "per_class": {},
        "notes": ("mind the gap",),
    }
    return Evaluation(**{**values, **changes})  # type: ignore[arg-type]


def test_rows_pair_each_metric_with_its_baselines() -> None:
    rows = dict(metric_rows(_evaluation()))
    assert rows["GT-known Loc"] == ["75.0", "70.0–80.0", "12.3", "50.0", "-", "-"]
    assert rows["Top-1 Cls"] == ["60.0", "-", "-", "-", "-", "71.2"]
    assert rows["PxAP"] == ["-", "-", "-", "-", "-", "-"]
    assert "Top-5 Loc" not in rows


def test_table_fits_a_narrow_terminal() -> None:
    text = io.StringIO()
    Console(file=text, width=80).print(metrics_table(_evaluation()))
    assert max(map(len, text.getvalue().splitlines())) <= 80
    assert "12.3" in text.getvalue()


def test_summary_labels_the_oracle_and_the_chosen_baseline() -> None:
    text = "\n".join(summary_lines(_evaluation()))
    assert "5 images, 4 of them with boxes" in text
    assert "threshold 0.25, given" in text
    assert "oracle, not a fair score: threshold 0.40" in text
    assert "note: mind the gap" in text
    bare = "\n".join(summary_lines(_evaluation(n_annotated=0, oracle=None, map_threshold=None)))
    assert "threshold" not in bare
    assert "*" not in bare


def test_percent_shows_a_dash_for_nothing() -> None:
    assert [percent(None), percent(0.0), percent(99.96)] == ["-", "0.0", "100.0"]
