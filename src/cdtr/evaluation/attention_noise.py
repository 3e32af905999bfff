"""How much of the attention falls outside the true boxes, before training and after (the paper's section III-A)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch

from cdtr.evaluation.evaluate import Progress
from cdtr.evaluation.measure import Annotate
from cdtr.evaluation.outputs import ImageMaps, image_maps
from cdtr.metrics.attention import outside_shares
from cdtr.metrics.noise import NOISE_KINDS, NoiseKind, noise_regions, split_outside
from cdtr.records import Batch, Method


@dataclass(frozen=True, slots=True)
class KindShares:
    """One kind of noise: shares in [0, 1], each (n,), of the n images of its ``AttentionNoise``.

    area: of the image's area. after, before: of the attention of the trained method and of its start, if known.
    """

    area: npt.NDArray[np.float64]
    after: npt.NDArray[np.float64]
    before: npt.NDArray[np.float64] | None = None


@dataclass(frozen=True, slots=True)
class AttentionNoise:
    """Shares in [0, 1], each (n,), of n images whose boxes leave some of the image outside.

    area: of the image outside the boxes, which attention that does not care for the object has too. after, before: of
    ``M*_ca`` outside the boxes, of the trained method and of the one that training started with, if that is known.
    kinds: the same split into base noise, novel noise and what the image's own label is recognised in; see
    ``cdtr.metrics.noise``. Empty for a method without class maps (``X_out``). The regions are those of the trained
    method for both, as an untrained class head knows no class.
    """

    image_ids: tuple[str, ...]
    area: npt.NDArray[np.float64]
    after: npt.NDArray[np.float64]
    before: npt.NDArray[np.float64] | None = None
    kinds: Mapping[NoiseKind, KindShares] = field(default_factory=dict)

    @property
    def less_after(self) -> float | None:
        """Percent of the images of whose attention less lies outside after the training than before."""
        return None if self.before is None else 100 * float((self.after < self.before).mean())


@dataclass(frozen=True, slots=True)
class _Outside:
    """One image's shares of attention and area outside the boxes, in all and by kind; None without class maps."""

    attention: float
    area: float
    attention_kinds: Mapping[NoiseKind, float] | None
    area_kinds: Mapping[NoiseKind, float] | None


Regions = Callable[[ImageMaps], npt.NDArray[np.int64] | None]


def measure_noise(
    after: Method,
    before: Method | None,
    batches: Iterable[Batch],
    annotate: Annotate,
    device: torch.device | str = "cpu",
    progress: Progress | None = None,
) -> AttentionNoise | None:
    """The noise of the trained method, and of the untrained one on the same images; None where no image has boxes that
    leave some of it outside. The batches are gone through once for each method; progress is called with 1 for each
    image.
    """
    known: dict[str, npt.NDArray[np.int64]] = {}

    def recognise(maps: ImageMaps) -> npt.NDArray[np.int64] | None:
        if maps.class_maps is None or len(maps.class_maps) < 2 or maps.class_maps.shape[1:] != maps.attention.shape:
            return None
        return known.setdefault(maps.sample.image_id, noise_regions(maps.class_maps, maps.sample.label))

    trained = _outside(after, batches, annotate, device, progress, recognise)
    untrained = None
    if before is not None:
        untrained = _outside(before, batches, annotate, device, progress, lambda maps: known.get(maps.sample.image_id))
    ids = tuple(name for name in trained if untrained is None or name in untrained)
    if not ids:
        return None
    return AttentionNoise(
        image_ids=ids,
        area=np.array([trained[name].area for name in ids]),
        after=np.array([trained[name].attention for name in ids]),
        before=None if untrained is None else np.array([untrained[name].attention for name in ids]),
        kinds=_kinds([trained[name] for name in ids], None if untrained is None else [untrained[name] for name in ids]),
    )


def _outside(
    method: Method,
    batches: Iterable[Batch],
    annotate: Annotate,
    device: torch.device | str,
    progress: Progress | None,
    regions_of: Regions,
) -> dict[str, _Outside]:
    """The shares of attention and area outside the boxes, by image id."""
    found = {}
    for maps in image_maps(method, batches, device):
        annotation = annotate(maps.sample)
        if annotation is not None:
            boxes, size_hw = annotation.boxes_xyxy, maps.size_hw
            shares = outside_shares(maps.attention, boxes, size_hw)
            if shares is not None:
                regions = regions_of(maps)
                layers = (maps.attention, np.ones_like(maps.attention))
                split = [None if regions is None else split_outside(one, regions, boxes, size_hw) for one in layers]
                found[maps.sample.image_id] = _Outside(*shares, *split)
        if progress is not None:
            progress(1)
    return found


def _kinds(trained: list[_Outside], untrained: list[_Outside] | None) -> dict[NoiseKind, KindShares]:
    """By kind; none where an image has no regions."""
    found = {}
    for kind in NOISE_KINDS:
        after = [one.attention_kinds[kind] for one in trained if one.attention_kinds is not None]
        area = [one.area_kinds[kind] for one in trained if one.area_kinds is not None]
        start = [one.attention_kinds[kind] for one in untrained or () if one.attention_kinds is not None]
        if len(after) < len(trained) or (untrained is not None and len(start) < len(trained)):
            return {}
        before = None if untrained is None else np.array(start)
        found[kind] = KindShares(np.array(area), np.array(after), before)
    return found
