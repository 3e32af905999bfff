"""Settings of TriLite (``cdtr.model.tri_head``)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from cdtr.config.checking import Section
from cdtr.config.modules import ModuleSpec


class TriliteConfig(Section):
    """Settings of TriLite, as released for CUB."""

    alpha: float = Field(100.0, ge=0)  # weight of the term that keeps the class out of the background; ILSVRC 500
    dropout_map: float = Field(0.5, ge=0, lt=1)  # before the classifier of foreground and background; ILSVRC 0.25
    dropout_class: float = Field(0.5, ge=0, lt=1)  # before the classifier of the class token; ILSVRC 0.25
    classifier_lr: float = Field(10.0, gt=0)  # factor of train.lr for the classifier of the class token; ILSVRC 50
    tokens: Literal["normed", "prenorm"] = "normed"  # after the backbone's last norm, or before it, as released


SPEC = ModuleSpec(
    name="trilite",
    title="TriLite",
    section=TriliteConfig,
    description="foreground, background and ambiguous patches on a frozen backbone",
    terms=("foreground", "background"),
    summary=lambda section, _manifest: f"α = {section.alpha:g}",
    methods=("trilite",),
)
