"""The trivial baselines without a method are those that an evaluation shows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cdtr.config import DataConfig
from cdtr.data.datasets import load_source
from cdtr.data.opening import open_data
from cdtr.evaluation import find_protocol
from cdtr.evaluation.measure import measure_boxes
from cdtr.evaluation.tally import Tally
from cdtr.evaluation.trivial import trivial_scores
from cdtr.image_files.reading import read_size
from cdtr.metrics.baselines import BASELINE_TITLES
from cdtr.records import Annotation, Sample

WSOL = find_protocol("wsol")


def _image(name: str, *boxes: tuple[float, ...], label: int = 0) -> tuple[Sample, tuple[int, int], Annotation]:
    return Sample(name, Path(name), label), (224, 224), Annotation(np.array(boxes, dtype=np.float64).reshape(-1, 4))


def test_whole_images_and_centred_boxes_are_told_apart() -> None:
    found = trivial_scores(
        [_image("a", (0, 0, 223, 223)), _image("b", (56, 56, 168, 168)), _image("c", (0, 0, 9, 9)), _image("d")], WSOL
    )
    assert found is not None
    assert found["protocol"] == "wsol"
    assert found["n_annotated"] == 3
    assert found["full_image"]["gt_known_loc"] == pytest.approx(100 / 3)
    assert found["centre_box"]["gt_known_loc"] == pytest.approx(200 / 3)
    assert found["centre_box"]["relative_size_hw"][0] <= 0.7
    assert "top1_loc" not in found["full_image"]


def test_boxes_that_an_evaluation_refuses_do_not_count() -> None:
    found = trivial_scores([_image("a", (-30, 0, -20, 9)), _image("b", (0, 0, 223, 223))], WSOL)
    assert found is not None
    assert found["n_annotated"] == 1
    assert trivial_scores([_image("a"), _image("b", (-30, 0, -20, 9))], WSOL) is None
    assert trivial_scores([], WSOL) is None


@pytest.mark.parametrize("name", ["wsol", "cdtr", "sat"])
def test_they_are_those_of_an_evaluation(shared_data: Path, name: str) -> None:
    protocol = find_protocol(name)
    source = load_source(shared_data / "neu-det")
    samples = source.splits["val"][::9]
    tally = Tally(protocol, None)
    images = []
    for sample in samples:
        size_hw, annotation = read_size(sample.path, 10**8), source.annotate(sample)
        images.append((sample, size_hw, annotation))
        tally.add(measure_boxes(sample, size_hw, [], annotation, protocol))
    expected = tally.finish().baselines
    found = trivial_scores(images, protocol)
    assert found is not None
    for baseline in BASELINE_TITLES:
        scores = expected[baseline]
        assert scores is not None
        for key in ("gt_known_loc", "gt_known_loc_iou70"):
            assert found[baseline][key] == scores[key]


def test_known_numbers_of_cub(shared_data: Path) -> None:
    source = open_data(shared_data / "cub-50", DataConfig(), lambda _line: None)
    images = ((one, read_size(one.path, 10**8), source.annotate(one)) for one in source.splits["test"])
    found = trivial_scores(images, WSOL)
    assert found is not None
    assert found["full_image"]["gt_known_loc"] == pytest.approx(21.8, abs=0.05)
    assert found["centre_box"]["gt_known_loc"] == pytest.approx(58.2, abs=0.05)
