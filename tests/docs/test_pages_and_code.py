"""Commands, options, settings, presets and files that the pages name are there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer

from cdtr.cli import build_app
from cdtr.config import Config, load_config, module_specs
from cdtr.formats import find_exporter

PROJECT = Path(__file__).resolve().parents[2]
PAGES = [PROJECT / "README.md", *sorted((PROJECT / "docs").glob("**/*.md"))]
CALL = re.compile(r"\bcdtr ((?:[a-z][a-z-]+)(?: shards| check)?)\b([^`\n#]*)")
SETTING = re.compile(rf"`((?:{'|'.join(Config.model_fields)})\.[a-z_]+)(?:[^`a-z_./(][^`]*)?`")
FILE = re.compile(r"`((?:src|tests|benchmarks|docs)/[\w./-]+)`")
FORMAT = re.compile(r"--format ([a-z][a-z,-]+)")
SET = re.compile(r"--set ([a-z][\w.]*)=")
PRESET = re.compile(r"(?:--config|--preset) (?:[a-z0-9-]+=)?([a-z][a-z0-9-]+)")

pytestmark = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)


def calls(page: Path) -> Iterator[tuple[str, list[str]]]:
    """Each `cdtr VERB ...` with its options, in code only: words like "cdtr trains" are none."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    code = re.findall(r"```.*?```|`[^`\n]+`", text, re.DOTALL)
    for verb, rest in CALL.findall("\n".join(code)):
        yield verb, re.findall(r"--[a-z][a-z0-9-]*", rest)


@cache
def find_command(verb: str) -> Any:
    found: Any = typer.main.get_command(build_app())
    for word in verb.split():
        found = found.commands.get(word)
        if found is None:
            return None
    return found


def test_commands_have_the_verbs_and_options_shown(page: Path) -> None:
    wrong = []
    for verb, options in calls(page):
        command = find_command(verb)
        if command is None:
            wrong.append(f"cdtr {verb}")
            continue
        known = {name for one in command.params for name in (*one.opts, *one.secondary_opts)} | {"--help"}
        wrong += [f"cdtr {verb} {option}" for option in options if option not in known]
    assert not wrong


def test_settings_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    of_methods = {spec.name: spec.section() for spec in module_specs()}  # a method's own are there with it alone
    wrong = []
    for key in {*SETTING.findall(text), *SET.findall(text)}:
        if key.endswith((".py", ".txt", ".yaml")):
            continue
        section: Any = SimpleNamespace(**{**of_methods, **dict(Config())})
        for part in key.split("."):
            section = getattr(section, part, wrong)
        if section is wrong:
            wrong.append(key)
    assert not wrong


def test_presets_formats_and_files_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for name in PRESET.findall(text):
        load_config(name)
    added = re.findall(r"^# (src/\S+)", text, re.MULTILINE)  # by docs/extending.md
    formats = {Path(name).stem.replace("_", "-") for name in added}
    for name in {name for names in FORMAT.findall(text) for name in names.strip(",").split(",")} - formats:
        find_exporter(name)
    assert not [name for name in FILE.findall(text) if not (PROJECT / name).exists()]
