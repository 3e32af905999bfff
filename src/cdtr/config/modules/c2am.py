"""Settings of C2AM (``cdtr.model.methods.c2am``)."""

from __future__ import annotations

from pydantic import Field

from cdtr.config.checking import Section
from cdtr.config.modules import ModuleSpec


class C2amConfig(Section):
    """Settings of C2AM."""

    alpha: float = Field(0.05, ge=0)  # how fast the weight of less similar pairs falls; 0.75 for a MoCo start


SPEC = ModuleSpec(
    name="c2am",
    title="C2AM",
    section=C2amConfig,
    description="separates two regions of each image by all images",
    terms=("apart", "object", "background"),
    methods=("c2am",),
)
