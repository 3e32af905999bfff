"""Reading settings from YAML files, presets and overrides.

Settings are layered: the defaults (``sections.py``), then the bundle of ``fidelity``, then the chain of presets or
files that extend each other, then ``--set`` overrides. Mappings are merged key by key: an empty one changes nothing,
and ``null`` clears ``backbone.overrides``. Unknown keys are refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from cdtr.config.beyond import earlier_recipe
from cdtr.config.checking import merge
from cdtr.config.plug_ins import checked_config
from cdtr.config.sections import Config
from cdtr.errors import ConfigError
from cdtr.text import did_you_mean
from cdtr.yaml_tree import MAX_BYTES, parse_yaml

_NAMES = ("unboxed_classes", "empty_classes")  # of the section data: class names as yes, null or 01, which stay text


def preset_names() -> list[str]:
    """List the packaged presets, sorted."""
    names = (entry.name for entry in files("cdtr.presets").iterdir())
    return sorted(n.removesuffix(".yaml") for n in names if n.endswith(".yaml") and not n.startswith("_"))


def load_config(
    source: str | Path | None = None, overrides: Sequence[str] = (), changes: Mapping[str, Any] | None = None
) -> Config:
    """Read settings and check them.

    Args:
        source: A preset's name or a YAML file; None for the defaults.
        overrides: ``a.b=c`` each, applied last.
        changes: A tree of values, applied before the overrides.

    Returns:
        The settings.

    Raises:
        ConfigError: An unknown preset, key or value; the message names the nearest known one.
    """
    chain = _read_chain(str(source), ()) if source is not None else {}
    tree = merge(chain, changes or {})
    for override in overrides:
        tree = merge(tree, _parse_override(override))
    if tree.get("fidelity") == "official":
        bundle = bundle_name(str(tree.get("method")))
        if chain.get("fidelity") == "official" and bundle != bundle_name(str(chain.get("method", tree.get("method")))):
            raise ConfigError(
                f"{source} has the released settings of {chain['method']}, and those of {tree['method']} are others: "
                f"choose a preset of {tree['method']}, or a configuration with fidelity: paper"
            )
        tree = merge(read_preset(bundle), tree)
    return checked_config(tree, str(source or "overrides"))


def parse_config(text: str, origin: str) -> Config:
    """Check the configuration of a run folder.

    A configuration written before recipes had names gets one; one written before ``ski.attention`` gets the value
    that SKI used then.
    """
    tree = _parse_yaml(text, origin)
    if isinstance(tree.get("ski"), dict):
        tree["ski"].setdefault("attention", "raw")
    config = checked_config(tree, origin)
    return config if "recipe" in tree else config.updated(recipe=earlier_recipe(config))


def _read_chain(source: str, seen: tuple[str, ...], folder: Path | None = None) -> dict[str, Any]:
    path = Path(source) if folder is None or Path(source).is_absolute() else folder / source
    # Different files may have the same relative name, so files are compared by their absolute path.
    identity = str(path.resolve()) if path.suffix in {".yaml", ".yml"} else source
    if identity in seen:
        raise ConfigError(f"presets extend each other in a circle: {' -> '.join((*seen, identity))}")
    if path.suffix in {".yaml", ".yml"}:
        if not path.is_file():
            raise ConfigError(
                f"no configuration file {path}: give a YAML file or one of the presets {', '.join(preset_names())}"
            )
        tree = _parse_yaml(_read_text(path), str(path))
    else:
        tree = read_preset(source)
    parent = tree.pop("extends", None)
    if parent is None:
        return tree
    return merge(_read_chain(str(parent), (*seen, identity), path.parent), tree)


def read_tree(path: Path) -> dict[str, Any]:
    """Read the keys and values of a YAML file; ConfigError if there is no such file or it holds something else."""
    if not path.is_file():
        raise ConfigError(f"no file {path}: expected YAML with keys and values")
    return _parse_yaml(_read_text(path), str(path))


def read_text_tree(path: Path) -> dict[str, Any]:
    """Read a YAML file as ``read_tree``, with every value as text: yes, null, 01 and 1.50 are not converted."""
    tree = read_tree(path)
    return parse_yaml(_read_text(path), as_text=True) if tree else {}


def _read_text(path: Path) -> str:
    if path.stat().st_size > MAX_BYTES:
        raise ConfigError(f"{path} has {path.stat().st_size} bytes, more than {MAX_BYTES}: too large for settings")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 (byte {error.start}): expected YAML text, save it as UTF-8") from error


def read_preset(name: str) -> dict[str, Any]:
    """Read the keys and values of a packaged preset by its name, without those of the preset that it extends."""
    entry = files("cdtr.presets").joinpath(f"{name}.yaml")
    if not entry.is_file():
        raise ConfigError(
            f"unknown preset {name!r}{did_you_mean(name, preset_names())}; choose one of {', '.join(preset_names())}, "
            "or give a .yaml file"
        )
    return _parse_yaml(entry.read_text(encoding="utf-8"), f"preset {name}")


def bundle_name(method: str) -> str:
    """Name the preset with what the released code of a method computes: its own, or else that of CDTR."""
    own = f"_official-{method}"
    return own if files("cdtr.presets").joinpath(f"{own}.yaml").is_file() else "_official"


def _parse_yaml(text: str, origin: str) -> dict[str, Any]:
    try:
        tree = parse_yaml(text)
    except ValueError as error:
        raise ConfigError(f"{origin} {error}") from error
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ConfigError(f"{origin} holds a {type(tree).__name__}, expected keys and values such as 'method: cdtr'")
    data = tree.get("data")
    for name in _NAMES:
        if isinstance(data, dict) and isinstance(data.get(name), list):
            data[name] = parse_yaml(text, as_text=True)["data"][name]
    return tree


def _parse_override(text: str) -> dict[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"`overrides=[{text!r}]`: expected key=value, such as train.epochs=20")
    try:
        tree: Any = parse_yaml(value)
    except ValueError as error:
        raise ConfigError(f"`overrides=[{text[:80]!r}]`: the value {error}") from error
    if isinstance(tree, list) and key.strip() in {f"data.{name}" for name in _NAMES}:
        tree = parse_yaml(value, as_text=True)
    if isinstance(tree, str):
        tree = _as_number(tree)
    for part in reversed(key.strip().split(".")):
        tree = {part: tree}
    return dict(tree)


def _as_number(text: str) -> str | float:
    """Convert text such as 5e-4, which YAML 1.1 reads as a string, to a number."""
    try:
        return float(text)
    except ValueError:
        return text
