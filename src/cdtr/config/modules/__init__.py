"""Modules that a method can switch on, one file each: settings, loss terms and description.

A module brings all that is known about it by name in one ``ModuleSpec``. The configuration tree, the switches of the
methods, the reports and the curves are made from these. The networks themselves are in ``cdtr.model``; this package
imports no PyTorch.

The modules of ``cdtr`` are the files of this package. A method of another package brings its own in its tuple
``OWN_MODULES``; see ``plug_ins.py``.
"""

from __future__ import annotations

import importlib
import math
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from cdtr.config.checking import Section


def _no_words(section: Any, manifest: Mapping[str, Any]) -> str:
    return ""


@dataclass(frozen=True, eq=False, kw_only=True)
class ModuleSpec:
    """What the rest of the package knows about a module.

    Attributes:
        name: Key of its section in the configuration, such as ``csm``.
        title: Its name in reports, such as ``CSM``.
        section: Its settings. A field ``enabled`` makes it a module that can be switched; the default None leaves the
            switch to the method.
        description: What it does, in a few words, for reports.
        terms: Names of its loss terms.
        equation: The first equation of the paper that is about it; None for a module that the paper does not have.
        learned: Whether its terms have a learned weight (lambda of Eq. 2).
        on: Value of ``enabled`` if the method has the module and the configuration leaves it open.
        inference: Settings for building a trained method, without the parts that only training needs.
        summary: Describes the settings in words, from the section and the run's manifest.
        methods: The methods whose settings these are, the only ones whose configuration has the section; empty for a
            module of every configuration.
    """

    name: str
    title: str
    section: type[Section]
    description: str
    terms: tuple[str, ...] = ()
    equation: int | None = None
    learned: bool = False
    on: bool | str = True
    inference: Mapping[str, Any] = field(default_factory=dict)
    summary: Callable[[Any, Mapping[str, Any]], str] = _no_words
    methods: tuple[str, ...] = ()

    @property
    def can_be_off(self) -> bool:
        """Whether the module has the setting ``enabled``."""
        return "enabled" in self.section.model_fields

    @property
    def switched_by_method(self) -> bool:
        """Whether the method decides if the module is on, as long as the configuration leaves it open."""
        return self.can_be_off and self.section.model_fields["enabled"].default is None


@cache
def module_specs() -> tuple[ModuleSpec, ...]:
    """List the modules of this package.

    Returns:
        In the order of the paper; modules that the paper does not have come last.
    """
    names = [module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_")]
    found: list[ModuleSpec] = [importlib.import_module(f"{__name__}.{name}").SPEC for name in names]
    return tuple(sorted(found, key=lambda spec: (spec.equation or math.inf, spec.name)))
