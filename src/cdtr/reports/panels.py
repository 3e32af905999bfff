"""One image as a row of maps: itself, the attention, the class map, the pseudo map, and the fused map, with boxes."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from PIL import Image
from torch import Tensor

from cdtr.localization.maps import normalise_maps, resize_map
from cdtr.localization.postprocess import MapPostProcessor
from cdtr.localization.presence import EmptyClasses
from cdtr.localization.torch_model import TorchModel
from cdtr.model.maps import class_evidence
from cdtr.records import Annotation, FloatArray, ModelOutput, Sample
from cdtr.reports.overlays import HEAT_SHARE, draw_boxes, heat_map

SIDE = 240  # pixels of a panel's longer side


@dataclass(frozen=True, slots=True)
class Panel:
    """kind: image, attention, class_map, pseudo_map, fused, before or after. alt: what it shows, in words."""

    kind: str
    alt: str
    uri: str


@dataclass(frozen=True, slots=True)
class PanelRow:
    """What a page shows of an image. prob: in [0, 1]. iou: of the found box, None where there is no true one."""

    image_id: str
    label: str
    predicted: str
    prob: float
    iou: float | None
    panels: tuple[Panel, ...]


def panel_row(
    predictor: TorchModel,
    threshold: float,
    image: Image.Image,
    sample: Sample,
    annotation: Annotation | None,
    iou: float | None,
    empty: EmptyClasses | None = None,
) -> PanelRow:
    """Localize an image and draw its maps for the predicted class.

    iou: of its box, as the evaluation found it. empty: the classes without an object, which get no box.
    """
    # One pass over the image as it is, so that all panels show the very maps that the boxes come from.
    output = predictor.forward([image])
    processor = MapPostProcessor(predictor.class_names, threshold, empty=empty)
    prediction = predictor.select_maps(output, [image], processor.select_classes)
    (localized,) = processor.process(prediction, [sample.image_id], [(image.height, image.width)])
    small, scale = _shrink(image)
    found = localized.boxes_xyxy * scale
    truth = None if annotation is None else annotation.boxes_xyxy * scale
    drawn = small.copy()
    draw_boxes(drawn, found, truth)
    predicted = predictor.class_names[localized.map_label]
    panels = [Panel("image", f"{sample.image_id} {_boxes(len(found), truth)}", as_data_uri(drawn))]
    for kind, name, coarse in [*_coarse_maps(output, localized.map_label), ("fused", "fused map", localized.map)]:
        over = _under_heat(small, coarse)
        draw_boxes(over, found, truth)
        panels.append(Panel(kind, f"{name} for {predicted} over {sample.image_id}", as_data_uri(over)))
    prob = float(localized.class_probs[localized.map_label])
    return PanelRow(sample.image_id, predictor.class_names[sample.label], predicted, prob, iou, tuple(panels))


def attention_row(
    before: TorchModel | None, after: TorchModel, image: Image.Image, sample: Sample, annotation: Annotation | None
) -> tuple[Panel, ...]:
    """An image with its true boxes, and the attention over it before the training, where that is known, and after."""
    small, scale = _shrink(image)
    truth = None if annotation is None else annotation.boxes_xyxy * scale
    drawn = small.copy()
    draw_boxes(drawn, (), truth)
    panels = [Panel("image", f"{sample.image_id}, {after.class_names[sample.label]}", as_data_uri(drawn))]
    for kind, predictor in (("before", before), ("after", after)):
        if predictor is not None:
            over = _under_heat(small, _numpy(predictor.forward([image]).attention[0]))
            draw_boxes(over, (), truth)
            panels.append(Panel(kind, f"attention {kind} training over {sample.image_id}", as_data_uri(over)))
    return tuple(panels)


def as_data_uri(image: Image.Image) -> str:
    """Return an image as a JPEG in a data URI."""
    buffer = BytesIO()
    image.save(buffer, "JPEG", quality=72, subsampling=0, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _shrink(image: Image.Image) -> tuple[Image.Image, FloatArray]:
    """The image with its longer side at ``SIDE``, and the factors of x0, y0, x1, y1."""
    scale = SIDE / max(image.size)
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    return image.resize(size, Image.Resampling.BICUBIC), np.tile(np.array(size) / np.array(image.size), 2)


def _coarse_maps(output: ModelOutput, label: int) -> list[tuple[str, str, FloatArray]]:
    """Kind, name and values (h, w) of the factors of Eq. 3 and of OCM's pseudo map, as far as the method has them."""
    maps = [("attention", "attention", output.attention[0])]
    if "x_out" in output.aux:
        maps.append(("class_map", "class map", class_evidence(output.aux)[0, label]))
    if "m_ocm" in output.aux:
        maps.append(("pseudo_map", "pseudo map", output.aux["m_ocm"][0]))
    return [(kind, name, _numpy(values)) for kind, name, values in maps]


def _under_heat(image: Image.Image, score_map: FloatArray) -> Image.Image:
    """An image under a map (h, w) of any range."""
    size_hw = image.height, image.width
    return Image.blend(image, heat_map(normalise_maps(resize_map(score_map, size_hw))), HEAT_SHARE)


def _numpy(values: Tensor) -> FloatArray:
    found: FloatArray = values.float().cpu().numpy()
    return found


def _boxes(found: int, truth: FloatArray | None) -> str:
    true = "no true box known" if truth is None else f"true boxes: {len(truth)}"
    return f"(boxes found: {found}, {true})"
