"""Which numbers of boxed images can be measured."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from cdtr.errors import DataError
from cdtr.workflows.budget_curves import review_sizes
from cdtr.workflows.budget_images import check_sizes, draw_order


class Notes:
    """Keeps the notes."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, message: str) -> None:
        self.lines.append(message)


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [(None, (10, 20)), ("0,10,25", (10, 25)), ("5, 30", (5, 30)), ([0, 3], (3,))],
    ids=["default", "text", "blanks", "numbers"],
)
def test_sizes_are_those_that_there_are_images_for(
    sizes: str | Sequence[int] | None, expected: tuple[int, ...]
) -> None:
    assert check_sizes(sizes, 30, (0, 10, 20, 50, 100)) == expected


def test_sizes_that_are_left_out_are_named() -> None:
    reporter = Notes()
    check_sizes(None, 30, (0, 10, 20, 50, 100), reporter)  # type: ignore[arg-type]
    assert reporter.lines == ["30 images with boxes can be drawn: 50, 100 are left out"]


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ("20,10", "expected increasing numbers"),
        ("10,10", "expected increasing numbers"),
        ("0", "the last above 0"),
        ("ten", "expected whole numbers"),
        ("-5,10", "expected whole numbers"),
        ("", "expected whole numbers"),
        ([10, 40], "30 images with boxes can be drawn"),
    ],
)
def test_other_sizes_are_refused(sizes: str | Sequence[int], expected: str) -> None:
    with pytest.raises(DataError, match=expected):
        check_sizes(sizes, 30, (0, 10))


def test_a_larger_draw_holds_the_smaller_one_and_draws_differ() -> None:
    assert sorted(draw_order(50, 3).tolist()) == list(range(50))
    assert draw_order(50, 3).tolist() == draw_order(50, 3).tolist()
    assert draw_order(50, 3).tolist() != draw_order(50, 4).tolist()


@pytest.mark.parametrize(
    ("sizes", "start", "larger"),
    [((10, 20), 0, []), ((10, 50), 50, []), ((20, 50, 100, 200), 50, [100, 200])],
    ids=["too-few", "none-larger", "two"],
)
def test_a_review_list_needs_images_to_fit_scores_on(sizes: tuple[int, ...], start: int, larger: list[int]) -> None:
    found = review_sizes(sizes)
    assert found[0] == start
    assert found[1] == larger
