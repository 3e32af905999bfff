"""What somebody at a Python prompt sees of the package, without waiting for PyTorch."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys

import pytest

import cdtr


def python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_dir_has_the_public_names_and_nothing_that_was_imported() -> None:
    shown = [name for name in dir(cdtr) if not name.startswith("_")]
    assert shown == sorted(cdtr.__all__)
    for name in shown:
        assert getattr(cdtr, name).__name__ == name


def test_dir_and_version_import_no_pytorch() -> None:
    shown = python("import cdtr, sys; print(dir(cdtr), cdtr.__version__, 'torch' in sys.modules)")
    assert "'Localizer'" in shown
    assert shown.endswith(f"{importlib.metadata.version('cdtr')} False\n")


def test_help_shows_the_public_names() -> None:
    shown = python("import cdtr; help(cdtr)")
    for name in cdtr.__all__:
        assert name in shown
    assert importlib.metadata.version("cdtr") in shown


def test_a_name_that_is_none_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Lokalizer'"):
        _ = cdtr.Lokalizer  # type: ignore[attr-defined]
