"""How much of the attention falls outside the true boxes, before training and after (the paper's section III-A)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias, TypeGuard

import numpy as np
import numpy.typing as npt
import torch

from cdtr.evaluation.evaluate import Progress
from cdtr.evaluation.measure import Annotate
from cdtr.evaluation.outputs import ImageMaps, image_maps
from cdtr.localization.maps import normalise_maps
from cdtr.metrics.attention import outside_shares
from cdtr.metrics.noise import NOISE_KINDS, NoiseKind, noise_regions, split_outside
from cdtr.records import Annotation, Batch, Method


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
    ``cdtr.metrics.noise``. scaled: the same of attention that is min-max scaled to [0, 1] first, as the figures and
    the modules see it. Both empty for a method without class maps (``X_out``). The regions are those of the trained
    method for both, as an untrained class head knows no class. right: (n,), whether the trained method predicts the
    label: in an image that is classified wrongly nearly everything is base noise.
    """

    image_ids: tuple[str, ...]
    area: npt.NDArray[np.float64]
    after: npt.NDArray[np.float64]
    before: npt.NDArray[np.float64] | None = None
    kinds: Mapping[NoiseKind, KindShares] = field(default_factory=dict)
    scaled: Mapping[NoiseKind, KindShares] = field(default_factory=dict)
    right: npt.NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, dtype=bool))

    @property
    def less_after(self) -> float | None:
        """Percent of the images of whose attention less lies outside after the training than before."""
        return None if self.before is None else 100 * float((self.after < self.before).mean())


@dataclass(frozen=True, slots=True)
class _Outside:
    """One image's shares of attention and area outside the boxes, in all and by kind; None without class maps."""

    attention: float
    area: float
    right: bool
    attention_kinds: Mapping[NoiseKind, float] | None
    scaled_kinds: Mapping[NoiseKind, float] | None
    area_kinds: Mapping[NoiseKind, float] | None


KindOf: TypeAlias = Mapping[NoiseKind, float] | None
Regions: TypeAlias = Callable[[ImageMaps], npt.NDArray[np.int64] | None]


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
    last = [trained[name] for name in ids]
    first = None if untrained is None else [untrained[name] for name in ids]
    return AttentionNoise(
        image_ids=ids,
        area=np.array([one.area for one in last]),
        after=np.array([one.attention for one in last]),
        before=None if first is None else np.array([one.attention for one in first]),
        kinds=_kinds(last, first, lambda one: one.attention_kinds),
        scaled=_kinds(last, first, lambda one: one.scaled_kinds),
        right=np.array([one.right for one in last]),
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
            shares = outside_shares(maps.attention, annotation.boxes_xyxy, maps.size_hw, maps.field)
            if shares is not None:
                right = maps.predicted == maps.sample.label
                split = _split(maps, regions_of(maps), annotation)
                found[maps.sample.image_id] = _Outside(*shares, right, *split)
        if progress is not None:
            progress(1)
    return found


def _split(
    maps: ImageMaps, regions: npt.NDArray[np.int64] | None, annotation: Annotation
) -> list[dict[NoiseKind, float] | None]:
    """The kinds' shares of the attention, of the scaled attention, and of the area."""
    layers = (maps.attention, normalise_maps(maps.attention), np.ones_like(maps.attention))
    if regions is None:
        return [None] * len(layers)
    return [split_outside(one, regions, annotation.boxes_xyxy, maps.size_hw, maps.field) for one in layers]


def _kinds(
    trained: Sequence[_Outside], untrained: Sequence[_Outside] | None, of: Callable[[_Outside], KindOf]
) -> dict[NoiseKind, KindShares]:
    """By kind; none where an image has no regions. of: the shares to take."""
    after, area = [of(one) for one in trained], [one.area_kinds for one in trained]
    before = None if untrained is None else [of(one) for one in untrained]
    if not (_all_known(after) and _all_known(area) and (before is None or _all_known(before))):
        return {}
    return {
        kind: KindShares(
            area=np.array([one[kind] for one in area]),
            after=np.array([one[kind] for one in after]),
            before=None if before is None else np.array([one[kind] for one in before]),
        )
        for kind in NOISE_KINDS
    }


def _all_known(shares: Sequence[KindOf]) -> TypeGuard[Sequence[Mapping[NoiseKind, float]]]:
    return all(one is not None for one in shares)
