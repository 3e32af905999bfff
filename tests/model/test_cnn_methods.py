"""Every method on a CNN: its maps, a step that learns, its graph, and what it refuses before the first step."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from cdtr.errors import ConfigError
from cdtr.model.cnn_method import CnnMethod, strength, strongest
from cdtr.model.methods import find_method, method_names, takes_cnn
from cdtr.model.norm import SyncedBatchNorm2d
from oracles.cnn_cases import SIZE, batch_of, small_config, small_method

METHODS = [name for name in method_names() if getattr(find_method(name), "BACKBONE", "") == "cnn"]
TRAINED = [name for name in METHODS if name != "ddt"]  # which needs weights to be frozen: test_ddt.py
AGNOSTIC = ("bas", "c2am")


def test_all_methods_of_the_specification_are_there():
    expected = "acol adl bas bridge c2am cam cutmix ddt eil has i2c mff spa"
    assert expected.split() == METHODS
    assert all(takes_cnn(small_config(name)) for name in METHODS)


@pytest.mark.parametrize("name", TRAINED)
def test_a_few_steps_lower_the_loss_and_every_weight_learns(name):
    method, batch = small_method(name).train(), batch_of()
    method.start_epoch(1, 2)
    optimiser = torch.optim.Adam(method.parameters(), lr=1e-3)
    losses = []
    for _ in range(8):
        torch.manual_seed(1)
        terms = method.losses(method(batch.images), batch)
        total, lambdas = method.weigh(terms)
        assert lambdas == {}
        optimiser.zero_grad()
        total.backward()
        optimiser.step()
        losses.append(total.item())
    assert losses[-1] < losses[0]
    without = [name for name, weight in method.named_parameters() if weight.grad is None]
    assert not without, "DistributedDataParallel waits for the gradient of every weight"


@torch.no_grad()
@pytest.mark.parametrize("name", TRAINED)
def test_outputs_are_what_the_evaluation_expects(name):
    method, batch = small_method(name).eval(), batch_of()
    if name == "mff":
        torch.nn.init.constant_(method.head.bias, 1.0)  # its maps lie behind a ReLU, where untrained ones are 0
    output = method(batch.images)
    assert output.logits.shape == (6, 3)
    assert output.maps.shape[:2] == (6, 3)
    assert output.attention.shape == (6, *output.maps.shape[2:])
    assert output.maps.dtype == output.attention.dtype == output.logits.dtype == torch.float32
    assert output.attention.min() >= 0
    alike = torch.equal(output.maps, output.maps[:, :1].expand_as(output.maps))
    assert alike is (name in AGNOSTIC)
    alone = method(batch.images[2:3])
    torch.testing.assert_close(alone.maps[0], output.maps[2], rtol=1e-3, atol=1e-5)
    assert torch.equal(method(batch.images).maps, output.maps), "nothing is drawn in evaluation"


@torch.no_grad()
@pytest.mark.parametrize("name", [name for name in METHODS if name not in ("adl", "eil", "bridge", "has", "cutmix")])
def test_known_features_give_the_same_without_pixels(name, tmp_path):
    changes = {}
    if name == "ddt":
        path = tmp_path / "weights.pth"
        torch.save(small_method("cam").backbone.network.state_dict(), path)
        changes = {"backbone": {"weights": str(path), "frozen": True}}
    method, batch = small_method(name, **changes).eval(), batch_of()
    assert isinstance(method, CnnMethod)
    assert method.keeps_features
    levels = method.backbone.levels(batch.images)
    known = method(torch.empty(6, 3, 0, 0), levels=levels)
    seen = method(batch.images)
    for field in ("logits", "maps", "attention"):
        torch.testing.assert_close(getattr(known, field), getattr(seen, field))


@pytest.mark.parametrize("name", TRAINED)
def test_weights_of_images_reach_the_classifier(name):
    """``train.balance: weights``: an image of weight 0 teaches the classifier nothing."""
    if name == "mff":
        pytest.skip("its labels teach the deepest level: the next test")
    method, batch = small_method(name).train(), batch_of()
    torch.manual_seed(1)
    output = method(batch.images)
    weighted = method.losses(output, replace(batch, weights=torch.tensor([2.0] * 3 + [0.0] * 3)))["cls"]
    torch.manual_seed(1)
    plain = method.losses(output, batch)["cls"]
    assert not torch.isclose(weighted, plain)


@torch.no_grad()
@pytest.mark.parametrize("name", ["cam", "acol", "mff", "bas"])
def test_a_cnn_without_a_relu_at_its_end_has_the_norm_as_attention(name):
    output = small_method(name, name="test_convnext").eval()(batch_of().images)
    assert output.attention.min() >= 0


def test_the_strength_of_features():
    features = torch.tensor([[[[1.0, 0.0]], [[3.0, 4.0]]]])
    assert strength(features, rectified=True).tolist() == [[[2.0, 2.0]]]
    assert strength(features, rectified=False)[0, 0].tolist() == pytest.approx([10**0.5, 4.0])


def test_the_strongest_cells_by_loops():
    maps = torch.rand(3, 4, 5, 6)
    found = strongest(maps, 0.8)
    for image in range(3):
        mean = sum(maps[image, channel] for channel in range(4)) / 4
        largest = max(float(value) for value in mean.flatten())
        for row in range(5):
            for column in range(6):
                assert bool(found[image, 0, row, column]) is (float(mean[row, column]) >= 0.8 * largest)


@pytest.mark.parametrize(
    ("name", "counts", "changes", "message"),
    [
        ("mff", [5, 5], {"train": {"batch_size": 1}}, "set train.batch_size to 2 or more"),
        ("i2c", [5, 1, 5], {}, "class number 1 has one training image"),
        ("i2c", [5] * 20, {"train": {"batch_size": 32}}, "20 classes have few such pairs: set data.pairs=true"),
    ],
    ids=["one image a step", "one image of a class", "no pairs"],
)
def test_data_that_a_method_cannot_learn_from_gets_one_line(name, counts, changes, message):
    method = small_method(name)
    with pytest.raises(ConfigError, match=message) as raised:
        method.check_training(counts, small_config(name, **changes))
    assert "\n" not in str(raised.value)


def test_pairs_and_small_batches_pass():
    method = small_method("i2c")
    method.check_training([5] * 20, small_config("i2c", data={"pairs": True}, train={"batch_size": 32}))
    method.check_training([5] * 10, small_config("i2c", train={"batch_size": 32}))


def test_random_weights_learn_the_statistics_of_batch_norm():
    method = small_method("cam").train()
    assert [module for module in method.modules() if isinstance(module, SyncedBatchNorm2d) and module.training]
    before = method.backbone.network.bn1.running_mean.clone()
    method(batch_of().images)
    assert not torch.equal(before, method.backbone.network.bn1.running_mean)
    assert np.prod(method.backbone.grid_hw) == (SIZE // 8) ** 2
