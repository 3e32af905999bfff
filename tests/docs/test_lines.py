"""Lines of prose end at 100 columns, and pages and source use the terms of the field.

Tables, code, links and images may be longer, as they cannot be broken.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]

PAGES = [
    path
    for folder in (PROJECT, PROJECT / "docs", PROJECT / "docs" / "methods", PROJECT / "examples")
    for path in sorted(folder.glob("*.md"))
]
LONGEST = 100
TERMS = {  # what pages and source do not say -> what they say
    "inside out": "inverted",
    "right side out": "not inverted",
    "picture": "image",
    "pupil": "student",
    "lessons": "distillation",
    "multiply-adds": "MACs",
    "answers": "returns",
}
SOURCE = PROJECT / "src" / "cdtr"
SOURCE_TERMS = {**TERMS, "answer": "return, result or output", "risk_area": "AURC"}
FIELD = '"picture"'  # of the JSON interface of `cdtr serve`, whose programs know it by this name
SOURCE_FILES = [
    path.relative_to(SOURCE) for path in sorted(SOURCE.rglob("*")) if path.suffix in {".py", ".html", ".yaml"}
]
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


def unwanted_terms(text: str) -> list[str]:
    """Terms in a source file, in prose as well as in names such as ``draw_picture``."""
    words = " ".join(text.lower().replace(FIELD, "").split())
    return [
        f"{term!r}: say {better!r}" for term, better in SOURCE_TERMS.items() if re.search(rf"(?<![a-z]){term}", words)
    ]


@pytest.mark.parametrize("file", SOURCE_FILES, ids=lambda path: path.with_suffix("").as_posix())
def test_the_source_uses_the_terms_of_the_field(file: Path) -> None:
    assert not unwanted_terms((SOURCE / file).read_text(encoding="utf-8"))
    assert not unwanted_terms(file.as_posix())


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("def draw_picture(): ...", ["'picture': say 'image'"]),
        ("the map is inside\n    out", ["'inside out': say 'inverted'"]),
        ("an answer", ["'answer': say 'return, result or output'"]),
        ("depicture, JPEGImages", []),
        ('Form(alias="picture")', []),
    ],
    ids=["name", "two lines", "word", "part of a word", "field of JSON"],
)
def test_unwanted_terms(text: str, found: list[str]) -> None:
    assert unwanted_terms(text) == found
