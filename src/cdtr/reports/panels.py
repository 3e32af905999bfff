"""One picture as a row of four: itself, the attention, the class map, and their product with the boxes."""

from __future__ import annotations

import base64
from dataclasses import dataclass, replace
from io import BytesIO

import numpy as np
from PIL import Image

from cdtr.localization.maps import normalise_maps, resize_map
from cdtr.localization.predictor import Predictor
from cdtr.model.maps import class_evidence
from cdtr.records import Annotation, FloatArray, Localization, ModelOutput, Sample
from cdtr.reports.overlays import overlay

SIDE = 320  # pixels of a panel's longer side


@dataclass(frozen=True, slots=True)
class PanelRow:
    """What a page shows of an image. pictures: (caption, data URI), the fused map last. prob: in [0, 1]."""

    image_id: str
    label: str
    predicted: str
    prob: float
    iou: float | None
    pictures: tuple[tuple[str, str], ...]


def panel_row(
    predictor: Predictor, picture: Image.Image, sample: Sample, annotation: Annotation | None, iou: float | None
) -> PanelRow:
    """Localize a picture and draw its maps for the predicted class. iou: of its box, as the evaluation found it."""
    # One pass over the picture as it is, so that all panels show the very maps that the boxes come from.
    output = predictor.forward([picture])
    answer = predictor.localize(output, [picture], [sample.image_id])[0]
    scale = SIDE / max(picture.size)
    picture = picture.resize((round(picture.width * scale), round(picture.height * scale)), Image.Resampling.BICUBIC)
    size_hw = (picture.height, picture.width)
    truth = None if annotation is None else annotation.boxes_xyxy * scale
    fused = replace(
        answer,
        size_hw=size_hw,
        boxes_xyxy=answer.boxes_xyxy * scale,
        map=np.clip(resize_map(answer.map, size_hw), 0, 1),
    )
    pictures = [("image", picture)]
    for caption, coarse in _coarse_maps(output, answer.map_label):
        pictures.append((caption, overlay(picture, _map_only(fused, coarse))))
    pictures.append(("fused map and boxes", overlay(picture, fused, truth)))
    return PanelRow(
        image_id=sample.image_id,
        label=predictor.class_names[sample.label],
        predicted=predictor.class_names[answer.map_label],
        prob=float(answer.class_probs[answer.map_label]),
        iou=iou,
        pictures=tuple((caption, as_data_uri(panel)) for caption, panel in pictures),
    )


def as_data_uri(picture: Image.Image) -> str:
    buffer = BytesIO()
    picture.save(buffer, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _coarse_maps(output: ModelOutput, label: int) -> list[tuple[str, FloatArray]]:
    """The two factors of Eq. 3, (h, w) each; a method without class maps of its own has the attention alone."""
    maps = [("attention", output.attention[0])]
    if "x_out" in output.aux:
        maps.append(("class map", class_evidence(output.aux)[0, label]))
    return [(caption, values.float().cpu().numpy()) for caption, values in maps]


def _map_only(localization: Localization, coarse: FloatArray) -> Localization:
    """The localization with another map and without boxes."""
    return replace(
        localization,
        map=normalise_maps(resize_map(coarse, localization.size_hw)),
        boxes_xyxy=np.zeros((0, 4), dtype=np.float32),
        labels=np.zeros(0, dtype=np.int64),
        scores=np.zeros(0, dtype=np.float32),
    )
