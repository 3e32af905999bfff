"""Images in a protocol's frame: under a map, or coloured by what the attention outside the boxes lies on."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

from cdtr.evaluation import Protocol
from cdtr.evaluation.protocols import place_map, place_mask
from cdtr.metrics.noise import NOISE_KINDS
from cdtr.records import Field, FloatArray
from cdtr.reports.overlays import HEAT_SHARE, draw_boxes, heat_map

NOISE_COLOURS = {"base": (240, 140, 20), "novel": (40, 110, 240), "own": (190, 60, 200)}
NOISE_WORDS = {
    "base": "base: another class is recognised",
    "novel": "novel: no class is recognised",
    "own": "the image's class is recognised",
}
_SCALE = 2  # pixels of an image for one of the frame, so that lines are sharp
_LINE_WIDTH = 5  # of boxes, in pixels of such an image
_FAINTEST, _STRONGEST = 0.15, 0.85  # opacity of the least and the most attention


def frame_image(image: Image.Image, protocol: Protocol) -> Image.Image:
    """The part of an image that the protocol scores, resized as its map is, twice as large."""
    size_hw = image.height, image.width
    (height, width), (top, left), frame = protocol.resized_hw(size_hw), protocol.corner(size_hw), protocol.frame_hw
    resized = image.resize((width * _SCALE, height * _SCALE), Image.Resampling.BICUBIC)
    left, top = left * _SCALE, top * _SCALE
    return resized.crop((left, top, left + frame[1] * _SCALE, top + frame[0] * _SCALE))


def under_map(image: Image.Image, frame_map: FloatArray) -> Image.Image:
    """A frame's image under its map (H, W) in [0, 1]."""
    return Image.blend(image, heat_map(frame_map, (image.height, image.width)), HEAT_SHARE)


def in_frame(
    coarse_map: FloatArray, size_hw: tuple[int, int], protocol: Protocol, field: Field | None = None
) -> FloatArray:
    """A map (h, w) of any scale, which covers ``field`` of an image, in the frame, scaled to [0, 1] there."""
    return place_map(coarse_map, size_hw, protocol, field)


def under_noise(
    image: Image.Image,
    attention: FloatArray,
    regions: npt.NDArray[np.int64],
    true_xyxy: FloatArray,
    size_hw: tuple[int, int],
    protocol: Protocol,
    field: Field | None = None,
) -> Image.Image:
    """A frame's image, each patch outside the true boxes coloured by its kind of noise, the more attention the more.

    Args:
        image: From ``frame_image``.
        attention: (h, w), of ``field``.
        regions: (h, w), from ``noise_regions``.
        true_xyxy: (N, 4), half-open, pixels of the frame; inside them nothing is coloured.
        size_hw: Of the source image.
        protocol: Whose frame it is.
        field: The part of the image that attention and regions cover, None for all of it; the rest is not coloured.

    Returns:
        A new image.
    """
    palette = np.array([NOISE_COLOURS[kind] for kind in NOISE_KINDS], dtype=np.uint8)
    colours = frame_image(_nearest(palette[regions], size_hw, field), protocol)
    strength = _FAINTEST + (_STRONGEST - _FAINTEST) * place_map(attention, size_hw, protocol, field)
    seen = np.asarray(_nearest(np.full((1, 1, 3), 255, dtype=np.uint8), size_hw, field))[..., 0]
    strength *= place_mask((seen > 0).astype(np.uint8), protocol)
    for x0, y0, x1, y1 in np.rint(true_xyxy).astype(int):
        strength[y0:y1, x0:x1] = 0
    mask = Image.fromarray((255 * strength).astype(np.uint8)).resize(image.size, Image.Resampling.NEAREST)
    return Image.composite(colours, image, mask)


def _nearest(pixels: npt.NDArray[np.uint8], size_hw: tuple[int, int], field: Field | None) -> Image.Image:
    """Patches (h, w, 3) that cover ``field`` of an image, on black."""
    left, top, right, bottom = (round(edge) for edge in field or (0, 0, size_hw[1], size_hw[0]))
    canvas = Image.new("RGB", (size_hw[1], size_hw[0]))
    canvas.paste(Image.fromarray(pixels).resize((right - left, bottom - top), Image.Resampling.NEAREST), (left, top))
    return canvas


def with_boxes(image: Image.Image, found_xyxy: FloatArray, true_xyxy: FloatArray) -> Image.Image:
    """A copy with boxes (N, 4), half-open, pixels of the frame: found ones green, true ones red and dashed."""
    drawn = image.copy()
    draw_boxes(drawn, found_xyxy * _SCALE, true_xyxy * _SCALE, _LINE_WIDTH)
    return drawn
