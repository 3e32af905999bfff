"""Tests assert one thing at a time, so that a failure shows the value or the message that differs."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

TESTS = Path(__file__).parent


def joined_asserts(code: str) -> list[int]:
    """Lines of asserts that compare two written tuples, or have a tuple as test or as message.

    ``assert (code, "no run" in err) == (2, True)`` fails with ``(2, False)`` and does not show the message.
    """
    return [
        node.lineno
        for node in ast.walk(ast.parse(code))
        if isinstance(node, ast.Assert)
        and (isinstance(node.test, ast.Tuple) or isinstance(node.msg, ast.Tuple) or _compares_tuples(node.test))
    ]


def _compares_tuples(test: ast.expr) -> bool:
    return isinstance(test, ast.Compare) and all(isinstance(one, ast.Tuple) for one in (test.left, *test.comparators))


@pytest.mark.parametrize("file", sorted(TESTS.rglob("*.py")), ids=lambda file: file.relative_to(TESTS).as_posix())
def test_one_thing_is_asserted_at_a_time(file: Path) -> None:
    assert not joined_asserts(file.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("code", "lines"),
    [
        ("assert (code, 'x' in err) == (2, True)", [1]),
        ("assert (1, 2)", [1]),
        ("assert a == b, (a, b)", [1]),
        ("assert size == (1, 2)", []),
        ("assert a == b\nassert c, d", []),
    ],
    ids=["two tuples", "tuple alone", "message", "a value that is a tuple", "one at a time"],
)
def test_joined_asserts(code: str, lines: list[int]) -> None:
    assert joined_asserts(code) == lines
