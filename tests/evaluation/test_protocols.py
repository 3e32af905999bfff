import numpy as np
import pytest

from cdtr.errors import ConfigError, DataError
from cdtr.evaluation.protocols import find_protocol, scale_corners, scale_mask


def test_wsol_is_the_reference_setting():
    protocol = find_protocol("wsol")
    assert (protocol.map_size_hw, protocol.interpolation, protocol.max_box_iou) == ((224, 224), "bicubic", (30, 50, 70))


def test_unknown_protocol_lists_the_choices():
    with pytest.raises(ConfigError, match=r"unknown protocol 'wosl': choose one of .*wsol"):
        find_protocol("wosl")


def test_corner_scaling_of_the_specification():
    # From 10 wide, 20 high to 35 wide, 10 high.
    assert scale_corners([[1, 2, 4, 3]], (20, 10), (10, 35)).tolist() == [[3, 1, 14, 1]]


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ([0, 0, 500, 300], [0, 0, 224, 224]),
        ([0, 0, 510, 303], [0, 0, 228, 226]),
        ([100.7, 10, 200, 20], [45, 7, 89, 14]),
    ],
    ids=["whole-image", "reaches-outside", "fractions"],
)
def test_corners_are_truncated_and_never_clipped(box, expected):
    assert scale_corners([box], (300, 500), (224, 224)).tolist() == [expected]


def test_corner_scaling_is_the_definition_for_every_column():
    for width in (7, 199, 333):
        corners = np.array([[x, 0, width, 1] for x in range(width)], dtype=float)
        scaled = scale_corners(corners, (1, width), (1, 224))
        assert scaled[:, 0].tolist() == [int(x * 224 / width) for x in range(width)]


def test_no_boxes_and_bad_boxes():
    assert scale_corners(np.zeros((0, 4)), (3, 3), (6, 6)).shape == (0, 4)
    with pytest.raises(DataError):
        scale_corners([[0, 0, np.nan, 1]], (3, 3), (6, 6))


def test_mask_keeps_its_three_values():
    mask = np.array([[0, 1], [255, 0]], dtype=np.uint8)
    assert scale_mask(mask, (4, 4)).tolist() == np.kron(mask, np.ones((2, 2), dtype=int)).tolist()
    with pytest.raises(DataError, match="mask of shape"):
        scale_mask(np.zeros((0, 3), dtype=np.uint8), (4, 4))
