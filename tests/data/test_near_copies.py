"""Perceptual hashes, and all pairs of them beside a loop over all pairs."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance

from cdtr.data.near_copies import HASH_BYTES, NEAR, TooManyPairsError, link_alike, perceptual_hash


def _photo(seed: int) -> Image.Image:
    """Coarse and fine spots, as real pictures have both."""
    random = np.random.default_rng(seed)
    layers = [Image.fromarray(random.integers(0, 256, (n, n, 3), dtype=np.uint8)) for n in (6, 12, 24)]
    return Image.fromarray(
        np.mean([layer.resize((240, 160), Image.Resampling.BICUBIC) for layer in layers], axis=0).astype(np.uint8)
    )


def _recoded(picture: Image.Image) -> Image.Image:
    file = BytesIO()
    picture.save(file, "JPEG", quality=40)
    return Image.open(file)


def _distance(one: Image.Image, other: Image.Image) -> int:
    first, second = perceptual_hash(one), perceptual_hash(other)
    assert first is not None
    assert second is not None
    return int(np.unpackbits(first ^ second).sum())


@pytest.mark.parametrize(
    "edit",
    [
        pytest.param(_recoded, id="recoded"),
        pytest.param(lambda picture: picture.resize((120, 80)), id="half"),
        pytest.param(lambda picture: picture.convert("L"), id="grey"),
        pytest.param(lambda picture: ImageEnhance.Brightness(picture).enhance(0.8), id="darker"),
        pytest.param(lambda picture: ImageEnhance.Contrast(picture).enhance(0.7), id="flatter"),
    ],
)
@pytest.mark.parametrize("seed", range(3))
def test_an_edited_picture_is_near_and_others_are_far(edit: object, seed: int) -> None:
    picture = _photo(seed)
    assert _distance(picture, edit(picture)) <= NEAR  # type: ignore[operator]
    assert _distance(picture, _photo(seed + 10)) > 3 * NEAR


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_blank_picture_has_no_hash(mode: str) -> None:
    assert perceptual_hash(Image.new(mode, (50, 40), "grey")) is None


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.sets(st.integers(0, 255), max_size=30)), max_size=12),
    st.integers(0, 40),
)
def test_links_agree_with_a_loop_over_all_pairs(made: list[tuple[int, set[int]]], distance: int) -> None:
    bases = np.random.default_rng(0).integers(0, 2, (4, 256), dtype=np.uint8)
    bits = np.array([bases[base] for base, _ in made], dtype=np.uint8).reshape(-1, 256)
    for row, (_, flipped) in zip(bits, made, strict=True):
        row[list(flipped)] ^= 1
    node, alike = link_alike(np.packbits(bits, axis=1), distance)
    for i in range(len(bits)):
        for j in range(len(bits)):
            differing = int((bits[i] != bits[j]).sum())
            assert bool(alike[node[i], node[j]]) == (differing <= distance)
            assert (node[i] == node[j]) == (differing == 0)
    assert alike.max() <= 1 if alike.nnz else True


def test_progress_counts_the_different_hashes() -> None:
    hashes = np.random.default_rng(0).integers(0, 256, (5000, HASH_BYTES), dtype=np.uint8)
    hashes[4000:] = hashes[:1000]
    moved: list[int] = []
    node, alike = link_alike(hashes, NEAR, moved.append)
    assert sum(moved) == 4000 == alike.shape[0]
    assert (node[4000:] == node[:1000]).all()
    assert alike.nnz == 4000


def test_no_hash_is_no_pair() -> None:
    node, alike = link_alike(np.zeros((0, HASH_BYTES), dtype=np.uint8))
    assert node.shape == (0,)
    assert alike.shape == (0, 0)


def test_more_pairs_than_can_be_held_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    hashes = np.zeros((40, HASH_BYTES), dtype=np.uint8)
    hashes[:, 0] = np.arange(40)
    assert link_alike(hashes, distance=6)[1].nnz == 40 * 40
    monkeypatch.setattr("cdtr.data.near_copies._MOST_PAIRS", 779)
    with pytest.raises(TooManyPairsError, match="more than 779 pairs of 40 images differ in at most 6 bits"):
        link_alike(hashes, distance=6)
