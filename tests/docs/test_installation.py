"""What is said of installing works: the package is on no index, so its name alone installs nothing, or a stranger's."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from cdtr.errors import how_to_install

PROJECT = Path(__file__).resolve().parents[2]
TEXTS = [
    PROJECT / "README.md",
    PROJECT / "Makefile",
    *(PROJECT / "docs").glob("*.md"),
    *(PROJECT / "docs").glob("*.ipynb"),
    *(PROJECT / "src").rglob("*.py"),
    *(PROJECT / "src").rglob("*.html"),
]
BY_NAME = re.compile(r"pip install (?:-[\w-]+ )*[\"']?cdtr\b(?!-)")
EXTRA = re.compile(r"(?:'\.|\.whl)\[(\w+)\]'|how_to_install\(['\"](\w+)['\"]\)")


def extras() -> set[str]:
    return set(tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["optional-dependencies"])


@pytest.mark.parametrize("text", ["pip install cdtr", "pip install 'cdtr[serve]'", 'pip install --no-deps "cdtr"'])
def test_the_pattern_finds_what_would_not_work(text: str) -> None:
    assert BY_NAME.search(text)


def test_nothing_is_installed_by_name() -> None:
    wrong = [f"{path}: {found[0]}" for path in TEXTS for found in BY_NAME.finditer(path.read_text(encoding="utf-8"))]
    assert not wrong


def test_every_extra_that_is_named_is_there() -> None:
    named = {
        name for path in TEXTS for pair in EXTRA.findall(path.read_text(encoding="utf-8")) for name in pair if name
    }
    assert {"serve", "onnx", "coco", "check", "shards", "pretrain"} <= named <= extras()


def test_messages_name_the_folder() -> None:
    assert how_to_install("onnx") == "pip install '.[onnx]' in cdtr's folder"
