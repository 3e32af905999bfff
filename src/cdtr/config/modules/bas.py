"""Settings of BAS (``cdtr.model.methods.bas``)."""

from __future__ import annotations

from pydantic import Field

from cdtr.config.checking import Section
from cdtr.config.modules import ModuleSpec


class BasConfig(Section):
    """Settings of BAS."""

    area_weight: float = Field(1.2, ge=0)  # w; 0.7 is published for VGG
    masked_weight: float = Field(0.5, ge=0)  # of the classes of what the map leaves; 0 is published for VGG
    best: int = Field(200, ge=1)  # classes whose maps are averaged, the most probable first; 80 for VGG


SPEC = ModuleSpec(
    name="bas",
    title="BAS",
    section=BasConfig,
    description="the background alone must not show the class",
    terms=("background", "area", "masked"),
    methods=("bas",),
)
