"""Names of other people on a terminal: shown, never obeyed, never taken for markup."""

from __future__ import annotations

import io
import json
import re
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.table import Table

import cdtr
from cdtr.terminal import PlainConsole, say_to
from cdtr.text import fits_a_line, printable, printable_streams

EVIL = "a\x1b[2J\x1b]0;owned\u202egpj.exe\x9b31m"


@given(st.text(st.characters(exclude_categories=[])))
def test_nothing_is_left_that_a_terminal_obeys(text: str) -> None:
    shown = printable(text)
    assert shown.encode("utf-8").decode("utf-8") == shown
    assert shown.isprintable() or not re.search("[\x00-\x1f\x7f-\x9f]", shown)
    assert printable(shown) == shown
    assert len(shown.splitlines()) <= 1
    assert printable(text.replace("\n", "")) == printable(text.replace("\n", ""), lines=True).replace("\t", "\\x09")


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("軍艦鳥 é", "軍艦鳥 é"),
        ("👩\u200d🔬", "👩\u200d🔬"),
        ("a\x1b[2Jb", "a\\x1b[2Jb"),
        ("a\nerror: b", "a\\x0aerror: b"),
        ("a\u2028b", "a\\u2028b"),
        ("bad\udcff.jpg", "bad\\udcff.jpg"),
    ],
    ids=["other scripts", "joined emoji", "escape sequence", "second line", "line separator", "no UTF-8"],
)
def test_names_are_shown(name: str, shown: str) -> None:
    assert printable(name) == shown


@pytest.mark.parametrize(
    "name", ["a\nb", "a\rb", "a\vb", "a\fb", "a\x1cb", "a\x85b", "a\u2028b", "a\u2029b", "\udce9", " "]
)
def test_names_that_no_list_can_hold(name: str) -> None:
    assert not fits_a_line(name)


@given(st.text())
def test_what_fits_a_line_is_read_back(name: str) -> None:
    if fits_a_line(name):
        assert f"{name}\n".encode().decode().splitlines() == [name]


def test_printing_goes_through_the_one_place(capsys: pytest.CaptureFixture[str]) -> None:
    with printable_streams():
        print(f"wrote {EVIL}\n\tdone")
        print(EVIL, file=sys.stderr)
    out, err = capsys.readouterr()
    assert out == f"wrote {printable(EVIL)}\n\tdone\n"
    assert err == f"{printable(EVIL)}\n"


def test_json_that_is_printed_stays_json(capsys: pytest.CaptureFixture[str]) -> None:
    tree = {"a\x9b\x7f\u2028\u202e\x1b\n": ["é", EVIL]}
    with printable_streams():
        sys.stdout.writelines([json.dumps(tree, ensure_ascii=False), "\n"])
    text = capsys.readouterr().out
    assert json.loads(text) == tree
    assert text.strip().isprintable()


@pytest.mark.parametrize("terminal", [False, True], ids=["file", "terminal"])
def test_consoles_show_names_as_they_are(terminal: bool) -> None:
    table = Table(title="[red]title[/b]")
    table.add_column("class")
    table.add_row("[red]a.jpg")
    table.add_row(EVIL)
    file = io.StringIO()
    console = PlainConsole(file=file, width=200, force_terminal=terminal, color_system=None)
    console.print(table)
    console.print("x[/b].jpg :smile:", EVIL)
    text = re.sub("\x1b\\[[0-9;]*m", "", file.getvalue())
    assert "\x1b" not in text
    assert "\u202e" not in text
    for shown in ("[red]title[/b]", "[red]a.jpg", printable(EVIL), "x[/b].jpg :smile:"):
        assert shown in text


def test_a_line_is_one_line_on_anybodys_console() -> None:
    file = io.StringIO()
    say_to(Console(file=file, width=40))("left out x[/b].jpg\nerror: [red]" + "y" * 60)
    assert file.getvalue() == "left out x[/b].jpg\\x0aerror: [red]" + "y" * 60 + "\n"


def test_only_one_module_makes_consoles() -> None:
    root = Path(cdtr.__file__).parent
    found = [
        path.relative_to(root).as_posix()
        for path in root.rglob("*.py")
        if re.search(r"(?<!Plain)\bConsole\(", path.read_text(encoding="utf-8"))
    ]
    assert not found, "PlainConsole of cdtr.terminal prints names as they are"
