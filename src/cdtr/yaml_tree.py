"""YAML that anybody may have written, read with bounds: the only reader of YAML.

Aliases count as what they stand for, as some hundred bytes of them can stand for a tree that no memory holds. A file
that is large, long or nested deeper than any setting is refused before a tree is built.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import yaml

MAX_BYTES = 2_000_000
MAX_DEPTH = 50
MAX_VALUES = 100_000  # with what aliases stand for
_LONGEST_NUMBER = 300  # characters

# Both of libyaml where PyYAML has it: its events come one by one, so that a file is refused at its first fault.
_EVENTS: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_OPENING = (yaml.SequenceStartEvent, yaml.MappingStartEvent)
_CLOSING = (yaml.SequenceEndEvent, yaml.MappingEndEvent)


def parse_yaml(text: str, as_text: bool = False) -> Any:
    """The tree of a document; ValueError, in one line, for text that is no YAML or beyond the bounds.

    as_text: every value is the text that stands there: yes, null, 01 and 1.50 stay what they are.
    """
    if len(text) > MAX_BYTES:
        raise ValueError(f"has {len(text)} characters, more than {MAX_BYTES}: too large for settings")
    try:
        _check_events(text)
        return yaml.load(text, Loader=yaml.BaseLoader) if as_text else yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"is not YAML: {' '.join(str(error).split())[:300]}") from error
    except (ValueError, TypeError, OverflowError, LookupError, AttributeError, RecursionError) as error:
        # Dates, numbers and tags that cannot be what they say.
        if isinstance(error, _BoundsError):
            raise
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ValueError(f"is not YAML: a value cannot be read ({reason})") from error


class _BoundsError(ValueError):
    pass


def _check_events(text: str) -> None:
    """Raise _BoundsError for a document that is nested too deep, or that is too long with its aliases written out."""
    anchored: dict[str, tuple[int, int]] = {}  # name to values and levels of what it names
    open_nodes: list[_Open] = [_Open(None)]
    event: Any
    for event in yaml.parse(text, Loader=_EVENTS):
        line = event.start_mark.line + 1
        values, levels = 1, 0
        if isinstance(event, _OPENING):
            open_nodes.append(_Open(event.anchor))
            values = 0  # counted when it is closed
        elif isinstance(event, _CLOSING):
            closed = open_nodes.pop()
            values, levels = closed.values + 1, closed.levels + 1
            if closed.anchor is not None:
                anchored[closed.anchor] = values, levels
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor not in anchored:
                raise _BoundsError(f"has the alias *{str(event.anchor)[:50]} in line {line} within what it names")
            values, levels = anchored[event.anchor]
        elif isinstance(event, yaml.ScalarEvent):
            if len(event.value) > _LONGEST_NUMBER and _may_be_number(event):
                raise _BoundsError(f"has a number of {len(event.value)} digits in line {line}: write a shorter one")
            if event.anchor is not None:
                anchored[event.anchor] = 1, 0
        else:
            continue
        parent = open_nodes[-1]
        parent.values += values
        parent.levels = max(parent.levels, levels)
        if len(open_nodes) - 1 + levels > MAX_DEPTH:
            raise _BoundsError(f"is nested deeper than {MAX_DEPTH} levels in line {line}: write it flatter")
        if parent.values > MAX_VALUES:
            raise _BoundsError(f"has more than {MAX_VALUES} values up to line {line}, with its aliases: too many")


@dataclass(slots=True)
class _Open:
    """A list or mapping that is not closed yet, and what is in it so far."""

    anchor: str | None
    values: int = 0
    levels: int = 0


def _may_be_number(event: Any) -> bool:
    """Python reads, but does not print, whole numbers of thousands of digits."""
    return event.tag is not None or (event.implicit[0] and event.value[0] in "+-.0123456789")
