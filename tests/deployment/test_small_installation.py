"""The list of packages for the small installation of docs/deployment.md is enough, and no import goes beyond it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution, packages_distributions
from pathlib import Path

import numpy as np
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from PIL import Image

from cdtr.formats import format_names

PAGE = Path(__file__).resolve().parents[2] / "docs" / "deployment.md"


def documented(after: str) -> list[str]:
    """The packages of the first line that begins with `pip install` after some words of the page."""
    text = PAGE.read_text(encoding="utf-8")
    line = re.search(r"^pip install (?!--no-deps)([^#\n]*)", text[text.index(after) :], re.MULTILINE)
    assert line is not None
    return line[1].split()


def with_dependencies(names: list[str]) -> set[str]:
    """The distributions that pip would install for some names, as far as they are installed here."""
    waiting, found = [Requirement(name) for name in names], set()
    while waiting:
        wanted = waiting.pop()
        name = canonicalize_name(wanted.name)
        key = f"{name}[{','.join(sorted(wanted.extras))}]"
        if key in found:
            continue
        found.add(key)
        try:
            requires = distribution(name).requires or []
        except PackageNotFoundError:
            continue
        for text in requires:
            needed = Requirement(text)
            extras = [*wanted.extras, ""]
            if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in extras):
                waiting.append(needed)
    return {key.partition("[")[0] for key in found}


@pytest.fixture(scope="module")
def small_installation(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a process that can import nothing but the standard library, cdtr and what the page lists."""
    allowed = with_dependencies(documented("## Without PyTorch"))
    blocked = sorted(
        module
        for module, owners in packages_distributions().items()
        if module not in ("cdtr", "sitecustomize") and not {canonicalize_name(name) for name in owners} & {*allowed}
    )
    assert {"torch", "scipy", "numba"} <= set(blocked)
    folder = tmp_path_factory.mktemp("blocker")
    (folder / "blocked.json").write_text(json.dumps(blocked))
    (folder / "sitecustomize.py").write_text(
        "import json, pathlib, sys\n"
        f"BLOCKED = set(json.loads(pathlib.Path({str(folder / 'blocked.json')!r}).read_text()))\n\n\n"
        "class Blocker:\n    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in BLOCKED:\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n\n\n"
        "sys.meta_path.insert(0, Blocker())\n"
    )
    return {"PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])}


def cdtr(env: dict[str, str], *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cdtr", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "OMP_NUM_THREADS": "1", **env},
        check=False,
    )


def test_localize_runs_on_the_packages_that_are_listed(
    exported: Path, small_installation: dict[str, str], tmp_path: Path
) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (40, 50, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    formats = ",".join(name for name in format_names() if name not in ("coco-rle", "review"))
    pictures = tmp_path / "a.png", "--heatmaps", "--overlays"
    done = cdtr(small_installation, "localize", exported, *pictures, "--out", tmp_path / "out", "--format", formats)
    assert done.returncode == 0, done.stderr
    assert "boxes in 1 images" in done.stdout


def test_every_command_has_help_and_the_version_is_told(small_installation: dict[str, str]) -> None:
    for words in (
        ["--version"],
        ["--help"],
        ["localize", "--help"],
        ["serve", "--help"],
        ["import-corrections", "--help"],
    ):
        done = cdtr(small_installation, *words)
        assert done.returncode == 0, done.stderr


def test_what_needs_more_names_it(small_installation: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "boxes").mkdir()
    done = cdtr(small_installation, "import-corrections", tmp_path / "x.json", "--boxes", tmp_path / "boxes")
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert "this needs scipy, which is not installed" in done.stderr
    for name in ("scipy", "defusedxml"):  # the page says so
        assert name in PAGE.read_text(encoding="utf-8")
