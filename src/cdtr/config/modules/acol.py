"""Settings of ACoL (``cdtr.model.methods.acol``)."""

from __future__ import annotations

from pydantic import Field

from cdtr.config.checking import Section
from cdtr.config.modules import ModuleSpec


class AcolConfig(Section):
    """Settings of ACoL."""

    threshold: float = Field(0.6, gt=0, lt=1)  # of the first map, scaled to [0, 1]: above it the second one looks away
    width: int = Field(1024, ge=16, le=4096)  # channels of the two convolutions of each head
    pool: bool = False  # average the features over 3x3 cells first, as published for VGG


SPEC = ModuleSpec(
    name="acol",
    title="ACoL",
    section=AcolConfig,
    description="a second classifier does without the place of the first",
    terms=("adversary",),
    methods=("acol",),
)
