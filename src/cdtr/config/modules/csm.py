"""Settings of CSM, the Category-aware Stimulation Module (``cdtr.model.csm``)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from cdtr.config.checking import Section
from cdtr.config.modules import ModuleSpec


class CsmConfig(Section):
    """Settings of CSM; comments name the rows of docs/fidelity.md."""

    enabled: bool | None = None  # None: on if the method has it
    g: int = Field(8, ge=1, le=1024)  # G of the paper
    width_factor: int = Field(2, ge=1, le=8)  # row 6: the encoder has width_factor * G channels
    norm: bool = True  # row 6
    upsample: Literal["size", "factor2"] = "size"  # row 17


SPEC = ModuleSpec(
    name="csm",
    title="CSM",
    section=CsmConfig,
    description="class maps from the attention",
    terms=("csm",),
    equation=4,
    learned=True,
    summary=lambda section, _manifest: f"G = {section.g}",
)
