"""Attention outside the true boxes, before and after training (the paper's section III-A)."""

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
    """Shares in [0, 1] of one kind of noise, each (n,), over the n images of an ``AttentionNoise``.

    Attributes:
        area: Share of the image's area.
        after: Share of the trained method's attention.
        before: Share of the initial method's attention; None if it is unknown.
    """

    area: npt.NDArray[np.float64]
    after: npt.NDArray[np.float64]
    before: npt.NDArray[np.float64] | None = None


@dataclass(frozen=True, slots=True)
class AttentionNoise:
    """Shares in [0, 1], each (n,), over n images whose boxes leave some of the image outside.

    The regions of ``kinds`` and ``scaled`` are the trained method's, also for the initial one, because an untrained
    class head recognises no class. Both are empty for a method without class maps (``X_out``).

    Attributes:
        image_ids: Names of the images.
        area: Share of the area outside the boxes; attention that is independent of the object has the same share.
        after: Share of ``M*_ca`` outside the boxes, of the trained method.
        before: The same of the method that training started with; None if it is unknown.
        kinds: The same by kind: base noise, novel noise, and the image's own class; see ``cdtr.metrics.noise``.
        scaled: Like ``kinds``, of attention min-max scaled to [0, 1], as the figures and the modules see it.
        right: (n,) whether the predicted class is correct; if it is not, nearly everything is base noise.
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
        """Percent of the images with a smaller share outside after training than before; None if that is unknown."""
        return None if self.before is None else 100 * float((self.after < self.before).mean())


@dataclass(frozen=True, slots=True)
class _Outside:
    """Shares of one image's attention and area outside the boxes, in total and by kind; None without class maps."""

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
    """Measure the attention outside the true boxes.

    Args:
        after: The trained method.
        before: The method that training started with; None if it is unknown.
        batches: Of an evaluation loader; read once for each method.
        annotate: Returns an image's annotation, None if it has none.
        device: Where the methods run; they are moved there.
        progress: Called with 1 for each image and method.

    Returns:
        The shares; None if no image has boxes that leave some of it outside.
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
