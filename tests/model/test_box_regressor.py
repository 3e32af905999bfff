"""The box regressor: a box and its map give each other back, boxes move with their images, and what it learns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from cdtr.config import Config, load_config
from cdtr.errors import ConfigError
from cdtr.localization.boxes import iou_half_open, largest_box
from cdtr.localization.maps import normalise_maps, resize_map
from cdtr.model.box_regressor import BoxRegressor, box_loss, box_maps, boxes_of_masks
from cdtr.model.methods import build_method
from cdtr.model.methods.refined import Boxed
from cdtr.records import Batch, Sample

CLASSES = 3
CNN = {"name": "test_efficientnet", "weights": "none", "reductions": [8, 16]}


def random_boxes(count: int) -> torch.Tensor:
    """(N, 4) centres and sides as shares of the image, inside of it, each side at least a tenth."""
    draw = torch.Generator().manual_seed(0)
    sides = 0.1 + 0.8 * torch.rand(count, 2, generator=draw)
    return torch.cat([sides / 2 + (1 - sides) * torch.rand(count, 2, generator=draw), sides], dim=1)


def found_in(map_: torch.Tensor, threshold: float, side: int) -> np.ndarray:
    """The box of a map as localizing finds it in an image of ``side`` pixels."""
    return largest_box(normalise_maps(resize_map(map_.numpy(), (side, side))), threshold)[0]


def corners(boxes: torch.Tensor, side: int) -> np.ndarray:
    centre, half = boxes[:, :2], boxes[:, 2:] / 2
    return (side * torch.cat([centre - half, centre + half], dim=1)).numpy()


@pytest.mark.parametrize(("threshold", "pixels"), [(0.5, 1.01), (0.1, 2.5), (0.9, 2.5)])
def test_a_map_gives_its_box_back(threshold: float, pixels: float) -> None:
    boxes = random_boxes(200)
    for map_, expected in zip(box_maps(boxes, (112, 112)), corners(boxes, 224), strict=True):
        assert np.abs(found_in(map_, threshold, 224) - expected).max() <= pixels


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ([0.5, 0.5, 1.0, 1.0], [0, 0, 64, 64]),
        ([0.5, 0.5, 1.4, 1.4], [0, 0, 64, 64]),
        ([0.0, 0.5, 0.5, 1.0], [0, 0, 16, 64]),
        ([0.5, 0.5, 0.0, 0.0], [31, 31, 33, 33]),
    ],
    ids=["whole image", "larger", "over the border", "a point"],
)
def test_boxes_at_the_limits_have_a_map(box: list[float], expected: list[int]) -> None:
    map_ = box_maps(torch.tensor([box]), (32, 32))[0]
    assert 0 <= map_.min() < map_.max() <= 1
    assert np.abs(found_in(map_, 0.5, 64) - np.array(expected)).max() <= 1


def test_the_box_of_a_mask_is_that_of_its_rectangle_cropped_and_mirrored() -> None:
    for left, top, right, bottom in [(3, 5, 20, 30), (0, 0, 32, 32), (25, 10, 32, 11)]:
        mask = torch.zeros(1, 32, 32)
        mask[0, top:bottom, left:right] = 1
        expected = torch.tensor([[(left + right) / 2, (top + bottom) / 2, right - left, bottom - top]]) / 32
        assert_close(boxes_of_masks(mask)[0], expected)
        assert_close(boxes_of_masks(mask.flip(-1))[0], expected * torch.tensor([-1, 1, 1, 1]) + torch.eye(4)[:1])
    empty, present = boxes_of_masks(torch.zeros(1, 32, 32))
    assert present.tolist() == [0]
    assert torch.isfinite(empty).all()


def test_the_loss_is_smooth_l1_and_generalised_iou_by_hand() -> None:
    boxes, targets = torch.tensor([[0.25, 0.5, 0.5, 1.0]]), torch.tensor([[0.5, 0.5, 0.5, 1.0]])
    iou, outside = 0.25 / 0.75, 0.0  # the box around both is their union
    expected = 4 * (0.25 - 0.025) / 4 + 1 - (iou - outside)
    assert_close(box_loss(boxes, targets, torch.ones(1)), torch.tensor(expected))
    assert_close(box_loss(targets, targets, torch.ones(1)), torch.tensor(0.0))
    apart = box_loss(torch.tensor([[0.1, 0.5, 0.2, 1.0]]), torch.tensor([[0.9, 0.5, 0.2, 1.0]]), torch.ones(1))
    assert_close(apart, torch.tensor((0.8 - 0.025) + 1 + 0.6))
    two = torch.cat([boxes, targets]), torch.cat([targets, boxes])
    assert_close(box_loss(*two, torch.tensor([1.0, 0.0])), torch.tensor(expected))
    assert box_loss(*two, torch.zeros(2)) == 0


def test_a_regressor_learns_where_a_bright_square_is() -> None:
    torch.manual_seed(0)
    network, draw = BoxRegressor(None, 16), torch.Generator().manual_seed(1)
    optimiser = torch.optim.AdamW(network.parameters(), lr=0.003)

    def squares(count: int) -> tuple[torch.Tensor, torch.Tensor]:
        images, boxes = 0.3 * torch.rand(count, 3, 32, 32, generator=draw), torch.empty(count, 4)
        for image, box in zip(images, boxes, strict=True):
            side = int(torch.randint(8, 20, (), generator=draw))
            top, left = torch.randint(0, 32 - side, (2,), generator=draw).tolist()
            image[:, top : top + side, left : left + side] += 0.7
            box.copy_(torch.tensor([left + side / 2, top + side / 2, side, side]) / 32)
        return images, boxes

    for _ in range(150):
        images, boxes = squares(32)
        loss = box_loss(network(images, None), boxes, torch.ones(32))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    images, boxes = squares(64)
    with torch.no_grad():
        found = corners(network.eval()(images, None), 32).clip(0)
    overlaps = [iou_half_open(one[None], true[None])[0, 0] for one, true in zip(found, corners(boxes, 32), strict=True)]
    assert np.mean(overlaps) > 0.6


def settings(cnn: bool, **changes: object) -> Config:
    small = load_config("small", ["data.input_size=[64,64]", "data.resize=[64,64]", "sba.enabled=false"])
    shape = {"patch_size": 16, "embed_dim": 24, "depth": 2, "num_heads": 2}
    stem = {"stem": "cnn", "cnn": CNN} if cnn else {}
    return small.updated(
        method="refined",
        backbone={"overrides": shape, **stem},
        ocm={"k": 2},
        data={"prior_maps": "targets"},
        refine={"first": "one", "target": "box", "width": 8, "side": 32, **changes},
    )


def batch(targets: torch.Tensor | None) -> Batch:
    samples = tuple(Sample(f"{number}.png", Path(f"{number}.png"), number) for number in range(2))
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    return Batch(images, torch.arange(2), samples, ((64, 64),) * 2, prior=targets)


@pytest.mark.parametrize("cnn", [True, False], ids=["features", "pixels"])
def test_a_boxed_run_has_the_first_runs_classes_and_one_box(cnn: bool) -> None:
    torch.manual_seed(0)
    method = build_method(settings(cnn), CLASSES).eval()
    assert isinstance(method, Boxed)
    assert (method.cnn is not None) == cnn
    images = batch(None).images
    found = method(images)
    assert_close(found.logits, method.first(images, auxiliary=False).logits)
    assert found.maps.shape == (2, CLASSES, 32, 32)
    assert_close(found.maps, box_maps(found.aux["box_cxcywh"], (32, 32))[:, None].expand(-1, CLASSES, -1, -1))
    if method.cnn is not None:
        again = method(torch.empty(2, 3, 0, 0), levels=method.cnn.levels(images))
        assert_close(again.maps, found.maps)


@pytest.mark.parametrize("cnn", [True, False], ids=["features", "pixels"])
def test_only_the_regressor_learns(cnn: bool) -> None:
    torch.manual_seed(0)
    method = build_method(settings(cnn), CLASSES).train()
    before = {name: value.clone() for name, value in method.state_dict().items()}
    optimiser = torch.optim.SGD([weight for weight in method.parameters() if weight.requires_grad], lr=0.1)
    masks = torch.zeros(2, 64, 64)
    masks[0, 10:40, 20:50] = 1
    method.losses(method(batch(None).images), batch(masks))["box"].backward()
    optimiser.step()
    changed = {name for name, value in method.state_dict().items() if not torch.equal(value, before[name])}
    assert changed
    assert all(name.startswith("regressor.") for name in changed)
    with pytest.raises(ConfigError, match=r"expected data\.prior_maps"):
        method.losses(method(batch(None).images), batch(None))
