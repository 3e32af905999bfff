"""Settings of ADL (``cdtr.model.methods.adl``)."""

from __future__ import annotations

from pydantic import Field

from cdtr.config.checking import Section
from cdtr.config.modules import ModuleSpec


class AdlConfig(Section):
    """Settings of ADL."""

    threshold: float = Field(0.9, gt=0, le=1)  # gamma, times the largest value of the map; 0.8 is published for VGG
    share: float = Field(0.75, ge=0, le=1)  # of the steps that erase; the others multiply by the importance map
    after: tuple[str, ...] = ()  # parts of the CNN behind which it stands; empty for the published ones


SPEC = ModuleSpec(
    name="adl",
    title="ADL",
    section=AdlConfig,
    description="erases the strongest place of the features at random",
    terms=(),
    methods=("adl",),
)
