"""Settings of CutMix (``cdtr.model.methods.cutmix``)."""

from __future__ import annotations

from pydantic import Field

from cdtr.config.checking import Section
from cdtr.config.modules import ModuleSpec


class CutmixConfig(Section):
    """Settings of CutMix."""

    share: float = Field(1.0, ge=0, le=1)  # of the batches that are mixed
    beta: float = Field(1.0, gt=0)  # both parameters of the Beta distribution of the share that an image keeps


SPEC = ModuleSpec(
    name="cutmix",
    title="CutMix",
    section=CutmixConfig,
    description="pastes a part of one training image into another",
    terms=(),
    methods=("cutmix",),
)
