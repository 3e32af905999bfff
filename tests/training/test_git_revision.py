"""The manifest names a git revision only where the code that ran belongs to it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from cdtr.training import prepare


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    done = subprocess.run(["git", "-C", str(folder), *identity, *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.mark.parametrize("tracked", [True, False], ids=["checkout", "environment inside somebody's repository"])
def test_only_a_tracked_file_has_a_revision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tracked: bool) -> None:
    git(tmp_path, "init")
    (tmp_path / "thesis.tex").write_text("theirs")
    code = tmp_path / "prepare.py"
    code.write_text("")
    git(tmp_path, "add", "." if tracked else "thesis.tex")
    git(tmp_path, "commit", "-m", "one")
    monkeypatch.setattr(prepare, "__file__", str(code))
    assert prepare._git_revision() == (git(tmp_path, "rev-parse", "HEAD") if tracked else None)


def test_no_repository_no_revision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare, "__file__", str(tmp_path / "prepare.py"))
    assert prepare._git_revision() is None
