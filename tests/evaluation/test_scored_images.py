"""What is drawn of an image is what was scored."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from cdtr.evaluation import find_protocol, image_maps, scored_images
from cdtr.records import Batch, ModelOutput
from oracles.toy_methods import ImageIsMap, annotate_from, batch_of, evaluated, square_map

BOXES = {"a": [[92, 92, 132, 132]], "b": [[0, 0, 100, 224], [150, 150, 224, 224]], "c": [[92, 92, 132, 132]]}
IMAGES = {
    "a": (0, torch.stack([square_map((92, 92, 132, 132), 5), torch.zeros(224, 224)])),
    "b": (1, torch.stack([square_map((0, 0, 40, 40), 5), square_map((150, 150, 224, 200), 3)])),
    "c": (0, torch.zeros(2, 224, 224)),
    "d": (0, torch.stack([square_map((0, 0, 40, 40), 5), torch.zeros(224, 224)])),
}


def batches() -> list[Batch]:
    pairs = (("a", "b"), ("c", "d"))
    return [batch_of([IMAGES[name][1] for name in pair], [IMAGES[name][0] for name in pair], pair) for pair in pairs]


@pytest.mark.parametrize("name", ["wsol", "tscam", "sat", "cdtr"])
def test_rows_are_those_of_the_evaluation(name: str) -> None:
    protocol, annotate = find_protocol(name), annotate_from(BOXES)
    expected = evaluated(ImageIsMap(), batches(), annotate, protocol, 0.5, delta=0.1)
    found = list(scored_images(ImageIsMap(), batches(), annotate, protocol, 0.5))
    shown = [(one.row.image_id, one.row.predicted, one.row.iou_label, one.row.error) for one in found]
    assert shown == [(row.image_id, row.predicted, row.iou_label, row.error) for row in expected.rows]
    for one in found:
        assert one.map.shape == protocol.frame_hw
        drawn = protocol.boxes.inclusive
        if len(one.found_xyxy) and len(one.true_xyxy) and one.row.iou_label is not None:
            ends = [0, 0, int(drawn), int(drawn)]
            ious = protocol.boxes.iou(one.found_xyxy - ends, one.true_xyxy - ends)
            assert ious.max() == pytest.approx(one.row.iou_label), "the boxes that are drawn have the IoU printed"


def test_boxes_are_half_open_and_none_where_nothing_was_found() -> None:
    a, b, c, d = scored_images(ImageIsMap(), batches(), annotate_from(BOXES), find_protocol("wsol"), 0.5)
    assert a.found_xyxy.tolist() == [[92, 92, 133, 133]], "the evaluator's box ends one pixel after its contour's"
    assert a.true_xyxy.tolist() == [[92, 92, 133, 133]]
    assert b.true_xyxy.tolist() == [[0, 0, 101, 225], [150, 150, 225, 225]]
    assert c.found_xyxy.shape == (0, 4)
    assert d.true_xyxy.shape == (0, 4)
    assert c.row.iou_label == 0
    assert d.row.iou_label is None


class WithMaps(ImageIsMap):
    def forward(self, images: Tensor, auxiliary: bool | None = None) -> ModelOutput:
        output = super().forward(images, auxiliary)
        return ModelOutput(output.logits, output.maps, output.attention, {"x_out": images, "m_ocm": images[:, 1]})


def test_the_maps_of_each_image_and_the_mode_restored() -> None:
    method = WithMaps().train()
    found = list(image_maps(method, batches(), "cpu"))
    assert [one.sample.image_id for one in found] == list(IMAGES)
    assert method.modes == [(False, False, True)] * 2
    assert method.training
    for one in found:
        image = IMAGES[one.sample.image_id][1].numpy()
        assert one.attention == pytest.approx(image.mean(axis=0))
        assert one.class_maps == pytest.approx(image)
        assert one.pseudo_map == pytest.approx(image[1])
        assert one.predicted == image.max(axis=(1, 2)).argmax()
    plain = next(image_maps(ImageIsMap(), batches(), "cpu"))
    assert plain.class_maps is None
    assert plain.pseudo_map is None
