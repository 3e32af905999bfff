"""Settings of Bridge (``cdtr.model.methods.bridge``)."""

from __future__ import annotations

from pydantic import Field

from cdtr.config.checking import Section
from cdtr.config.modules import ModuleSpec


class BridgeConfig(Section):
    """Settings of Bridge."""

    after: str | None = None  # part of the CNN behind which cells are dropped; None for the published one
    theta: float = Field(0.8, gt=0, le=1)  # times the largest value of the map: cells above it may be dropped
    share: float = Field(0.25, ge=0, le=1)  # p, of those that are dropped
    low: float = Field(0.2, ge=0, le=1)  # b: a norm of the features below it is background
    high: float = Field(0.4, ge=0, le=1)  # f: above it object
    drop_weight: float = Field(2.0, ge=0)
    similarity_weight: float = Field(0.5, ge=0)
    norm_weight: float = Field(0.05, ge=0)
    start: float = Field(0.29, ge=0, le=1)  # share of the epochs before the last two terms count
    best_class: bool = True  # the cosine of the norm"s term: of the nearest class (CUB), or of the label (ILSVRC)


SPEC = ModuleSpec(
    name="bridge",
    title="Bridge",
    section=BridgeConfig,
    description="makes the norm of the features and their direction agree",
    terms=("drop", "similarity", "norm"),
    methods=("bridge",),
)
