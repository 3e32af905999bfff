"""Settings of I2C (``cdtr.model.methods.i2c``)."""

from __future__ import annotations

from pydantic import Field

from cdtr.config.checking import Section
from cdtr.config.modules import ModuleSpec


class I2cConfig(Section):
    """Settings of I2C."""

    threshold: float = Field(0.7, gt=0, lt=1)  # of the label"s map, scaled to [0, 1]: cells of the object
    least: int = Field(30, ge=1)  # with fewer such cells, those above the threshold times the map"s largest value
    seeds: int = Field(3, ge=1, le=64)  # cells that are drawn from an image
    local_weight: float = Field(0.008, ge=0)
    global_weight: float = Field(0.001, ge=0)
    rate: float = Field(0.002, gt=0)  # a class centre moves by exp(-rate * visits)


SPEC = ModuleSpec(
    name="i2c",
    title="I2C",
    section=I2cConfig,
    description="objects of one class look alike, in two images and in all",
    terms=("local", "global"),
    methods=("i2c",),
)
