"""The index of the paper's equations leads to functions that say which equation they are."""

from __future__ import annotations

import importlib
import re
from functools import reduce
from pathlib import Path

import pytest

import cdtr.model
from cdtr.model import EQUATIONS, Equation


def test_the_index_lists_every_equation_once() -> None:
    assert [equation.number for equation in EQUATIONS] == list(range(1, 15))


@pytest.mark.parametrize("equation", EQUATIONS, ids=[f"Eq. {equation.number}" for equation in EQUATIONS])
def test_each_entry_is_a_function_that_names_its_equation(equation: Equation) -> None:
    file, _, name = equation.where.partition(":")
    assert (Path(cdtr.model.__path__[0]) / file).is_file()
    module = importlib.import_module("cdtr.model." + file.removesuffix(".py").replace("/", "."))
    function = reduce(getattr, name.split("."), module)
    assert callable(function)
    assert re.search(rf"Eq\. {equation.number}\b", function.__doc__ or ""), f"{equation.where} does not name its number"
