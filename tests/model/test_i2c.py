"""I2C: pairs, seeds on the object, and centres that move as scalars say."""

import math

import pytest
import torch

from cdtr.config.modules.i2c import I2cConfig
from cdtr.model.methods.i2c import draw_seeds, object_cells, pairs_of
from oracles.cnn_cases import batch_of, small_method


def test_images_of_a_class_are_paired_in_their_order():
    first, second = pairs_of(torch.tensor([3, 1, 3, 3, 1, 2, 3]))
    assert list(zip(first.tolist(), second.tolist(), strict=True)) == [(0, 2), (1, 4), (3, 6)]
    assert len(pairs_of(torch.tensor([1, 2, 3]))[0]) == 0


def test_seeds_lie_on_the_object_and_each_cell_is_as_likely():
    torch.manual_seed(0)
    class_map = torch.rand(8, 8)
    class_map[:7] += 2  # 56 cells of the object, and 8 of the background
    config = I2cConfig(threshold=0.5)
    cells = object_cells(class_map, config)
    assert set(cells.tolist()) == set(range(56))
    counts = torch.zeros(64)
    for _ in range(4000):
        drawn = draw_seeds(cells, 3)
        assert len(set(drawn.tolist())) == 3
        counts[drawn] += 1
    expected = 4000 * 3 / 56
    chi_square = float(((counts[:56] - expected) ** 2 / expected).sum())
    assert chi_square < 55 + 4 * math.sqrt(2 * 55)
    assert counts[56:].sum() == 0


@pytest.mark.parametrize(
    ("class_map", "expected"),
    [
        ([[10.0, 7.5], [7.1, -5.0]], [0, 1, 2]),  # few cells: above 0.7 times the largest value
        ([[-1.0, -2.0], [-9.0, -8.0]], [0, 1]),  # nothing positive: above 0.7 of the span
        ([[1.0, 1.0], [1.0, 1.0]], [0, 1, 2, 3]),  # a constant map
    ],
    ids=["few", "negative", "constant"],
)
def test_cells_of_the_object_of_small_maps(class_map, expected):
    assert object_cells(torch.tensor(class_map), I2cConfig()).tolist() == expected


def test_fewer_cells_than_seeds_are_drawn_again():
    assert sorted(draw_seeds(torch.tensor([4, 7]), 5).tolist()) in ([4, 4, 4, 7, 7], [4, 4, 7, 7, 7])


def test_centres_move_by_a_falling_rate():
    method = small_method("i2c")
    start = method.bank[1].clone()
    value, other = 0.0, method.bank[0].clone()
    for visit, seen in enumerate((2.0, 5.0, -1.0)):
        rate = math.exp(-0.002 * visit)
        value = (1 - rate) * value + rate * seen
        method._move_centres(torch.full((2, method.bank.shape[1]), seen), torch.tensor([1, 1]))
    assert float(method.bank[1, 0]) == pytest.approx(value, rel=1e-5)
    assert not torch.equal(method.bank[1], start)
    assert torch.equal(method.bank[0], other)
    assert method.visits.tolist() == [0, 3, 0]


def test_terms_compare_seeds_of_a_pair_and_the_centre(monkeypatch):
    method, batch = small_method("i2c").train(), batch_of()
    monkeypatch.setattr("cdtr.model.methods.i2c.draw_seeds", lambda cells, count: cells[torch.arange(count) % 1])
    output = method(batch.images)
    bank = method.bank.clone()
    terms = method.losses(output, batch)
    seeds = []
    for image, label in enumerate(batch.labels.tolist()):
        cell = object_cells(output.aux["x_out"][image, label].detach(), method.settings)[0]
        seeds.append(output.aux["features"][image].flatten(1)[:, cell])
    local, to_centre = [], []
    for label in range(3):  # images label and label + 3
        local.append((seeds[label] - seeds[label + 3]).norm())
        to_centre.append((bank[label] - (seeds[label] + seeds[label + 3]) / 2).norm())
    torch.testing.assert_close(terms["local"], torch.stack(local).mean())
    torch.testing.assert_close(terms["global"], torch.stack(to_centre).mean())
    total, _ = method.weigh(terms)
    torch.testing.assert_close(total, terms["cls"] + 0.008 * terms["local"] + 0.001 * terms["global"])
    assert not bank.equal(method.bank)


def test_a_batch_without_pairs_teaches_the_classes_alone():
    method, batch = small_method("i2c").train(), batch_of(count=3)
    terms = method.losses(method(batch.images), batch)
    assert terms["local"] == terms["global"] == 0
    method.weigh(terms)[0].backward()
    assert torch.isfinite(method.head.weight.grad).all()
