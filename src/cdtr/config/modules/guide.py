"""Settings of the guide (``cdtr.model.guide``)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from cdtr.config.checking import Section
from cdtr.config.modules import ModuleSpec
from cdtr.config.types import Prior


class GuideConfig(Section):
    """Settings of the guide, which the paper does not have: for starts without pretrained weights."""

    enabled: bool = False
    weight: float = Field(1.0, ge=0)  # of the alignment terms
    attention: Literal["evidence", "maps"] | Prior = "evidence"  # what teaches attention; with ocm.prior that does
    width: int = Field(128, ge=32, le=1024)  # channels
    features: Literal["own", "backbone"] = "own"  # of layers of its own, or those of the CNN of backbone.stem cnn


SPEC = ModuleSpec(
    name="guide",
    title="Guide",
    section=GuideConfig,
    description="not in the paper: local evidence and an object prior, in training only",
    terms=("guide", "guide_attention", "guide_maps", "guide_ocm"),
    inference={"enabled": False, "attention": "evidence"},
    summary=lambda section, _manifest: f"weight {section.weight:g}",
)
