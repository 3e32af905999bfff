"""What a notebook shows of ``cdtr.export``."""

from __future__ import annotations

from pathlib import Path

from cdtr.deployment.agreement import Agreement, Difference
from cdtr.deployment.int8 import Int8Gain
from cdtr.workflows.export import Exported, ExportedModel

AGREEMENT = Agreement(iou=0.9, same_class=1.0, same_box=0.75)


def test_files_and_measures_are_a_table() -> None:
    model = ExportedModel(b"", Difference(1e-6, 2e-6), AGREEMENT)
    html = Exported({Path("<b>.onnx"): 2_500_000}, "12 images of val", 12, model)._repr_html_()
    assert "<td>&lt;b&gt;.onnx</td><td>2.5 MB</td>" in html
    assert "<td>compared on</td><td>12 images of val</td>" in html
    assert "<td>largest difference of maps</td><td>2.0e-06</td>" in html
    assert "<td>images with the same box</td><td>75.0%</td>" in html
    assert "int8" not in html


def test_int8_has_its_own_rows() -> None:
    gain = Int8Gain(AGREEMENT, 8.0, 4.0, 2.0)
    html = Exported({}, "drawn images", 1, ExportedModel(b"", Difference(0, 0), AGREEMENT, b"", gain))._repr_html_()
    assert "<td>int8: images with the same box</td><td>75.0%</td>" in html
    assert "<td>int8: milliseconds an image</td><td>4.0 (float32: 8.0)</td>" in html
