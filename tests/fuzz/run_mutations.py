"""Damaged files of a run: what a kill, an editor, another program or a stranger may leave, by a seed."""

from __future__ import annotations

import copy
import json
import os
import random
import time
from collections.abc import Iterator
from typing import Any

ODD: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    3.5,
    1e308,
    10**400,
    float("nan"),
    float("-inf"),
    "",
    "0",
    "NaN",
    "\ud800",
    "\x00",
    "a\u2028b\x1b[2J",
    "../../etc/passwd",
    "x" * 5000,
    [],
    {},
    [[]],
    [None],
    {"v": 1},
    {"\ud800": {}},
    ["a", 1, {}],
)


def seeds(default: int) -> Iterator[int]:
    """``default`` seeds, or as many as fit into the seconds of CDTR_FUZZ_SECONDS."""
    end = time.monotonic() + float(os.environ.get("CDTR_FUZZ_SECONDS", "0"))
    seed = 0
    while seed < default or time.monotonic() < end:
        yield seed
        seed += 1
    print(f"{seed} seeds")  # shown with -s


def damaged_text(text: str, chance: random.Random) -> bytes:
    """A text file with some bytes changed, cut, doubled, put in or taken out."""
    content = bytearray(text.encode("utf-8"))
    for _ in range(chance.choice((1, 1, 2, 8))):
        place = chance.randrange(len(content) + 1)
        kind = chance.randrange(6)
        if kind == 0 and place < len(content):
            content[place] = chance.randrange(256)
        elif kind == 1:
            del content[place:]
        elif kind == 2:
            del content[place : place + chance.randrange(40)]
        elif kind == 3:
            content[place:place] = chance.choice((b"\x00", b"\xff", b"[" * 3000, b"{}", b"\r", b"\xc2\x85", b"9" * 400))
        elif kind == 4:
            content[place:place] = content[max(place - 60, 0) : place]
        else:
            content = bytearray(b"") if chance.random() < 0.1 else content[::-1]
    return bytes(content)


def damaged_tree(tree: Any, chance: random.Random) -> Any:
    """A tree of JSON with some values of another kind, keys that are gone or spelt otherwise."""
    tree = copy.deepcopy(tree)
    for _ in range(chance.choice((1, 1, 2, 4))):
        places = list(_places(tree))
        if not places:
            return chance.choice(ODD)
        parent, key = chance.choice(places)
        kind = chance.randrange(5)
        if kind == 0:
            del parent[key]
        elif kind == 1 and isinstance(parent, dict):
            parent[f"{key}x"] = parent.pop(key)
        elif kind == 2:
            parent[key] = _deep(chance.choice((3, 200)))
        else:
            parent[key] = copy.deepcopy(chance.choice(ODD))
    return tree


def damaged_json(tree: Any, chance: random.Random) -> bytes:
    """One of the two, as a file."""
    if chance.random() < 0.3:
        return damaged_text(json.dumps(tree), chance)
    return json.dumps(damaged_tree(tree, chance)).encode("utf-8")


def _places(tree: Any) -> Iterator[tuple[Any, Any]]:
    for key in list(tree) if isinstance(tree, dict) else range(len(tree)) if isinstance(tree, list) else ():
        yield tree, key
        yield from _places(tree[key])


def _deep(levels: int) -> Any:
    tree: Any = "bottom"
    for level in range(levels):
        tree = [tree] if level % 2 else {"below": tree}
    return tree
