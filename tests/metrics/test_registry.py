"""A metric is one file: everything that reports metrics finds it by its record."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cdtr.errors import ConfigError
from cdtr.metrics import ImageRow, all_metrics, image_metrics, localized, metric_titles, presence_metrics, sweep_metrics
from cdtr.metrics import registry as registry_module

PROJECT = Path(__file__).resolve().parents[2]
EXAMPLE = re.compile(r"```python\n# strict_metrics\.py\n(.*?)```", re.DOTALL)

# Eight images of three classes; IoU 0.9 or 0.6, and the class is correct in every other one.
SCRIPT = """
import io, json
from pathlib import Path
import numpy as np
from rich.console import Console
from cdtr.evaluation import Tally, find_protocol
from cdtr.evaluation.measure import ScoredBox, measure_boxes
from cdtr.evaluation.predictions import without_classes
from cdtr.evaluation.trivial import trivial_scores
from cdtr.metrics.paired import compare_rows
from cdtr.records import Annotation, Sample
from cdtr.reports.ablation_table import check_metrics
from cdtr.reports.tables import differences_table, metrics_table
from cdtr.run_files import ScoresFile, check_content
import results_csv

def text(table):
    file = io.StringIO()
    Console(file=file, width=200).print(table)
    return file.getvalue()

tally = Tally(find_protocol("wsol"), None)
for index in range(8):
    height = 201 if index < 4 else 134
    box = ScoredBox(label=(index % 3 + index % 2) % 3, score=0.9, box_xyxy=(0, 0, 223, height))
    other = ScoredBox(label=index % 3, score=0.5, box_xyxy=(0, 0, 223, height))
    sample = Sample(f"{index}", Path(f"{index}"), index % 3)
    truth = Annotation(np.array([[0.0, 0, 223, 223]]))
    tally.add(measure_boxes(sample, (224, 224), [box, other], truth, tally.protocol))
found = tally.finish()
check_metrics(["top1_loc_iou70"])
tree = found.to_json()
check_content({"scores": [tree]}, ScoresFile, "scores.json", "-")
print(json.dumps({
    "value": tree["metrics"]["top1_loc_iou70"],
    "interval": tree["intervals"]["top1_loc_iou70"],
    "baseline": tree["baselines"]["full_image"]["top1_loc_iou70"],
    "per_class": [scores["top1_loc_iou70"] for scores in tree["per_class"].values()],
    "table": text(metrics_table(found)),
    "paired": text(differences_table(compare_rows(found.rows, found.rows), ("one", "one"))),
    "unknown": without_classes(found).metrics["top1_loc_iou70"],
    "trivial": sorted(trivial_scores([(sample, (224, 224), truth)], tally.protocol)["full_image"]),
    "columns": results_csv.COLUMNS,
    "label": results_csv.METRIC_LABELS["top1_loc_iou70"],
}))
"""


def test_a_metric_in_one_file_appears_in_results_tables_and_intervals(tmp_path: Path) -> None:
    (code,) = EXAMPLE.findall((PROJECT / "docs/extending.md").read_text(encoding="utf-8"))
    (tmp_path / "strict_metrics.py").write_text(code)
    installed = tmp_path / "strict_metrics-1.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: strict-metrics\nVersion: 1.0\n")
    (installed / "entry_points.txt").write_text("[cdtr.metrics]\nstrict = strict_metrics\n")
    path = os.pathsep.join(map(str, (tmp_path, PROJECT / "src", PROJECT / "benchmarks")))
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["value"] == 25, "images 0 and 2: IoU 0.9 and the class is correct"
    low, high = found["interval"]
    assert 0 <= low < 25 < high <= 100
    assert found["baseline"] == 50, "the whole image is every true box; half of the classes are correct"
    assert found["per_class"] == pytest.approx([100 / 3, 0, 50])
    row = next(line for line in found["table"].splitlines() if "Top-1 Loc at IoU 0.7" in line)
    assert row.split("│")[2].strip() == "25.0"
    assert row.split("│")[3].strip() == f"{low:.1f}–{high:.1f}"
    assert "Top-1 Loc at IoU 0.7" in found["paired"]
    assert found["unknown"] is None
    assert found["trivial"] == ["gt_known_loc", "gt_known_loc_iou70"]
    assert "top1_loc_iou70" in found["columns"]
    assert found["label"] == "Top-1 Loc at IoU 0.7"


def test_keys_and_order_are_those_of_the_contract() -> None:
    assert list(metric_titles()) == [
        *("gt_known_loc", "gt_known_loc_iou70", "top1_loc", "top5_loc", "top1_cls", "mean_recall", "top5_cls"),
        *("max_box_acc", "max_box_acc_v2", "pxap", "mean_iou", "median_iou"),
        *("object_auroc", "false_boxes", "missing_boxes"),
    ]
    assert {metric.key for metric in sweep_metrics()} == {"max_box_acc", "max_box_acc_v2", "pxap"}
    assert len(image_metrics()) + len(sweep_metrics()) + len(presence_metrics()) == len(all_metrics())


def test_metrics_that_choose_a_box_or_a_threshold_are_known_hits() -> None:
    chosen = [metric for metric in image_metrics() if metric.chosen_by is not None]
    assert {metric.chosen_by for metric in chosen} <= {metric.key for metric in chosen}
    rows = [ImageRow("a", 0, 0, 0.9, True, 0.6)]
    assert {metric.key: metric.compute(rows) for metric in chosen} == {
        "gt_known_loc": 100,
        "gt_known_loc_iou70": 0,
        "top1_loc": 100,
        "top5_loc": 100,
    }


def test_two_metrics_of_one_key_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Point:
        def load(self) -> object:
            return sys.modules["cdtr.metrics.pxap"]

    monkeypatch.setattr(registry_module, "entry_points", lambda group: [Point()])
    with pytest.raises(ConfigError, match="there is already a metric 'pxap'"):
        all_metrics.__wrapped__()


def test_an_iou_at_the_level_is_a_hit_if_the_class_is_correct() -> None:
    iou = np.array([0.5, np.nextafter(0.5, 0), 0.9])
    assert localized(iou).tolist() == [True, False, True]
    assert localized(iou, np.array([False, True, True])).tolist() == [False, False, True]
    assert localized(iou[None], level=np.array([[0.3], [0.7]])).tolist() == [[True, True, True], [False, False, True]]
