"""The site: built as `make docs` does, with every link in it, and without anything from another host."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer

import cdtr
from cdtr.cli import build_app

PROJECT = Path(__file__).resolve().parents[2]
ROOT_FILES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "mkdocs.yml")
FETCHED = re.compile(
    r"""<(?:script|img|iframe|link rel="(?:stylesheet|preconnect)")[^>]*?(?:src|href)=["']?(?:https?:)?//"""
)
DEAD_LINKS = {
    "page": ("docs/review.md", "[x](no-such-page.md)"),
    "anchor": ("docs/review.md", "[x](data.md#no-such-heading)"),
    "own anchor": ("docs/review.md", "[x](#no-such-heading)"),
    "picture": ("docs/review.md", "![x](images/none.jpg)"),
    "out of docs": ("docs/review.md", "[x](../src/cdtr/api.py)"),
    "README page": ("README.md", "[x](docs/no-such-page.md)"),
    "README anchor": ("README.md", "[x](docs/data.md#no-such-heading)"),
    "left out of the contents": ("docs/forgotten.md", "# Forgotten"),
}


def build(project: Path, site: Path) -> subprocess.CompletedProcess[str]:
    arguments = ["build", "--strict", "--config-file", project / "mkdocs.yml", "--site-dir", site]
    command = [sys.executable, "-m", "mkdocs", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    site = tmp_path_factory.mktemp("site")
    done = build(PROJECT, site)
    assert done.returncode == 0, done.stderr
    return site


def test_every_verb_and_its_options_are_in_the_reference(site: Path) -> None:
    page = re.sub(r"<[^>]+>", "", (site / "commands.html").read_text(encoding="utf-8"))
    missing = []

    def visit(name: str, command: object) -> None:
        subcommands = getattr(command, "commands", {})
        options = [option for one in getattr(command, "params", ()) for option in one.opts if option.startswith("--")]
        missing.extend(word for word in (name, *options) if word not in page)
        for below, one in subcommands.items():
            visit(f"{name} {below}", one)

    visit("cdtr", typer.main.get_command(build_app()))
    assert not missing


def test_every_public_name_is_in_the_reference(site: Path) -> None:
    page = (site / "api.html").read_text(encoding="utf-8")
    named = set(re.findall(r'id="cdtr\.([\w.]+)"', page))
    assert not set(cdtr.__all__) - named
    assert {"Localizer.from_pretrained", "Localizer.__call__", "Localizer.stream", "errors.ConfigError"} <= named


def test_nothing_is_fetched_from_another_host(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert len(pages) >= 10
    assert not [page.name for page in pages if FETCHED.search(page.read_text(encoding="utf-8"))]
    styles = [
        path for path in site.rglob("*.css") if re.search(r"url\(['\"]?https?:", path.read_text(encoding="utf-8"))
    ]
    assert not styles


def test_the_start_page_and_the_notebook_have_their_pictures(site: Path) -> None:
    for page in ("index.html", "localizer.html"):
        pictures = re.findall(r'<img[^>]*src="([^"]+)"', (site / page).read_text(encoding="utf-8"))
        assert pictures, page
        assert all((site / picture).is_file() for picture in pictures)


def test_dead_links_stop_the_build(tmp_path: Path) -> None:
    """All in one build, since each takes seconds: every one must be named."""
    for name in ("docs", "examples", *ROOT_FILES):
        copy = shutil.copytree if (PROJECT / name).is_dir() else shutil.copy
        copy(PROJECT / name, tmp_path / name)
    for name, text in DEAD_LINKS.values():
        with (tmp_path / name).open("a", encoding="utf-8") as file:
            file.write(f"\n\n{text}\n")
    done = build(tmp_path, tmp_path / "site")
    assert done.returncode != 0
    named = [
        re.sub(r".*\((?:docs/)?(.*)\)", r"\1", text) for _, text in DEAD_LINKS.values() if text.startswith(("[", "!"))
    ]
    assert not [link for link in (*named, "forgotten.md") if link not in done.stderr], done.stderr
