"""Types of single settings that several sections share."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

# The upper bounds keep settings from an unknown source from asking for unbounded work.
Side = Annotated[int, Field(ge=1, le=8192)]
Size = tuple[Side, Side]
# Of pixels in [0, 1]. Values outside the bounds give infinite or constant input, and empty maps without an error.
Mean = Annotated[float, Field(ge=-10, le=10)]
Deviation = Annotated[float, Field(ge=1e-3, le=100)]
Means = tuple[Mean, Mean, Mean]
Deviations = tuple[Deviation, Deviation, Deviation]
Padding = Literal["zeros", "replicate"]
Prior = Literal["border", "contrast", "rarity", "shared", "by_class"]
OF_CNN: tuple[Prior, ...] = ("shared", "by_class")  # directions in the features of a frozen CNN
AttentionReduce = Literal["mean", "sum_heads", "sum_blocks"]
ViewName = Literal["whole", "mirrored", "crop", "tiled"]
Beta = Annotated[float, Field(ge=0, lt=1)]

REFINED = "refined"  # the method of a second stage, which learns from the maps of a first run
