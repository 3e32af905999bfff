"""Weights from packages: the right tensor under each name, and one clear line where there is none."""

import importlib.util

import pytest
import timm
import torch

from cdtr.errors import CheckpointError, ConfigError
from cdtr.model import packaged
from cdtr.model.packaged import PACKAGES, in_order_of, load_packaged
from cdtr.model.weights import read_state_dict


def _needs(name):
    package = PACKAGES[name]
    return pytest.param(
        name,
        marks=pytest.mark.skipif(
            importlib.util.find_spec(package) is None, reason=f"the package {package} is not installed"
        ),
    )


@torch.no_grad()
@pytest.mark.parametrize("name", [_needs(name) for name in PACKAGES])
def test_it_computes_what_the_packages_own_code_computes(name):
    """An independent reader of the file: the package's tensors, in a network built from its stages by number."""
    network = timm.create_model(name).eval()
    load_packaged(network, name, "backbone.weights")
    state = read_state_dict(packaged._packaged_file(name, "backbone.weights"))
    stem = {key.split(".", 1)[1]: value for key, value in state.items() if key.startswith(("_conv_stem.", "_bn0."))}
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    padded = torch.nn.functional.pad(images, (0, 1, 0, 1))  # TensorFlow's padding of an even size
    seen = torch.nn.functional.conv2d(padded, state["_conv_stem.weight"], stride=2)
    seen = torch.nn.functional.batch_norm(
        seen, stem["running_mean"], stem["running_var"], state["_bn0.weight"], state["_bn0.bias"], eps=1e-3
    ).clamp(0, 6)
    torch.testing.assert_close(network.bn1(network.conv_stem(images)), seen)
    assert torch.equal(network.classifier.weight, state["_fc.weight"])
    # Mixed-up statistics of batch norm would make features that explode or vanish, and classes that are all alike.
    assert 0.05 < float(network.forward_features(images).std()) < 5
    assert network(images).softmax(dim=1).amax(dim=1).min() > 2e-3


def test_a_missing_package_says_what_to_install(monkeypatch):
    monkeypatch.setattr(packaged, "PACKAGES", {"resnet10t": "no_such_package_here"})
    with pytest.raises(ConfigError, match=r"no-such-package-here, which is not installed: .* set backbone\.weights to"):
        load_packaged(timm.create_model("resnet10t"), "resnet10t", "backbone.weights")


def test_a_network_without_a_package_is_named():
    with pytest.raises(ConfigError, match=r"resnet10t comes in no package, these do: tf_efficientnet_lite0, .*lite2"):
        load_packaged(timm.create_model("resnet10t"), "resnet10t", "backbone.weights")


def test_names_are_matched_in_order_only_where_shape_and_kind_agree():
    names = {"a.weight": torch.zeros(2, 3), "a.bias": torch.zeros(2)}
    weight, bias = torch.ones(2, 3), torch.ones(2)
    assert in_order_of(names, {"_x.weight": weight, "_x.bias": bias}, "file") == {"a.weight": weight, "a.bias": bias}
    with pytest.raises(CheckpointError, match=r"_x\.running_mean of shape \(2,\) stands where a\.bias"):
        in_order_of(names, {"_x.weight": weight, "_x.running_mean": bias}, "file")
    with pytest.raises(CheckpointError, match=r"_x\.weight of shape \(3, 2\)"):
        in_order_of(names, {"_x.weight": weight.T, "_x.bias": bias}, "file")
    with pytest.raises(CheckpointError, match="has 1 tensors, expected 2"):
        in_order_of(names, {"_x.weight": weight}, "file")
