from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdtr.data.split import hold_out, training_samples
from cdtr.errors import DataError
from cdtr.records import DataSource, Sample


def _samples(*counts: int) -> list[Sample]:
    return [Sample(f"{label}/{i}", Path(f"{label}/{i}"), label) for label, n in enumerate(counts) for i in range(n)]


@given(st.lists(st.integers(1, 30), min_size=1, max_size=5), st.floats(0, 0.99), st.integers(0, 99))
def test_parts_are_disjoint_complete_and_stratified(counts: list[int], share: float, seed: int) -> None:
    samples = _samples(*counts)
    fit, held = hold_out(samples, share, seed)
    assert sorted(s.image_id for s in fit + held) == sorted(s.image_id for s in samples)
    assert fit == [s for s in samples if s in set(fit)]
    per_class = Counter(s.label for s in held)
    for label, count in enumerate(counts):
        expected = 0 if share == 0 or count < 2 else min(max(round(share * count), 1), count - 1)
        assert per_class[label] == expected


def test_choice_depends_on_the_seed_only() -> None:
    samples = _samples(20, 20)
    assert hold_out(samples, 0.2, 3) == hold_out(samples, 0.2, 3)
    assert hold_out(samples, 0.2, 3) != hold_out(samples, 0.2, 4)


def test_another_class_does_not_change_the_choice() -> None:
    alone = hold_out(_samples(20), 0.2, 0)[1]
    assert [s for s in hold_out(_samples(20, 9), 0.2, 0)[1] if s.label == 0] == alone


@pytest.mark.parametrize("share", [-0.1, 1.0, float("nan")])
def test_impossible_share_is_refused(share: float) -> None:
    with pytest.raises(DataError, match="share"):
        hold_out(_samples(3), share, 0)


def _source(**splits: tuple[Sample, ...]) -> DataSource:
    return DataSource("folder", Path("pets"), ("a", "b"), splits, False, lambda sample: None)


def test_training_samples_are_those_of_the_training_split() -> None:
    samples = tuple(_samples(2, 1))
    assert training_samples(_source(train=samples, val=samples[:1])) == samples


@pytest.mark.parametrize(
    ("splits", "found"),
    [({"val": (_samples(1)[0],)}, "val"), ({"train": (), "test": ()}, "no images at all"), ({}, "no images at all")],
    ids=["val alone", "empty", "nothing"],
)
def test_data_without_training_images_says_what_there_is(splits: dict[str, tuple[Sample, ...]], found: str) -> None:
    with pytest.raises(DataError, match=f"pets has no training images: expected a train split, found {found};"):
        training_samples(_source(**splits))
