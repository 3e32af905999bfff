"""Try the lowest versions that ``pyproject.toml`` declares: `make test-lowest`.

    python tests/lowest/check_lowest.py FOLDER             a new environment in FOLDER with all of them, torch included
    python tests/lowest/check_lowest.py FOLDER --overlay   the present environment, with all but torch and its exporter
                                                           laid over it in FOLDER: 0.7 GB instead of several
    python tests/lowest/check_lowest.py --list             the versions, without installing anything

Then a smoke test runs in it: describe a run, localize with it in PyTorch and, where ONNX Runtime is, from an exported
file, train an epoch of a few images, and start, ask and stop the server. It needs the package index.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
EXTRAS = ("serve", "onnx")
# They are most of the download, and the exporter of one version of torch wants its own onnxscript.
WITH_TORCH = ("torch", "torchvision", "onnx", "onnxscript")


def lowest(pyproject: Path = ROOT / "pyproject.toml") -> list[str]:
    """``name==version`` of each declared lower bound, of the package and of ``EXTRAS``."""
    project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
    declared = [*project["dependencies"], *(one for extra in EXTRAS for one in project["optional-dependencies"][extra])]
    found = []
    for one in declared:
        bound = re.fullmatch(r"([\w.-]+)>=([\w.]+)", one)
        if bound is None:
            sys.exit(f"pyproject.toml: {one!r} has no lower bound that can be tried: expected name>=version")
        found.append(f"{bound[1]}=={bound[2]}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="Install the lowest declared versions and try them.")
    parser.add_argument("folder", nargs="?", type=Path, help="where they are installed; may be there already")
    parser.add_argument("--overlay", action="store_true", help="over the present environment, without torch")
    parser.add_argument("--list", action="store_true", help="print the versions alone")
    given = parser.parse_args()
    if given.list:
        print("\n".join(lowest()))
        return
    if given.folder is None:
        parser.error("expected a folder")
    python, paths = overlay(given.folder) if given.overlay else environment(given.folder)
    command = [str(python), str(Path(__file__).with_name("smoke.py")), *lowest_tried(given.overlay)]
    path = os.pathsep.join([*paths, str(ROOT / "src"), str(ROOT / "tests")])
    sys.exit(subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, check=False).returncode)


def lowest_tried(overlaid: bool) -> list[str]:
    return [one for one in lowest() if not (overlaid and one.partition("==")[0] in WITH_TORCH)]


def environment(folder: Path) -> tuple[Path, list[str]]:
    """A virtual environment with all of them and what they need."""
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
    subprocess.run([python, "-m", "pip", "install", "--quiet", *lowest()], check=True)
    return python, []


def overlay(folder: Path) -> tuple[Path, list[str]]:
    """A folder of them alone, found before the packages of the present environment."""
    if not folder.is_dir():
        options = ["--quiet", "--no-deps", "--target", str(folder)]
        subprocess.run(
            [sys.executable, "-m", "pip", "install", *options, *with_partners(lowest_tried(True))], check=True
        )
    return Path(sys.executable), [str(folder)]


def with_partners(tried: list[str]) -> list[str]:
    """With what their makers release in pairs, each of which takes only its own partner."""
    partners = {"pydantic": "pydantic-core==2.18.1", "fastapi": "starlette==0.38.6", "numba": "llvmlite==0.43.0"}
    names = {one.partition("==")[0] for one in tried}
    return [*tried, *(partner for name, partner in partners.items() if name in names)]


if __name__ == "__main__":
    main()
