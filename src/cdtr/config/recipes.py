"""Labels of recipes: the recipe's name and the settings that differ from the recipe of that name.

A recipe is ``paper``, ``official`` or a preset that names itself (``recipe: small`` in ``small.yaml``); presets that
extend it share its name. Settings may be changed under any name, so no output shows the name alone, but a label.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from cdtr.config.beyond import beyond_paper
from cdtr.config.loading import load_config, preset_names
from cdtr.config.sections import Config

PAPER, OFFICIAL = "paper", "official"


def recipe_label(config: Config) -> str:
    """Name what a run was trained with, so that it cannot be taken for another recipe.

    The switches that are beyond the paper (``docs/fidelity.md``) and ``fidelity`` are compared with those of the
    recipe that ``config`` names; what differs is appended. The label of an own recipe says what it is made of.

    Args:
        config: The settings, with the switches as the method has them (``with_switches``).

    Returns:
        Such as ``small``, ``paper + guide + border prior``, ``small without guide``, ``paper with fidelity official``
        or ``mine (paper + guide)``.
    """
    if _own(config.recipe, config.method) is not None:
        return _compared(config.recipe, config)
    return f"{config.recipe} ({_compared(config.fidelity, config)})"


def is_paper(label: str) -> bool:
    """Whether a label stands for the paper's method alone.

    Args:
        label: Of ``recipe_label``.

    Returns:
        False for every change, for the released code's ways and for recipes of other names.
    """
    return label == PAPER


@cache
def _own(name: str, method: str) -> Config | None:
    """The settings that a known recipe has by itself; the released code's are those of the method."""
    if name == PAPER:
        return Config()
    if name == OFFICIAL:
        return load_config(None, changes={"fidelity": "official", "method": method})
    if name not in preset_names():
        return None
    found = load_config(name)
    return found if found.recipe == name else None


def _compared(recipe: str, config: Config) -> str:
    own = _own(recipe, config.method) or Config()
    label = recipe if config.fidelity == own.fidelity else f"{recipe} with fidelity {config.fidelity}"
    return label + _difference(beyond_paper(own), beyond_paper(config))


def _difference(own: Mapping[str, str], found: Mapping[str, str]) -> str:
    added = "".join(
        f" + {words}" + (f" instead of {own[feature]}" if feature in own else "")
        for feature, words in found.items()
        if own.get(feature) != words
    )
    *others, last = [words for feature, words in own.items() if feature not in found] or [""]
    missing = f"{', '.join(others)} and {last}" if others else last
    return added + (f" without {missing}" if missing else "")
