"""Where a threshold is from: one sentence for each source, which reads back as what it was."""

from __future__ import annotations

import pytest

from cdtr.threshold import Threshold, ThresholdSource

SENTENCES = {
    Threshold(0.4): "given",
    Threshold(0.4, ThresholdSource.CALIBRATED, "12 held-out training images"): (
        "calibrated on 12 held-out training images"
    ),
    Threshold(0.4, ThresholdSource.LABEL_FREE, "12 held-out training images"): (
        "label-free on 12 held-out training images"
    ),
    Threshold(0.2, ThresholdSource.PUBLISHED, "protocol cdtr for cdtr on cub"): (
        "published with protocol cdtr for cdtr on cub"
    ),
    Threshold(0.2, ThresholdSource.CONFIGURED): "evaluation.threshold of the configuration",
    Threshold(0.2, ThresholdSource.DEFAULT): "a default, not calibrated",
    Threshold(0.4, ThresholdSource.ORACLE, "12 images of val, 3 of them scored here"): (
        "oracle: calibrated on 12 images of val, 3 of them scored here"
    ),
    Threshold(0.4, ThresholdSource.UNKNOWN, "on\n144 images"): "on\n144 images",
    Threshold(0.4, ThresholdSource.UNKNOWN): "",
}


@pytest.mark.parametrize(("threshold", "sentence"), SENTENCES.items(), ids=lambda one: str(one)[:20])
def test_the_sentence_of_a_source_reads_back_as_the_threshold(threshold: Threshold, sentence: str) -> None:
    assert str(threshold) == sentence
    assert Threshold.parse(threshold.value, sentence) == threshold


def test_every_source_has_a_sentence() -> None:
    assert {one.source for one in SENTENCES} == set(ThresholdSource)


def test_a_file_without_a_source_has_an_unknown_one() -> None:
    assert Threshold.parse(0.3, None) == Threshold(0.3, ThresholdSource.UNKNOWN)


def test_a_bare_number_was_given() -> None:
    assert Threshold.of(0.3) == Threshold(0.3, ThresholdSource.GIVEN)
    assert Threshold.of(None) is None
    published = Threshold(0.2, ThresholdSource.PUBLISHED)
    assert Threshold.of(published) is published
