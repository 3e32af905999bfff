"""Lines of prose end at 100 columns, and the pages use the terms of the field.

Tables, code, links and images may be longer, as they cannot be broken.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]

PAGES = [path for folder in (PROJECT, PROJECT / "docs", PROJECT / "examples") for path in sorted(folder.glob("*.md"))]
LONGEST = 100
TERMS = {  # what the pages do not say -> what they say
    "inside out": "inverted",
    "right side out": "not inverted",
    "picture": "image",
    "pupil": "student",
    "lessons": "distillation",
    "multiply-adds": "MACs",
    "answers": "returns",
}
WRITTEN = re.compile(r"<!-- (table: [\w-]+|summary) -->.*?<!-- /(table|summary) -->", re.DOTALL)


def prose(text: str) -> Iterator[str]:
    """The lines that are no code, no table, and of no table that a script writes."""
    code = False
    for line in WRITTEN.sub("", text).splitlines():
        if line.lstrip().startswith("```"):
            code = not code
        elif not code and not line.lstrip().startswith("|"):
            yield line


def too_long(line: str) -> bool:
    """A line of one word, link or piece of code cannot be broken."""
    words = re.sub(r"`[^`]+`", lambda code: code[0].replace(" ", "-"), line).split()
    return len(line) > LONGEST and len(words) > 1 and not line.startswith("![")


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_prose_ends_at_100_columns(page: Path) -> None:
    wrong = [line for line in prose(page.read_text(encoding="utf-8")) if too_long(line)]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("a " * 50, False),
        ("a " * 51, True),
        ("b" * 120, False),
        (f"(`{'c ' * 60}`).", False),
        ("![" + "a " * 80, False),
    ],
    ids=["100", "102", "one word", "code", "image"],
)
def test_too_long(line: str, expected: bool) -> None:
    assert too_long(line) is expected


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_the_terms_are_those_of_the_field(page: Path) -> None:
    text = re.sub(r"```.*?```|`[^`]*`|\]\([^)]*\)", "", page.read_text(encoding="utf-8"), flags=re.DOTALL).lower()
    words = " ".join(text.split())
    wrong = [f"{term!r}: say {better!r}" for term, better in TERMS.items() if re.search(rf"\b{term}", words)]
    assert not wrong
