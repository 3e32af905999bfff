"""The files that people look for in the root are there, can be parsed, and agree with pyproject.toml."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

import cdtr

PROJECT = Path(__file__).resolve().parents[2]
NAMES = (
    "LICENSE",
    "CITATION.cff",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    ".pre-commit-config.yaml",
    ".github/workflows/check.yml",
    ".github/pull_request_template.md",
)
PAGES = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")
LINK = re.compile(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)")


def project_table() -> dict[str, Any]:
    table: dict[str, Any] = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return table


def read_yaml(name: str) -> Any:
    return yaml.safe_load((PROJECT / name).read_text(encoding="utf-8"))


def anchors(page: Path) -> set[str]:
    """The anchors that a code host makes of the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", NAMES)
def test_the_file_is_there(name: str) -> None:
    assert (PROJECT / name).read_text(encoding="utf-8").strip()


def test_the_license_is_whole_and_named_alike() -> None:
    text = (PROJECT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in text
    assert "END OF TERMS AND CONDITIONS" in text
    assert re.search(r"Copyright 20\d\d The cdtr authors", text)
    assert project_table()["license"] == read_yaml("CITATION.cff")["license"] == "Apache-2.0"


def test_the_citation_has_the_keys_of_its_format() -> None:
    citation = read_yaml("CITATION.cff")
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()
    (paper,) = citation["references"]
    assert {"type", "title", "authors", "journal", "year", "doi"} <= paper.keys()
    assert all({"family-names", "given-names"} == author.keys() for author in paper["authors"])
    assert paper["doi"] in (PROJECT / "README.md").read_text(encoding="utf-8")


def test_versions_agree() -> None:
    version = project_table()["version"]
    assert cdtr.__version__ == version
    assert read_yaml("CITATION.cff")["version"] == version
    assert version in (PROJECT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_metadata_names_no_host() -> None:
    table = project_table()
    assert table["authors"] == [{"name": "The cdtr authors"}]
    assert table["keywords"]
    assert "urls" not in table


def test_ci_runs_make_check_on_every_version_that_is_declared() -> None:
    workflow = read_yaml(".github/workflows/check.yml")
    assert {"pull_request", "push"} <= workflow[True].keys()  # YAML 1.1 reads the key "on" as true
    (job,) = workflow["jobs"].values()
    assert any("make check" in step.get("run", "") for step in job["steps"])
    declared = re.findall(r"Python :: (3\.\d+)", "\n".join(project_table()["classifiers"]))
    assert job["strategy"]["matrix"]["python"] == declared


def test_hooks_call_the_tools_of_make_lint() -> None:
    (repository,) = read_yaml(".pre-commit-config.yaml")["repos"]
    assert repository["repo"] == "local"
    makefile = (PROJECT / "Makefile").read_text(encoding="utf-8")
    for hook in repository["hooks"]:
        assert hook["language"] == "system"
        assert f"$(BIN)/{hook['entry'].removesuffix(' --force-exclude')}" in makefile, hook["entry"]


@pytest.mark.parametrize("path", sorted((PROJECT / ".github/ISSUE_TEMPLATE").glob("*.yml")), ids=lambda path: path.stem)
def test_forms_of_issues_can_be_read(path: Path) -> None:
    form = yaml.safe_load(path.read_text(encoding="utf-8"))
    if path.stem == "config":
        assert form == {"blank_issues_enabled": True}
        return
    assert {"name", "description", "body"} <= form.keys()
    questions = [item for item in form["body"] if item["type"] != "markdown"]
    assert len({item["id"] for item in questions}) == len(questions)
    for path_named in re.findall(r"docs/[\w.]+", str(form)):
        assert (PROJECT / path_named).is_file(), path_named


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_to_files_and_headings(name: str) -> None:
    page = PROJECT / name
    wrong = []
    for target, anchor in LINK.findall(page.read_text(encoding="utf-8")):
        path = (page.parent / target) if target else page
        if not path.exists() or (anchor and path.suffix == ".md" and anchor not in anchors(path)):
            wrong.append(f"{target}#{anchor}")
    assert not wrong


@pytest.mark.skipif(shutil.which("git") is None or not (PROJECT / ".git").exists(), reason="not a checkout")
def test_no_file_of_the_root_is_ignored() -> None:
    done = subprocess.run(["git", "check-ignore", *NAMES], cwd=PROJECT, capture_output=True, text=True, check=False)
    assert not done.stdout


def test_the_readme_shows_an_image_and_both_commands_before_anything_long() -> None:
    lines = (PROJECT / "README.md").read_text(encoding="utf-8").splitlines()
    assert any(line.startswith("![") for line in lines[:19])
    commands = [number for number, line in enumerate(lines) if re.match(r"make (quickstart|test)\b", line)]
    assert len(commands) == 2
    assert max(commands) < 30
    assert len(lines) < 100
    for heading in ("## How good it is", "## When to use something else"):
        assert heading in lines
