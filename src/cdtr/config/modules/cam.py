"""Settings of CAM (``cdtr.model.methods.cam``)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from cdtr.config.checking import Section
from cdtr.config.modules import ModuleSpec


class CamConfig(Section):
    """Settings of CAM."""

    neck: Literal["none", "conv", "double"] = "none"  # 3x3 convolutions before the classifier
    width: int = Field(1024, ge=16, le=4096)  # channels of the neck


SPEC = ModuleSpec(
    name="cam",
    title="CAM",
    section=CamConfig,
    description="a linear classifier of the features at each place",
    terms=(),
    methods=("cam", "has", "cutmix", "adl", "eil", "spa", "bridge", "i2c", "ddt"),
    summary=lambda section, _manifest: "" if section.neck == "none" else f"a neck of {section.width} channels",
)
