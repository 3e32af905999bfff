"""Settings of SKI, the Semantic Kernel Integrator (``cdtr.model.ski``)."""

from __future__ import annotations

from typing import Literal

from cdtr.config.checking import Section
from cdtr.config.modules import ModuleSpec


class SkiConfig(Section):
    """Settings of SKI; comments name the rows of docs/fidelity.md."""

    enabled: bool | None = None
    offsets_from: Literal["csm", "out"] = "csm"  # row 2
    attention: Literal["scaled", "raw"] = "scaled"  # row 2: M_ca in the offsets' input, in [0, 1] or about 1 / hw
    pool: Literal["mean", "attention"] = "mean"  # of X_ski over the grid, for its logits


SPEC = ModuleSpec(
    name="ski",
    title="SKI",
    section=SkiConfig,
    description="a kernel bent by CSM's offsets, in training only",
    terms=("ski",),
    equation=10,
    learned=True,
)
