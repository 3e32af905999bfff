"""Settings of SPA (``cdtr.model.methods.spa``)."""

from __future__ import annotations

from pydantic import Field

from cdtr.config.checking import Section
from cdtr.config.modules import ModuleSpec


class SpaConfig(Section):
    """Settings of SPA."""

    low: float = Field(0.1, ge=0, lt=1)  # t: below this share of the largest variance a cell is background
    gap: float = Field(0.2, ge=0, lt=1)  # g: object from low + gap on
    weight: float = Field(0.5, ge=0)  # of RAM"s term
    start: float = Field(0.2, ge=0, le=1)  # share of the epochs before it counts
    min_classes: int = Field(10, ge=2)  # with fewer classes the variance says nothing of the object, and RAM is off
    scg: bool = True  # self-correlation at inference
    tau1: float = Field(0.1, ge=0, le=1)  # smaller cosines do not count
    tau2: float = Field(0.5, ge=0)  # over the number of cells; smaller second-order correlations do not count
    beta: float = Field(2.0, ge=0)  # weight of the second order
    positive: float = Field(0.1, ge=0, le=1)  # of the class map, scaled to [0, 1]: seeds of the object
    negative: float = Field(0.05, ge=0, le=1)  # seeds of the background


SPEC = ModuleSpec(
    name="spa",
    title="SPA",
    section=SpaConfig,
    description="restricts activation, and spreads the map along similar features",
    terms=("ram",),
    methods=("spa",),
)
