"""Settings of SAT's spatial token (``cdtr.model.spatial``)."""

from __future__ import annotations

from pydantic import Field

from cdtr.config.checking import Section
from cdtr.config.modules import ModuleSpec


class SatConfig(Section):
    """Settings of the spatial token, as released for CUB."""

    blocks: int = Field(3, ge=1, le=64)  # the last blocks, which the token masks; all of a transformer that has fewer
    area: float = Field(0.25, ge=0, le=1)  # share of the patches that is foreground, on average; ILSVRC 0.35
    area_weight: float = Field(1.0, ge=0)
    norm_weight: float = Field(1.0, ge=0)


SPEC = ModuleSpec(
    name="sat",
    title="Spatial token",
    section=SatConfig,
    description="asks each patch whether it is foreground, and masks the attention of the last blocks",
    terms=("sat_area", "sat_norm"),
    summary=lambda section, _manifest: f"{section.blocks} blocks, area {section.area:g}",
    methods=("sat", "cdtr_sat"),
)
