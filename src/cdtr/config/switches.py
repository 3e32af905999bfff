"""Switching the modules of a configuration, for whatever modules there are."""

from __future__ import annotations

from cdtr.config.modules import module_specs
from cdtr.config.plug_ins import specs_of
from cdtr.config.sections import Config


def switch_names() -> tuple[str, ...]:
    """List the modules of ``cdtr`` that a method switches on, in the order of the paper."""
    return tuple(spec.name for spec in module_specs() if spec.switched_by_method)


def is_on(config: Config, name: str) -> bool:
    """Return whether a module is on; one without the setting ``enabled`` always is."""
    return bool(getattr(getattr(config, name), "enabled", True))


def switched_by_method(config: Config, modules: frozenset[str]) -> Config:
    """Set the switches that a configuration leaves open.

    Args:
        config: The settings.
        modules: The modules that the method has.

    Returns:
        The settings, in which every module is on or off (``auto`` for SBA).
    """
    config = config.updated()  # now with the sections that the method of another package brings
    is_open = [
        spec for spec in specs_of(config) if spec.switched_by_method and getattr(config, spec.name).enabled is None
    ]
    return config.updated(**{spec.name: {"enabled": spec.on if spec.name in modules else False} for spec in is_open})


def for_inference(config: Config) -> Config:
    """Leave out what only training needs.

    Returns:
        The settings for building a trained method, which has no weights of those parts. The guide and its prior stay
        where the maps are made with the prior.
    """
    needed = {"guide", "ocm"} if config.maps.fuse == "prior" else set()
    left = [spec for spec in specs_of(config) if spec.inference and spec.name not in needed]
    return config.updated(**{spec.name: dict(spec.inference) for spec in left})


def without_modules(config: Config) -> Config:
    """Switch off every module that can be off."""
    off = {spec.name: {**spec.inference, "enabled": False} for spec in specs_of(config) if spec.can_be_off}
    return config.updated(**off)
