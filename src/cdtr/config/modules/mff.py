"""Settings of MFF (``cdtr.model.methods.mff``)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from cdtr.config.checking import Section
from cdtr.config.modules import ModuleSpec


class MffConfig(Section):
    """Settings of MFF."""

    width: int = Field(128, ge=8, le=1024)
    fuse: Literal["product", "sum"] = "product"  # of the three levels
    target: Literal["soft", "labels"] = (
        "soft"  # what the fused maps learn: the last level"s classes (CUB), or the labels
    )
    dropout: float = Field(0.5, ge=0, lt=1)


SPEC = ModuleSpec(
    name="mff",
    title="MFF",
    section=MffConfig,
    description="multiplies the features of three strides",
    terms=("deep", "fused"),
    methods=("mff",),
)
