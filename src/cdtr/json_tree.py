"""JSON that other programs wrote: whatever is missing or of another kind is one clear error that says where."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from cdtr.errors import DataError

MAX_DEPTH = 64


def parse_json(text: str | bytes, allow_nan: bool = True) -> Any:
    """The tree of a JSON text; ValueError for one that is broken or nested deeper than ``MAX_DEPTH``.

    The parser stops some thousand levels deep; what is handed on can be walked and written by functions that recurse.
    """
    try:
        tree = json.loads(text, parse_constant=None if allow_nan else _refuse)
    except RecursionError:
        raise ValueError(f"it is nested deeper than {MAX_DEPTH} levels") from None
    level = [tree]
    for _ in range(MAX_DEPTH):
        level = [
            one
            for node in level
            if isinstance(node, (dict, list))
            for one in (node.values() if isinstance(node, dict) else node)
            if isinstance(one, (dict, list))
        ]
        if not level:
            return tree
    raise ValueError(f"it is nested deeper than {MAX_DEPTH} levels")


def load_json(path: Path, what: str, allow_nan: bool = True) -> Any:
    """A file's content; DataError for one that is nested too deep or broken.

    allow_nan: NaN and Infinity are read, which are no JSON, but which NumPy's users write.
    """
    try:
        return parse_json(path.read_text(encoding="utf-8-sig"), allow_nan)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as {what} ({error}): write it again") from error


def field(entry: Any, key: str, kind: type | tuple[type, ...], where: str) -> Any:
    """A value of a JSON object; DataError if it is missing or of another kind."""
    value = entry.get(key) if isinstance(entry, dict) else None
    if not isinstance(value, kind) or isinstance(value, bool):
        raise DataError(f"{where}: {key} is {value!r:.60}, expected {_name(kind)}")
    return value


def identifier(entry: Any, key: str, where: str) -> str:
    """A number or text that other entries refer to: 1, 1.0 and "1" are one, as programs write all three."""
    value = entry.get(key) if isinstance(entry, dict) else None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise DataError(f"{where}: {key} is {value!r:.60}, expected {_name((int, str))}")
    return str(value)


def entries(tree: Any, key: str, where: str) -> list[Any]:
    """A list of a JSON object."""
    found: list[Any] = field(tree, key, list, where)
    return found


def numbers(values: Sequence[Any], where: str) -> list[float]:
    """The values, numbers or their text, as finite numbers; DataError otherwise."""
    try:
        found = [math.nan if isinstance(value, bool) else float(value) for value in values]
    except (TypeError, ValueError, OverflowError):
        found = [math.nan]
    if not all(map(math.isfinite, found)):
        raise DataError(f"{where}: {list(values)!r:.80}, expected finite numbers")
    return found


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number of JSON")


def _name(kind: type | tuple[type, ...]) -> str:
    names = {dict: "an object", list: "a list", str: "a text", int: "a whole number"}
    return " or ".join(names[one] for one in (kind if isinstance(kind, tuple) else (kind,)))
