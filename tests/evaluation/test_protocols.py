import numpy as np
import pytest

from cdtr.errors import ConfigError, DataError
from cdtr.evaluation.protocols import Protocol, find_protocol, place_boxes, place_map, place_mask


def test_wsol_is_the_reference_setting():
    protocol = find_protocol("wsol")
    assert protocol.frame_hw == (224, 224)
    assert protocol.interpolation == "bicubic"
    assert protocol.max_box_iou == (30, 50, 70)


def test_unknown_protocol_lists_the_choices():
    with pytest.raises(ConfigError, match=r"unknown protocol 'wosl': choose one of .*wsol"):
        find_protocol("wosl")


def scale_corners(boxes, size_hw, to_size_hw):
    return place_boxes(boxes, size_hw, Protocol("test", "", resize=to_size_hw))


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
    protocol = Protocol("test", "", resize=(4, 4))
    assert place_mask(mask, protocol).tolist() == np.kron(mask, np.ones((2, 2), dtype=int)).tolist()
    with pytest.raises(DataError, match="mask of shape"):
        place_mask(np.zeros((0, 3), dtype=np.uint8), protocol)


# A landscape of 200 x 400 (height x width). sat: x by 256/400, y by 256/200, less 16. cdtr: 256 x 512, all by 1.28,
# less 16 above and 144 on the left.
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("wsol", [[56, 56, 168, 168], [0, 0, 22, 22]]),
        ("tscam", [[56, 56, 168, 168], [0, 0, 22, 22]]),
        ("sat", [[48, 48, 176, 176], [0, 0, 9.6, 9.6]]),
        ("cdtr", [[0, 48, 224, 176]]),
    ],
)
def test_boxes_in_each_frame_by_hand(name, expected):
    boxes = np.array([[100, 50, 300, 150], [0, 0, 40, 20]], dtype=float)
    np.testing.assert_allclose(place_boxes(boxes, (200, 400), find_protocol(name)), expected)


def test_box_outside_the_crop_is_gone():
    assert place_boxes([[0, 0, 40, 200]], (200, 400), find_protocol("cdtr")).shape == (0, 4)


@pytest.mark.parametrize("name", ["wsol", "tscam", "sat", "cdtr"])
def test_map_and_boxes_stay_together(name):
    """A map that is the box's own indicator gives back the box, whatever the frame."""
    protocol = find_protocol(name)
    indicator = np.zeros((200, 400))
    indicator[60:140, 150:250] = 1
    (box,) = place_boxes([[150, 60, 250, 140]], (200, 400), protocol)
    rows, columns = np.nonzero(place_map(indicator, (200, 400), protocol) > 0.5)
    found = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    np.testing.assert_allclose(found, box, atol=1.0)


def test_inverted_box_is_an_error_also_where_boxes_are_clipped():
    with pytest.raises(DataError, match="inverted"):
        place_boxes([[30, 10, 20, 40]], (200, 400), find_protocol("sat"))
