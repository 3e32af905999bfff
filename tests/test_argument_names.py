"""Messages name an argument as Python does; the command line prints it as a flag."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import cdtr
from cdtr.cli._output import TERMINAL, with_flags
from cdtr.terminal import say_to

PACKAGE = Path(cdtr.__file__).parent
FLAG = re.compile(r"(?<![\w-])--[a-z]")
A_COMMAND = re.compile(r"`\s*cdtr [^`]*`|`\s*cdtr [^`]*$")  # such as `cdtr export RUN --onnx FILE`


def messages(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and text of each literal but docstrings; values in an f-string are {}."""
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    whole = [node for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)]
    within = {id(part) for node in whole for part in ast.walk(node) if part is not node}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr) and id(node) not in within:
            parts = (part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
            yield node.lineno, "".join(map(str, parts))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in within | docstrings:
            yield node.lineno, node.value


def named_flags(source: str) -> list[int]:
    """Lines of a source whose text names a flag, but as part of a whole command or as an argument of a process."""
    return [
        line
        for line, text in messages(ast.parse(source))
        if FLAG.search(A_COMMAND.sub("", text)) and not re.fullmatch(r"--[a-z-]+", text)
    ]


def test_no_message_outside_the_command_line_names_a_flag() -> None:
    found = [
        f"{path.relative_to(PACKAGE)}:{line}"
        for path in sorted(PACKAGE.rglob("*.py"))
        if path.relative_to(PACKAGE).parts[0] != "cli"
        for line in named_flags(path.read_text())
    ]
    assert not found, "write `name=` for --name, see cdtr.errors"


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ("raise ValueError('leave --view out')", [1]),
        ("raise ValueError(f'{path}: choose another --out')", [1]),
        ("x = 1\ny = ('one '\n    'give --boxes')", [2]),
        ("'''A docstring of --json.'''", []),
        ("words = ('--split', name)", []),
        ("say(f'see `cdtr calibrate {run} --view {view}`')", []),
        ("say('leave `view=` out')", []),
    ],
    ids=["plain", "f-string", "joined", "docstring", "argument of a process", "command", "as Python"],
)
def test_flags_are_found(source: str, lines: list[int]) -> None:
    assert named_flags(source) == lines


@pytest.mark.parametrize(
    ("message", "printed"),
    [
        ("choose another `out=`", "choose another --out"),
        ("leave `top_k=` out", "leave --top-k out"),
        ("`view=tiled`: no", "--view tiled: no"),
        ("`rows='a b'`: expected", "--rows 'a b': expected"),
        ("give `overwrite=True`, `near=False`", "give --overwrite, --no-near"),
        ("`formats=` or `copies=True`", "--format or --copy"),
        ("`overrides=['sba.enabled=true']` takes it", "--set sba.enabled=true takes it"),
        ("with train.lr=1, `cdtr train` and `a = b`", "with train.lr=1, `cdtr train` and `a = b`"),
    ],
)
def test_the_command_line_prints_flags(message: str, printed: str) -> None:
    assert with_flags(message) == printed


def test_a_training_prints_flags(capsys: pytest.CaptureFixture[str]) -> None:
    say_to(TERMINAL.console)(f"{'SBA is off: ' * 20}`overrides=['sba.model=FOLDER']` takes it")
    assert capsys.readouterr().err.endswith("SBA is off: --set sba.model=FOLDER takes it\n")
