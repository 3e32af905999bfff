"""The examples in the docstrings of the metrics."""

from __future__ import annotations

import doctest
import pkgutil
from importlib import import_module

import pytest

import cdtr.metrics

EXAMPLES = {
    "baselines",
    "bootstrap",
    "loc_accuracy",
    "max_box_acc",
    "outcomes",
    "presence",
    "pxap",
    "registry",
    "selective",
}


@pytest.mark.parametrize("name", [module.name for module in pkgutil.iter_modules(cdtr.metrics.__path__)])
def test_examples_give_what_they_say(name: str) -> None:
    failed, attempted = doctest.testmod(import_module(f"cdtr.metrics.{name}"))
    assert failed == 0
    assert (attempted > 0) == (name in EXAMPLES)
