"""Settings of EIL (``cdtr.model.methods.eil``)."""

from __future__ import annotations

from pydantic import Field

from cdtr.config.checking import Section
from cdtr.config.modules import ModuleSpec


class EilConfig(Section):
    """Settings of EIL."""

    threshold: float = Field(0.7, gt=0, le=1)  # times the largest value of the map
    after: str | None = None  # part of the CNN behind which it erases; None for the start of the last level


SPEC = ModuleSpec(
    name="eil",
    title="EIL",
    section=EilConfig,
    description="learns the classes again without the strongest place",
    terms=("erased",),
    methods=("eil",),
)
