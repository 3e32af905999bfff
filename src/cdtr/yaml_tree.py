"""YAML that anybody may have written, read with bounds: the only reader of YAML.

Aliases are refused: some hundred bytes of them stand for a tree that no memory holds. So are files that are large or
nested deeper than any setting, before a tree is built.
"""

from __future__ import annotations

from typing import Any

import yaml

MAX_BYTES = 2_000_000
MAX_DEPTH = 50
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
    depth = 0
    event: Any
    for event in yaml.parse(text, Loader=_EVENTS):
        line = event.start_mark.line + 1
        if isinstance(event, yaml.AliasEvent):
            raise _BoundsError(f"has the alias *{str(event.anchor)[:50]} in line {line}, refused: write it out")
        if isinstance(event, _OPENING):
            depth += 1
            if depth > MAX_DEPTH:
                raise _BoundsError(f"is nested deeper than {MAX_DEPTH} levels in line {line}: write it flatter")
        elif isinstance(event, _CLOSING):
            depth -= 1
        elif isinstance(event, yaml.ScalarEvent) and len(event.value) > _LONGEST_NUMBER and _may_be_number(event):
            raise _BoundsError(f"has a number of {len(event.value)} digits in line {line}: write a shorter one")


def _may_be_number(event: Any) -> bool:
    """Python reads, but does not print, whole numbers of thousands of digits."""
    return event.tag is not None or (event.implicit[0] and event.value[0] in "+-.0123456789")
