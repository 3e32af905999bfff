from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import onnx
import pytest

from cdtr.api import load_model
from cdtr.deployment.agreement import (
    Difference,
    check_same,
    measure_agreement,
    measure_difference,
)
from cdtr.deployment.compared_images import ComparedImages, drawn_images, read_compared, run_all
from cdtr.deployment.facts import Facts
from cdtr.deployment.int8 import int8_bytes, measure_int8
from cdtr.deployment.program import method_runner
from cdtr.deployment.session import Outputs, session_runner
from cdtr.errors import CheckpointError, DataError
from cdtr.records import Sample
from cdtr.runs import RunFolder

HERE = Path()


def two_squares(*corners: int) -> Outputs:
    """Two classes, the first predicted; its map has a square of 20 at each corner."""
    maps = np.zeros((len(corners), 2, 64, 64), dtype=np.float32)
    for index, corner in enumerate(corners):
        maps[index, 0, corner : corner + 20, corner : corner + 20] = 1
    return Outputs(np.array([[2.0, 1.0]] * len(corners), dtype=np.float32), maps)


def pictures_of(count: int) -> ComparedImages:
    samples = tuple(Sample(str(index), HERE, 0) for index in range(count))
    return ComparedImages(np.zeros((count, 3, 1, 1), dtype=np.float32), samples, ((64, 64),) * count, (None,) * count)


def test_agreement_of_boxes_known_by_hand() -> None:
    found = measure_agreement(two_squares(0, 10), two_squares(0, 20), pictures_of(2), 0.5)
    assert found.iou == pytest.approx((1 + 100 / 700) / 2)
    assert found.same_class == 1.0
    assert found.same_box == 0.5


def test_no_box_agrees_with_no_box_alone() -> None:
    nothing, something = two_squares(64), two_squares(0)
    assert measure_agreement(nothing, nothing, pictures_of(1), 0.5).iou == 1
    assert measure_agreement(nothing, something, pictures_of(1), 0.5).iou == 0


def test_differences_count_against_the_largest_value() -> None:
    def answer(scale: float):
        return lambda pixels: Outputs(
            np.full((len(pixels), 2), 8 + scale), np.full((len(pixels), 2, 1, 1), 0.1 * scale)
        )

    found = measure_difference(answer(1), answer(1.5), np.zeros((3, 3, 1, 1), dtype=np.float32))
    assert found.logits == pytest.approx(0.5 / 9)
    assert found.maps == pytest.approx(0.5)


@pytest.mark.parametrize("difference", [Difference(2e-4, 0), Difference(0, 2e-4), Difference(float("nan"), 0)])
def test_too_large_a_difference_is_refused(difference: Difference) -> None:
    check_same("ONNX", Difference(1e-4, 1e-4))
    with pytest.raises(CheckpointError, match=r"ONNX differs from the run by .* nothing was written"):
        check_same("ONNX", difference)


def test_pictures_drawn_and_read(run: RunFolder, tmp_path: Path) -> None:
    config = run.config()
    drawn = drawn_images(3, config.data)
    assert drawn.pixels.shape == (3, 3, 32, 48)
    assert np.array_equal(drawn.pixels, drawn_images(3, config.data).pixels)
    assert not np.array_equal(drawn.pixels[0], drawn.pixels[1])
    (tmp_path / "a.jpg").write_text("no image")
    broken: list[str] = []
    with pytest.raises(DataError, match="none of the 1 images"):
        read_compared([Sample("a", tmp_path / "a.jpg", 0)], config, lambda sample, _: broken.append(sample.image_id))
    assert broken == ["a"]


def test_int8_is_measured_against_float32(run: RunFolder, exported: Path, facts: Facts) -> None:
    plain, pictures = exported.read_bytes(), drawn_images(6, run.config().data)
    made = int8_bytes(onnx.load(exported), facts)
    content = onnx.load(io.BytesIO(made))
    assert onnx.TensorProto.INT8 in {one.data_type for one in content.graph.initializer}
    (metadata,) = content.metadata_props
    assert Facts.from_json(metadata.value, "file").precision == "int8-dynamic"
    reference = run_all(method_runner(load_model(run.path)), pictures)
    outputs = run_all(session_runner(made), pictures)
    assert 0 < np.abs(outputs.logits - reference.logits).max() < 0.2 * np.ptp(reference.logits)
    found = measure_int8(plain, made, pictures, 0.4, rounds=2)
    assert 0 < found.agreement.iou <= 1
    assert found.float32_ms > 0
    assert found.int8_ms > 0
    assert found.speedup > 0
    same = measure_int8(plain, plain, pictures, 0.4, rounds=1)
    assert same.agreement.iou == 1.0
    assert same.agreement.same_class == 1.0
    assert same.agreement.same_box == 1.0
