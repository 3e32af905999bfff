"""Settings of OCM, the Object Constraint Module (``cdtr.model.ocm``)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from cdtr.config.checking import Section
from cdtr.config.modules import ModuleSpec
from cdtr.config.types import Prior

_PRIOR_WORDS = {
    "none": "",
    "border": ", starts from what is unlike the image's border",
    "contrast": ", starts from what is of another colour than the image's border",
    "rarity": ", starts from what is rare in the image",
    "shared": ", starts from what is alike in the objects of all training images, in a CNN's features",
    "by_class": ", starts from what is alike in the objects of each class, in a CNN's features",
    "maps": ", starts from maps of another tool",
}


class OcmConfig(Section):
    """Settings of OCM; comments name the rows of docs/fidelity.md."""

    enabled: bool | None = None
    p: float = Field(0.25, ge=0, le=1)  # share of the patches that count as clutter
    k: int = Field(9, ge=1)  # blocks that make the pseudo map
    blocks: Literal["first", "last"] = "first"  # row 7
    norm: bool = True  # row 7
    norm_momentum: float = Field(0.01, gt=0, le=1)  # row 7
    suppress: Literal["scaled", "literal", "official"] = "scaled"  # row 4
    awaken: Literal["scaled", "literal", "official"] = "scaled"  # row 5
    awaken_gradient: Literal["both", "to_attention", "to_pseudo_map"] = "both"
    prior: Literal["none", "maps"] | Prior = "none"  # not in the paper: what M_ocm starts from; needs the guide


def _summary(section: OcmConfig, _manifest: Mapping[str, Any]) -> str:
    return f"K = {section.k} blocks, p = {section.p:g}{_PRIOR_WORDS[section.prior]}"


SPEC = ModuleSpec(
    name="ocm",
    title="OCM",
    section=OcmConfig,
    description="suppresses clutter in the attention, awakens the object",
    terms=("ocm_suppress", "ocm_awaken"),
    equation=5,
    learned=True,
    inference={"prior": "none"},
    summary=_summary,
)
