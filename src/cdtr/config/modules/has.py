"""Settings of HaS (``cdtr.model.methods.has``)."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from cdtr.config.checking import Section
from cdtr.config.modules import ModuleSpec


class HasConfig(Section):
    """Settings of HaS."""

    cells: tuple[Annotated[int, Field(ge=0, le=224)], ...] = Field((0, 16, 32, 44, 56), min_length=1)  # pixels of 224
    share: float = Field(0.5, ge=0, lt=1)  # of the cells that are hidden


SPEC = ModuleSpec(
    name="has",
    title="HaS",
    section=HasConfig,
    description="hides squares of the training images",
    terms=(),
    methods=("has",),
)
