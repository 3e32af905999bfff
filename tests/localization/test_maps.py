import numpy as np
import pytest
import torch

from cdtr.errors import DataError
from cdtr.localization.maps import check_score_map, class_maps, normalise_maps, place_map, resize_map
from cdtr.records import ModelOutput


def test_normalise_scales_each_map_by_itself():
    maps = np.array([[[1.0, 3.0], [2.0, 5.0]], [[-4.0, 0.0], [0.0, -2.0]]])
    expected = [[[0, 0.5], [0.25, 1]], [[0, 1], [1, 0.5]]]
    np.testing.assert_allclose(normalise_maps(maps), expected)


@pytest.mark.parametrize(
    "broken",
    [np.full((3, 3), 7.0), np.array([[1.0, np.nan]]), np.array([[0.0, np.inf]]), np.array([[-np.inf, 2.0]])],
    ids=["constant", "nan", "inf", "minus-inf"],
)
def test_map_without_information_becomes_zeros(broken):
    good = np.arange(broken.size, dtype=float).reshape(broken.shape)
    both = normalise_maps(np.stack([broken, good]))
    assert (both[0] == 0).all()
    assert both[1].min() == 0
    assert both[1].max() == 1


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_normalise_reaches_exactly_0_and_1(dtype):
    maps = np.random.default_rng(0).normal(size=(20, 9, 9)).astype(dtype)
    scaled = normalise_maps(maps)
    assert (scaled.min(axis=(1, 2)) == 0).all()
    assert (scaled.max(axis=(1, 2)) == 1).all()


def test_bilinear_resize_has_half_pixel_centres():
    # Centres of two source pixels lie at 1 and 3 of a width of 4: outside them the edge value holds.
    np.testing.assert_allclose(resize_map(np.array([[0.0, 4.0]]), (1, 4)), [[0, 1, 3, 4]])


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_resize_keeps_size_order_and_flips(interpolation):
    coarse = np.random.default_rng(1).random((5, 7)).astype(np.float32)
    resized = resize_map(coarse, (30, 21), interpolation)
    assert resized.shape == (30, 21)
    np.testing.assert_allclose(resize_map(coarse[:, ::-1], (30, 21), interpolation), resized[:, ::-1], atol=1e-5)
    np.testing.assert_array_equal(resize_map(coarse, (5, 7), interpolation), coarse)


def test_bicubic_overshoots_and_bilinear_does_not():
    step = np.zeros((4, 4), dtype=np.float32)
    step[:, 2:] = 1
    assert resize_map(step, (32, 32), "bicubic").max() > 1
    assert resize_map(step, (32, 32), "bilinear").max() == 1


@pytest.fixture
def output():
    maps = torch.arange(2 * 3 * 2 * 2, dtype=torch.float32).reshape(2, 3, 2, 2)
    return ModelOutput(logits=torch.zeros(2, 3), maps=maps, attention=torch.zeros(2, 2, 2))


def test_class_maps_of_one_and_of_several_classes(output):
    one = class_maps(output, torch.tensor([2, 0]))
    assert torch.equal(one, torch.stack([output.maps[0, 2], output.maps[1, 0]]))
    several = class_maps(output, torch.tensor([[2, 1], [0, 0]]))
    assert several.shape == (2, 2, 2, 2)
    assert torch.equal(several[0, 1], output.maps[0, 1])
    assert torch.equal(several[1, 1], output.maps[1, 0])


@pytest.mark.parametrize("labels", [[0, 3], [-1, 0], [0], [[[0]], [[1]]]], ids=["high", "negative", "few", "3-d"])
def test_class_maps_refuse_labels_that_do_not_fit(output, labels):
    with pytest.raises(DataError):
        class_maps(output, torch.tensor(labels))


@pytest.mark.parametrize(
    "bad",
    [
        np.zeros((1, 2, 2)),
        np.zeros(4),
        np.zeros((0, 4)),
        np.zeros((2, 2), dtype=np.uint8),
        np.full((2, 2), 1.01),
        np.full((2, 2), -0.01),
        np.array([[np.nan, 0.5]]),
    ],
    ids=["3-d", "1-d", "empty", "uint8", "above", "below", "nan"],
)
def test_score_map_is_checked(bad):
    with pytest.raises(DataError, match="score map"):
        check_score_map(bad)


def test_unknown_interpolation_lists_choices():
    with pytest.raises(DataError, match="bilinear, bicubic"):
        resize_map(np.zeros((2, 2)), (4, 4), "nearest")


@pytest.mark.parametrize(
    ("field", "size_hw", "source_hw", "expected"),
    [
        (None, (4, 6), None, (0, 0, 6, 4)),
        ((1, 1, 3, 2), (4, 6), None, (1, 1, 3, 2)),
        ((2, 2, 6, 4), (2, 3), (4, 6), (1, 1, 3, 2)),
        ((0.4, 0, 0.6, 1), (1, 2), None, (0, 0, 1, 1)),
        ((4499.5, 0, 4500.4, 1), (1, 100), (1, 9000), (50, 0, 51, 1)),
        ((1.9, 0, 2.0, 1), (1, 2), None, (1, 0, 2, 1)),
    ],
    ids=["whole", "part", "scaled", "less-than-a-pixel", "slim", "at-the-end"],
)
def test_a_map_is_placed_on_the_part_that_it_covers(field, size_hw, source_hw, expected):
    placed = place_map(np.array([[1.0, 2.0], [2.0, 3.0]]), size_hw, field, source_hw)
    left, top, right, bottom = expected
    outside = np.ones(size_hw, dtype=bool)
    outside[top:bottom, left:right] = False
    assert placed.shape == size_hw
    assert (placed[outside] == placed[~outside].min()).all()
    if field is None:
        np.testing.assert_array_equal(placed, resize_map(np.array([[1.0, 2.0], [2.0, 3.0]]), size_hw))
