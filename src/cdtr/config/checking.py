"""Checks of a tree of settings: unknown keys are refused, and the nearest known key is named."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from cdtr.errors import ConfigError

AnySection = TypeVar("AnySection", bound="Section")
_STRONG_MATCH, _WEAK_MATCH = 0.8, 0.6  # similarity (difflib) of an unknown key and the key that is suggested


class Section(BaseModel):
    """A part of the tree: frozen, refuses unknown keys."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False, protected_namespaces=()
    )


def merge(base: Mapping[str, Any], top: Mapping[str, Any]) -> dict[str, Any]:
    """Merge two trees key by key; values of ``top`` replace those of ``base``."""
    merged = dict(base)
    for key, value in top.items():
        below = merged.get(key)
        merged[key] = merge(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return merged


def checked_section(tree: Mapping[str, Any], section: type[AnySection], origin: str) -> AnySection:
    """Check a tree of settings.

    Args:
        tree: Keys and values.
        section: The class of the settings.
        origin: Where the tree comes from, for messages.

    Returns:
        The settings, with defaults for what is missing.

    Raises:
        ConfigError: An unknown key, or a value that does not fit.
    """
    _refuse_unknown(tree, section, origin, (), section)
    try:
        return section.model_validate(tree)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"{origin}: {where} = {first['input']!r:.200}: {first['msg']}") from error


def _refuse_unknown(
    tree: Mapping[str, Any], section: type[Section], origin: str, path: tuple[str, ...], root: type[Section]
) -> None:
    """Raise ConfigError for the first unknown key; ``root`` is the section of the whole tree, for suggestions."""
    for key, value in tree.items():
        here = ".".join((*path, str(key)))
        if key not in section.model_fields:
            known = [".".join((*path, name)) for name in section.model_fields]
            meant = _meant(str(key), known, [name for name in _all_keys(root) if name not in known])
            hint = f", did you mean {' or '.join(map(repr, meant))}?" if meant else ""
            raise ConfigError(f"{origin}: unknown key {here!r}{hint}; known here: {', '.join(known)}")
        kind = _section_of(section, key)
        if kind is not None:
            if not isinstance(value, Mapping):
                example = f"{here}.{next(iter(kind.model_fields))}"
                raise ConfigError(f"{origin}: {here} = {value!r:.200}: expected keys below it, such as {example}")
            _refuse_unknown(value, kind, origin, (*path, str(key)), root)


def _section_of(section: type[Section], key: str) -> type[Section] | None:
    """Return the section below a key; None if the key has a value."""
    kind = section.model_fields[key].annotation
    return kind if isinstance(kind, type) and issubclass(kind, Section) else None


def _all_keys(section: type[Section], path: tuple[str, ...] = ()) -> Iterator[str]:
    for key in section.model_fields:
        yield ".".join((*path, key))
        below = _section_of(section, key)
        if below is not None:
            yield from _all_keys(below, (*path, key))


def _meant(key: str, siblings: Sequence[str], elsewhere: Sequence[str]) -> list[str]:
    """Suggest keys, compared by their last parts.

    In this order: a sibling with a strong match, keys elsewhere of the same name, a sibling with a weak match, keys
    elsewhere with a strong match.
    """
    return (
        _near(key, siblings, _STRONG_MATCH)
        or [name for name in elsewhere if _last(name) == key]
        or _near(key, siblings, _WEAK_MATCH)
        or _near(key, elsewhere, _STRONG_MATCH)
    )


def _near(key: str, known: Sequence[str], cutoff: float) -> list[str]:
    close = difflib.get_close_matches(key, [_last(name) for name in known], n=1, cutoff=cutoff)
    return [name for name in known if close and _last(name) == close[0]]


def _last(key: str) -> str:
    return key.rpartition(".")[2]
