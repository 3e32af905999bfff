"""SBA's masks and loss against Eqs. 11 to 14."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from cdtr.config import DataConfig, SbaConfig
from cdtr.errors import ConfigError
from cdtr.model.sba import Sba, matching_loss
from oracles import model_oracles as oracle

NAMES = ("ant", "bee", "cat")
COSINES = st.lists(st.tuples(st.floats(0.001, 1), st.floats(0.001, 1)), min_size=1, max_size=4)


def make(clip, size=(32, 32), **changes):
    config = SbaConfig(**changes)
    return Sba(clip, clip.text_features(NAMES, config.templates), config, DataConfig(input_size=size))


def loss_of(pairs, temperature=1.0, **changes):
    fore, back = (torch.tensor(side) for side in zip(*pairs, strict=True))
    return matching_loss(fore, back, SbaConfig(**changes), temperature).tolist()


@given(COSINES, st.sampled_from([0.0, 1e-8, 1e-3]))
def test_literal_is_equation_13(pairs, xi):
    expected = oracle.matching(*zip(*pairs, strict=True), xi)
    assert loss_of(pairs, similarity="literal", xi=xi) == pytest.approx(expected, rel=1e-3, abs=1e-5)


@given(st.lists(st.tuples(st.floats(-1, 1), st.floats(-1, 1)), min_size=1, max_size=4))
def test_clamp_is_equation_13_on_clamped_cosines(pairs):
    clamped = [[min(max(value, 1e-4), 0.9999) for value in pair] for pair in pairs]
    expected = oracle.matching(*zip(*clamped, strict=True), 1e-8)
    found = loss_of(pairs, similarity="clamp")
    assert found == pytest.approx(expected, rel=1e-3, abs=1e-5)
    assert all(0 <= value < 10 for value in found)


@given(st.lists(st.tuples(st.floats(-1, 1), st.floats(-1, 1)), min_size=1, max_size=4))
def test_softmax_is_the_two_way_choice_at_clips_temperature(pairs):
    expected = [-math.log(math.exp(20 * f) / (math.exp(20 * f) + math.exp(20 * b))) for f, b in pairs]
    assert loss_of(pairs, temperature=20.0, similarity="softmax") == pytest.approx(expected, rel=1e-3, abs=1e-4)


def test_softmax_stays_finite_at_the_temperature_of_the_published_clip():
    assert loss_of([(-1.0, 1.0), (1.0, -1.0)], temperature=100.0, similarity="softmax") == [200.0, 0.0]


def test_literal_is_nan_for_a_negative_cosine():
    assert math.isnan(loss_of([(-0.1, 0.3)], similarity="literal")[0])


@pytest.mark.parametrize("similarity", ["clamp", "softmax", "literal"])
def test_the_loss_falls_with_the_foreground_and_rises_with_the_background(similarity):
    low, middle, high = loss_of([(0.6, 0.2), (0.4, 0.2), (0.4, 0.3)], temperature=10.0, similarity=similarity)
    assert low < middle < high


def test_masks_scaled_are_minmaxed_and_bilinear(tiny_clip):
    m_ca = torch.rand(2, 4, 4) / 196
    masks = make(tiny_clip).masks(m_ca, torch.zeros(2, 4, 4), (12, 10))
    assert masks.shape == (2, 1, 12, 10)
    for mask, grid in zip(masks, m_ca, strict=True):
        torch.testing.assert_close(mask[0], oracle.resize(oracle.minmax(grid), 12, 10), rtol=1e-4, atol=1e-5)


def test_masks_literal_are_the_attention_as_it_is(tiny_clip):
    m_ca = torch.rand(2, 4, 4) / 196
    masks = make(tiny_clip, mask="literal").masks(m_ca, torch.zeros(2, 4, 4), (8, 8))
    for mask, grid in zip(masks, m_ca, strict=True):
        torch.testing.assert_close(mask[0], oracle.resize(grid, 8, 8), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("scaling", ["none", "minmax"], ids=["cub", "ilsvrc"])
def test_masks_fused_are_the_labels_maps_with_features_detached(tiny_clip, scaling):
    m_ca = torch.rand(2, 4, 4, requires_grad=True)
    label_maps = torch.randn(2, 4, 4, requires_grad=True)
    masks = make(tiny_clip, mask="fused", mask_scaling=scaling).masks(m_ca, label_maps, (8, 8))
    for mask, fused in zip(masks, (m_ca * label_maps).detach(), strict=True):
        fused = oracle.minmax(fused) if scaling == "minmax" else fused
        torch.testing.assert_close(mask[0].detach(), oracle.resize(fused, 8, 8), rtol=1e-4, atol=1e-5)
    (masks * torch.randn_like(masks)).sum().backward()
    assert m_ca.grad.any()
    assert label_maps.grad is None


def cosine(clip, pixels, prompt):
    """Eq. 14 for one image (3, H, W) of CLIP's size and one prompt, by open_clip's own encoders."""
    mean, std = (torch.tensor(values)[:, None, None] for values in (clip.mean, clip.std))
    seen = clip.model.encode_image(((pixels - mean) / std)[None])[0]
    said = clip.model.encode_text(clip.tokenizer([prompt]))[0]
    return float(F.cosine_similarity(seen, said, dim=0))


@torch.no_grad()
def test_loss_is_equations_11_to_14_by_label(tiny_clip):
    data = DataConfig()
    mean, std = (torch.tensor(values)[:, None, None] for values in (data.mean, data.std))
    pixels, m_ca, labels = torch.rand(3, 3, 24, 24), torch.rand(3, 4, 4), torch.tensor([2, 0, 0])
    images = (pixels - mean) / std
    expected = 0.0
    for image, grid, label in zip(pixels, m_ca, labels, strict=True):
        mask = oracle.resize(oracle.minmax(grid), 24, 24)
        fore = cosine(tiny_clip, image * mask, f"a photo of {NAMES[label]}")
        back = cosine(tiny_clip, image * (1 - mask), f"a photo of {NAMES[label]}")
        clamped = [min(max(value, 1e-4), 0.9999) for value in (fore, back)]
        expected += oracle.matching([clamped[0]], [clamped[1]], 1e-8)[0] / 3
    assert float(make(tiny_clip).loss(images, m_ca, m_ca, labels)) == pytest.approx(expected, rel=1e-3)


@torch.no_grad()
def test_pixels_are_clipped_to_what_an_image_can_show(tiny_clip):
    data = DataConfig()
    mean, std = (torch.tensor(values)[:, None, None] for values in (data.mean, data.std))
    pixels, m_ca, labels = 3 * torch.rand(2, 3, 24, 24) - 1, torch.rand(2, 4, 4), torch.tensor([1, 2])
    sba = make(tiny_clip, similarity="softmax")
    wild, tame = (sba.loss((p - mean) / std, m_ca, m_ca, labels) for p in (pixels, pixels.clamp(0, 1)))
    torch.testing.assert_close(wild, tame)


@torch.no_grad()
def test_batch_position_takes_the_wrong_class_as_released(tiny_clip):
    images, m_ca = torch.randn(4, 3, 24, 24), torch.rand(4, 4, 4)
    positions = torch.tensor([0, 1, 2, 0])  # starts again where the batch is larger than the classes
    labels = torch.tensor([2, 0, 0, 1])
    by_position = make(tiny_clip, prompt_by="batch_position", similarity="softmax")
    by_label = make(tiny_clip, similarity="softmax")
    found = by_position.loss(images, m_ca, m_ca, labels)
    torch.testing.assert_close(found, by_label.loss(images, m_ca, m_ca, positions))
    assert not torch.allclose(found, by_label.loss(images, m_ca, m_ca, labels))


@torch.no_grad()
def test_as_is_gives_clip_the_images_normalised_for_the_backbone(tiny_clip):
    images, m_ca, labels = torch.randn(2, 3, 24, 24), torch.rand(2, 4, 4), torch.tensor([1, 2])
    sba = make(tiny_clip, size=(24, 24), image="as_is", similarity="softmax")
    losses = []
    for image, grid, label in zip(images, m_ca, labels, strict=True):
        mask = oracle.resize(oracle.minmax(grid), 24, 24)
        seen = tiny_clip.model.encode_image(torch.stack([image * mask, image * (1 - mask)]))
        fore, back = F.cosine_similarity(seen, sba.text[label][None]).tolist()
        losses.append(math.log(1 + math.exp((back - fore) * tiny_clip.temperature)))
    assert float(sba.loss(images, m_ca, m_ca, labels)) == pytest.approx(sum(losses) / 2, rel=1e-3)


def test_as_is_needs_clips_own_size(tiny_clip):
    with pytest.raises(ConfigError, match=r"CLIP's own size \(24, 24\) as data.input_size, found \(32, 32\)"):
        make(tiny_clip, image="as_is")


@pytest.mark.parametrize("similarity", ["clamp", "softmax"])
def test_a_step_against_the_gradient_lowers_the_loss(tiny_clip, similarity):
    images, labels = torch.randn(2, 3, 24, 24), torch.tensor([0, 1])
    sba = make(tiny_clip, similarity=similarity)
    # Prompts near what CLIP sees, so that no cosine sits where the clamp stops the gradient.
    sba.text = F.normalize(tiny_clip.encode_normalised(images).detach() + 0.1 * sba.text[:2], dim=-1)
    m_ca = torch.rand(2, 4, 4, requires_grad=True)
    before = sba.loss(images, m_ca, m_ca, labels)
    before.backward()
    assert m_ca.grad.any(dim=-1).any(dim=-1).all()
    with torch.no_grad():
        after = sba.loss(images, m_ca - 0.01 * m_ca.grad / m_ca.grad.abs().max(), m_ca, labels)
    assert after < before


def test_its_constants_lie_where_the_texts_lie(tiny_clip):
    """A dry run on a GPU builds SBA from texts that are on the device, and never moves it."""
    text = torch.zeros(3, 8, device="meta")
    sba = Sba(tiny_clip, text, SbaConfig(), DataConfig(input_size=(32, 32)))
    assert sba.mean.device == sba.std.device == text.device
