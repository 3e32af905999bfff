"""Settings of SCM's diffusion (``cdtr.model.diffusion``)."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from cdtr.config.checking import Section
from cdtr.config.modules import ModuleSpec


class ScmConfig(Section):
    """Settings of the diffusion blocks, as released."""

    blocks: int = Field(4, ge=1, le=16)
    steps: tuple[Annotated[int, Field(ge=1, le=24)], ...] = (16, 4, 4, 4)  # of Newton-Schulz, one number a block
    start: float = Field(0.002, gt=0, le=0.01)  # of Newton-Schulz: Y_0 = start * L^T; larger ones need not converge
    lambda_init: float = Field(1.0, gt=0)
    beta_init: float = Field(0.5, gt=0)

    @model_validator(mode="after")
    def _a_number_for_each_block(self) -> ScmConfig:
        if len(self.steps) != self.blocks:
            raise ValueError(f"steps has {len(self.steps)} numbers for {self.blocks} blocks: expected one for each")
        return self


SPEC = ModuleSpec(
    name="scm",
    title="SCM",
    section=ScmConfig,
    description="diffuses the attention over similar neighbours, in training only",
    summary=lambda section, _manifest: f"{section.blocks} blocks",
    methods=("scm",),
)
