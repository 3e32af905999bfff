"""The JSON of the server's responses, and how a localization becomes it."""

from __future__ import annotations

import base64
from io import BytesIO

import cv2
from PIL import Image
from pydantic import BaseModel, Field

from cdtr.localization.boxes import to_uint8
from cdtr.localization.maps import normalise_maps, resize_map
from cdtr.records import FloatArray, Localization

# Up to here a browser gets the map pixel for pixel and finds the same boxes; beyond, a slider would not move at once.
LONGEST_SIDE = 1024


class FoundBox(BaseModel):
    """A box in pixels of the upright image."""

    xyxy: tuple[float, float, float, float] = Field(description="left, top, right, bottom; half-open")
    label: str
    score: float = Field(description="in [0, 1]; see `scored`")
    doubts: list[str] | None = Field(description="what lowers the score, in words; null where `scored` is false")


class EncodedImage(BaseModel):
    """An image file as base64."""

    width: int
    height: int
    base64: str


class Found(BaseModel):
    """What was found in an image."""

    image: str
    width: int
    height: int
    threshold: float = Field(description="share of the map's maximum that a box's region exceeds")
    map_label: str = Field(description="the class that the map shows: the one asked for, or the most probable")
    boxes: list[FoundBox]
    empty: bool = Field(description="true: there is no box, as `map_label` is a class without an object")
    object_probability: float | None = Field(
        description="that the image has an object, in [0, 1]; null where every class of the run has one"
    )
    scored: bool = Field(
        description="true: a box's score is the probability that its IoU with the object is at least 0.5; "
        "false: the run has no calibrated scores, and it is the class probability, "
        "with multi times the mean of the map in the box's region"
    )
    probabilities: dict[str, float] = Field(description="of each class, in the run's order")
    note: str | None = Field(description="what else to know, such as that only the first frame was taken")
    map: EncodedImage | None = Field(description="the heat map, 8-bit grey, if asked for; at most 1024 pixels a side")
    upright: EncodedImage | None = Field(
        serialization_alias="picture", description="the upright image as JPEG, if asked for; at most 1024 pixels a side"
    )


def describe(localization: Localization, threshold: float, note: str | None) -> Found:
    """Return the response without its images."""
    height, width = localization.size_hw
    names, doubts = localization.class_names, localization.doubts
    rows = zip(
        localization.boxes_xyxy.tolist(), localization.labels.tolist(), localization.scores.tolist(), strict=True
    )
    boxes = [
        FoundBox(xyxy=xyxy, label=names[label], score=score, doubts=None if doubts is None else list(doubts[number]))
        for number, (xyxy, label, score) in enumerate(rows)
    ]
    return Found(
        image=localization.image_id,
        width=width,
        height=height,
        threshold=threshold,
        map_label=names[localization.map_label],
        boxes=boxes,
        empty=localization.empty,
        object_probability=localization.object_prob,
        scored=doubts is not None,
        probabilities=dict(zip(names, localization.class_probs.tolist(), strict=True)),
        note=note,
        map=None,
        upright=None,
    )


def map_png(score_map: FloatArray) -> EncodedImage:
    """The 8-bit map in which boxes are searched, scaled down to ``LONGEST_SIDE`` if need be."""
    width, height = _shown_size(score_map.shape[1], score_map.shape[0])
    if (height, width) != score_map.shape:
        score_map = normalise_maps(resize_map(score_map, (height, width)))
    _, encoded = cv2.imencode(".png", to_uint8(score_map), [cv2.IMWRITE_PNG_COMPRESSION, 3])
    return EncodedImage(width=width, height=height, base64=base64.b64encode(encoded.tobytes()).decode("ascii"))


def image_jpeg(image: Image.Image) -> EncodedImage:
    """Return the image for browsers that cannot decode its format, scaled down to ``LONGEST_SIDE`` if need be."""
    small = image.resize(_shown_size(*image.size), Image.Resampling.BILINEAR)
    buffer = BytesIO()
    small.save(buffer, "JPEG", quality=90)
    return EncodedImage(
        width=small.width, height=small.height, base64=base64.b64encode(buffer.getvalue()).decode("ascii")
    )


def _shown_size(width: int, height: int) -> tuple[int, int]:
    scale = min(1.0, LONGEST_SIDE / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))
