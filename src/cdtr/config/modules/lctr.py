"""Settings of LCTR (``cdtr.model.cdm``, and the relational row of ``cdtr.model.attention``)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from cdtr.config.checking import Section
from cdtr.config.modules import ModuleSpec


class LctrConfig(Section):
    """Settings of LCTR, as released; its figure has ``class_row`` and ``pool_logits`` off."""

    experts: int = Field(4, ge=1, le=64)  # kernels that an image's kernel is mixed from
    reverse: Literal["literal", "scaled"] = "literal"  # 1 - attention of about 1 / hw, or of attention in [0, 1]
    class_row: bool = True  # whether the relational row also passes on what the class token attends to itself
    pool_logits: bool = True  # a mean over 3x3 patches before the mean over the grid
    sba_attention: Literal["class_token", "relational"] = "class_token"  # the mask of SBA, where that is on


SPEC = ModuleSpec(
    name="lctr",
    title="LCTR",
    section=LctrConfig,
    description="relational attention, and a class kernel that is mixed for each image",
    summary=lambda section, _manifest: f"{section.experts} kernels",
    methods=("lctr",),
)
