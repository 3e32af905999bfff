"""Settings of SBA, the Semantic Boost Adapter (``cdtr.model.sba``)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, field_validator

from cdtr.config.checking import Section
from cdtr.config.modules import ModuleSpec


class SbaConfig(Section):
    """Settings of SBA; comments name the rows of docs/fidelity.md."""

    enabled: bool | Literal["auto"] | None = None
    alpha: float = Field(2.4, ge=0)
    xi: float = Field(1e-8, ge=0)
    model: str = "ViT-B-32-quickgelu"  # an open_clip model (row 11), or a folder written by train-clip
    pretrained: str = "openai"  # an open_clip tag, a weights file, or none
    templates: tuple[str, ...] = ("a photo of {}",)  # several are averaged (row 1)
    prompt_by: Literal["label", "batch_position"] = "label"  # row 1
    mask: Literal["scaled", "literal", "fused"] = "scaled"  # row 8
    mask_scaling: Literal["minmax", "none"] = "minmax"  # row 8, for fused
    align_corners: bool = False  # row 8: when the mask is resized to the image, corners meet
    similarity: Literal["clamp", "softmax", "literal"] = "clamp"  # row 9
    image: Literal["renormalised", "as_is"] = "renormalised"  # row 10
    min_fit: float = Field(0.25, ge=-1, le=1)  # auto: least chance-corrected zero-shot accuracy
    probe_images: int = Field(512, ge=1)

    @field_validator("templates")
    @classmethod
    def _has_slot(cls, templates: tuple[str, ...]) -> tuple[str, ...]:
        if not templates or any("{}" not in t for t in templates):
            raise ValueError("each template needs a {} for the class name, such as 'a photo of {}'")
        return templates


def _summary(section: SbaConfig, manifest: Mapping[str, Any]) -> str:
    fit = manifest.get("clip_fit")
    return f"α = {section.alpha:g}, CLIP {section.model}" + (
        f", its fit to the classes {fit['fit']:.2f}" if fit else ""
    )


SPEC = ModuleSpec(
    name="sba",
    title="SBA",
    section=SbaConfig,
    description="a frozen CLIP looks at the masked image, in training only",
    terms=("sba",),
    equation=11,
    on="auto",
    summary=_summary,
)
