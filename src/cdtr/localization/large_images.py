"""Large images: overlapping tiles at the scale of training, whose maps are stitched to one map of the whole image.

Each tile is localized as an image of its own, by any model and view, and its map is scaled to [0, 1] as that of an
image is. An empty tile's map would then be as bright as a full one's, and its class as certain: a network without a
class for nothing is no judge of that. But the raw map of an empty tile is flat. So a tile counts by its contrast, the
span of its raw map beside that of a typical image, which calibration notes, or else beside the widest span in the image
(docs/large-images.md has the measurements).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
from PIL import Image

from cdtr.localization.boxes import component_boxes
from cdtr.localization.large_boxes import draw_masks, score_boxes
from cdtr.localization.maps import normalise_maps, resize_map
from cdtr.localization.postprocess import MapPostProcessor, class_probabilities
from cdtr.localization.prediction import LocalizationModel, check_images, localize_batch
from cdtr.localization.tile_grid import Tiling, cell_shares, grid_side
from cdtr.records import Field, FloatArray, Localization

# Shares of a typical image's span up to which a tile counts nothing, and from which on it counts fully; where that span
# is not known, of so much of the widest in the image.
_EMPTY, _FULL, _OF_WIDEST = 0.4, 0.65, 0.62
_FINER = 4  # times as many points along a side as the map has cells: boxes lie between cells


@dataclass(frozen=True, slots=True)
class _Tiles:
    """What a model predicts for the T tiles of an image.

    Attributes:
        covered: for each tile what its map covers, in pixels of the image.
        probabilities: (T, C).
        maps: (T, h, w), not normalised, each of the tile's most probable class or the class asked for.
        mirrored: the same for the mirrored tiles, mirrored back; None where they were not asked for.
        map_span: as of ``Tiling``.
        boxed: (T,) whether the tile has an object, where some classes are without one.
        object_prob: the largest probability of an object of a tile; None where every class has one.
    """

    covered: list[Field]
    probabilities: FloatArray
    maps: FloatArray
    mirrored: FloatArray | None
    map_span: float | None
    boxed: npt.NDArray[np.bool_]
    object_prob: float | None


def localize_any(
    model: LocalizationModel,
    processor: MapPostProcessor,
    tiling: Tiling | None,
    images: Sequence[Image.Image],
    image_ids: Sequence[str],
    labels: Sequence[int] | None = None,
) -> list[Localization]:
    """Localize RGB images, large ones in tiles and the others in one forward pass; see ``localize_batch``."""
    large = [tiling is not None and tiling.cuts((image.height, image.width)) for image in images]
    if tiling is None or not any(large):
        return localize_batch(model, processor, images, image_ids, labels)
    check_images(images, image_ids, labels)
    small = [index for index, cut in enumerate(large) if not cut]
    given = None if labels is None else [labels[index] for index in small]
    of_small = iter(
        localize_batch(model, processor, [images[index] for index in small], [image_ids[i] for i in small], given)
    )
    return [
        localize_large(model, processor, tiling, image, image_id, None if labels is None else labels[index])
        if large[index]
        else next(of_small)
        for index, (image, image_id) in enumerate(zip(images, image_ids, strict=True))
    ]


def localize_large(
    model: LocalizationModel,
    processor: MapPostProcessor,
    tiling: Tiling,
    image: Image.Image,
    image_id: str,
    label: int | None = None,
) -> Localization:
    """Localize an RGB image tile by tile.

    Every region above the threshold gets a box, whose class is that of the tiles that show it.

    Args:
        model: predicts the maps of tiles.
        processor: holds the threshold, the options and the scores of boxes; its smallest region is a share of a tile.
        tiling: how the image is cut.
        image: of any size.
        image_id: its id.
        label: the class to look for; by default the most probable one of each tile.

    Returns:
        As for an image that is not cut, but ``map`` has the resolution of the stitched map and not of the image.
    """
    size_hw = image.height, image.width
    tiles = _predict(model, processor, tiling, image, image_id, label)
    score_map = _stitched(tiles, tiles.maps, size_hw)
    threshold = min(processor.threshold / max(float(score_map.max()), 1e-12), 1.0)  # of what a map can reach, not does
    corner = np.tile([size_hw[1], size_hw[0]], 2)
    scale = corner / np.tile(score_map.shape[::-1], 2)
    share = min(processor.options.min_area_share * tiling.tile_hw[0] * tiling.tile_hw[1] / (size_hw[0] * size_hw[1]), 1)
    on_map = component_boxes(score_map, threshold, share)
    boxes = np.minimum(on_map * scale, corner).astype(np.float32)
    probabilities = _class_probabilities(tiles, boxes, () if processor.empty is None else processor.empty.labels)
    labels = np.full(len(boxes), label) if label is not None else probabilities[:-1].argmax(axis=1)
    labels, doubts = labels.astype(np.int64), None
    scores = probabilities[np.arange(len(boxes)), labels].astype(np.float32)
    if processor.quality is not None:
        turned = None if tiles.mirrored is None else _stitched(tiles, tiles.mirrored, size_hw)
        found, maps = (boxes, labels, scores), (score_map, turned)
        scores, doubts = score_boxes(processor.quality, processor.threshold, tiling, maps, size_hw, found)
        kept = scores >= processor.options.min_score
        on_map, boxes, labels, scores = on_map[kept], boxes[kept], labels[kept], scores[kept]
        doubts = tuple(some for some, keep in zip(doubts, kept, strict=True) if keep)
    return Localization(
        image_id=image_id,
        size_hw=size_hw,
        boxes_xyxy=boxes,
        labels=labels,
        scores=scores,
        map=score_map,
        map_label=int(probabilities[-1].argmax()) if label is None else label,
        class_probs=probabilities[-1].astype(np.float32),
        class_names=processor.class_names,
        doubts=doubts,
        masks=draw_masks(score_map, threshold, on_map, size_hw) if processor.options.masks else None,
        object_prob=tiles.object_prob,
        empty=not tiles.boxed.any(),
    )


def _predict(
    model: LocalizationModel,
    processor: MapPostProcessor,
    tiling: Tiling,
    image: Image.Image,
    image_id: str,
    label: int | None,
) -> _Tiles:
    """Predict a few tiles at a time. Their maps are kept, which are small; their pixels are not."""
    corners = tiling.tiles((image.height, image.width))
    covered: list[Field] = []
    probabilities, maps, mirrored = [], [], []
    boxed: list[npt.NDArray[np.bool_]] = []
    object_probs: list[float] = []
    for start in range(0, len(corners), tiling.at_a_time):
        some = corners[start : start + tiling.at_a_time]
        select = partial(processor.select_classes, labels=None if label is None else [label] * len(some))
        found = model.predict(
            [image.crop(one) for one in some], [image_id] * len(some), select, processor.needs_mirrored
        )
        probabilities.append(found.selection.probabilities)
        maps += [of_classes[0] for of_classes in found.maps]
        chosen = found.selection
        every = np.ones((len(some), 1), dtype=bool) if chosen.boxed is None else chosen.boxed
        boxed.append(np.asarray(every.any(axis=1)))
        object_probs += [] if chosen.object_probs is None else chosen.object_probs.tolist()
        mirrored += [] if found.mirrored is None else [of_classes[0] for of_classes in found.mirrored]
        for (left, top, right, bottom), field in zip(some, found.fields, strict=True):
            x0, y0, x1, y1 = field or (0, 0, right - left, bottom - top)
            covered.append((left + x0, top + y0, left + x1, top + y1))
    turned = np.stack(mirrored) if mirrored else None
    of_object = np.concatenate(boxed), max(object_probs, default=None)
    return _Tiles(covered, np.concatenate(probabilities), np.stack(maps), turned, tiling.map_span, *of_object)


def _contrasts(maps: FloatArray, map_span: float | None) -> FloatArray:
    """Return how much each of maps (T, h, w) counts, in [0, 1], by its span beside that of a typical image."""
    spans = maps.max(axis=(1, 2)) - maps.min(axis=(1, 2))
    typical = _OF_WIDEST * float(spans.max()) if map_span is None else map_span
    shares = spans / max(typical, 1e-12)
    counts: FloatArray = ((shares - _EMPTY) / (_FULL - _EMPTY)).clip(0, 1)
    return counts


def _stitched(tiles: _Tiles, maps: FloatArray, size_hw: tuple[int, int]) -> FloatArray:
    """Stitch maps (T, h, w) to one (H', W') float32 in [0, 1], four points to a cell, at most the image's size.

    Each is scaled to [0, 1] and counts by its contrast. Where tiles overlap a point is their mean, in which a tile
    weighs less towards its border, beyond which its network saw nothing.
    """
    left, top, right, bottom = tiles.covered[0]
    rows = grid_side(bottom - top, size_hw[0], maps.shape[1])
    columns = grid_side(right - left, size_hw[1], maps.shape[2])
    total, weight = np.zeros((rows, columns), dtype=np.float32), np.zeros((rows, columns), dtype=np.float32)
    counts = _contrasts(maps, tiles.map_span).astype(np.float32) * tiles.boxed
    scaled = normalise_maps(maps.astype(np.float32)) * counts[:, None, None]
    for (x0, y0, x1, y1), one in zip(tiles.covered, scaled, strict=True):
        down, by_row = cell_shares(y0, y1 - y0, one.shape[0], size_hw[0], rows)
        across, by_column = cell_shares(x0, x1 - x0, one.shape[1], size_hw[1], columns)
        fade = _fade(len(by_row))[:, None] * _fade(len(by_column))[None]
        total[down, across] += fade * (by_row @ one @ by_column.T)
        weight[down, across] += fade
    stitched = total / np.maximum(weight, 1e-12)  # the view crop leaves the border of the image unseen: 0 there
    finer = min(_FINER * rows, size_hw[0]), min(_FINER * columns, size_hw[1])
    fine = resize_map(stitched, finer)
    return normalise_maps(fine) if tiles.map_span is None else fine.clip(0, 1)


def _fade(cells: int) -> npt.NDArray[np.float32]:
    """Weights (n,) that fall linearly from the middle to the borders, above 0."""
    steps = np.arange(cells, dtype=np.float32) + 1
    return np.minimum(steps, steps[::-1])


def _class_probabilities(tiles: _Tiles, boxes: FloatArray, empty: Sequence[int] = ()) -> FloatArray:
    """Return the class probabilities (N + 1, C) of the regions of boxes (N, 4), and last of the whole image.

    Regions are of a class with an object; ``empty`` are the labels of the others.

    They are the softmax of the mean of the tiles' class scores, in which a tile weighs as much as it shows of a box,
    squared, and in any case by its contrast.
    """
    covered, contrasts = np.array(tiles.covered), _contrasts(tiles.maps, tiles.map_span)
    # Up to a constant of each tile, which a softmax does not see, the logarithm of a softmax is its input.
    scores = np.log(np.maximum(tiles.probabilities, 1e-30))
    means = []
    objects = scores.copy()
    objects[:, list(empty)] = -1e9
    for box in boxes:
        sides = np.minimum(covered[:, 2:], box[2:]) - np.maximum(covered[:, :2], box[:2])
        weights = contrasts * sides.clip(0, None).prod(axis=1) ** 2
        means.append(weights @ objects / max(weights.sum(), 1e-12))
    weights = contrasts + 1e-6
    means.append(weights @ scores / weights.sum())
    return class_probabilities(np.stack(means))
