"""A CNN's features as patches: the network's own numbers, cells in their places, frozen and tuned."""

import copy
import importlib.util

import pytest
import timm
import torch
import torch.nn.functional as F

from cdtr.config import CnnConfig, Config, DataConfig
from cdtr.errors import CheckpointError, ConfigError
from cdtr.model.cnn import build_cnn_features
from cdtr.model.methods import build_method
from cdtr.model.packaged import PACKAGES
from cdtr.records import Batch

DATA = DataConfig(input_size=(64, 96))
TINY = {"name": "test_efficientnet", "weights": "none"}  # strides 4, 8, 16, 32
HYBRID = {
    "method": "cdtr",
    "data": {"input_size": (64, 96), "workers": 0},
    "backbone": {
        "name": "vit_tiny_patch16_224",
        "weights": "none",
        "stem": "cnn",
        "cnn": {**TINY, "reductions": (8, 16)},
        "overrides": {"patch_size": 16, "embed_dim": 24, "depth": 2, "num_heads": 2},
    },
    "ocm": {"k": 2, "prior": "border"},
    "sba": {"enabled": False},
    "guide": {"enabled": True, "features": "backbone"},
}


def _images(n=2, size=(64, 96)):
    return torch.rand(n, 3, *size, generator=torch.Generator().manual_seed(1))


def test_the_maps_are_the_networks_own_under_its_own_normalisation():
    torch.manual_seed(0)
    features = build_cnn_features(CnnConfig(**TINY, reductions=(8, 16), align=False), DATA, (8, 12)).eval()
    own = features.network.pretrained_cfg
    pixels = _images()
    given = (pixels - torch.tensor(DATA.mean)[:, None, None]) / torch.tensor(DATA.std)[:, None, None]
    wanted = (pixels - torch.tensor(own["mean"])[:, None, None]) / torch.tensor(own["std"])[:, None, None]
    _, levels = features.network.forward_intermediates(wanted)
    by_stride = dict(zip((info["reduction"] for info in features.network.feature_info), levels, strict=True))
    larger = F.interpolate(by_stride[16], size=(8, 12), mode="bilinear")
    expected = torch.cat([by_stride[8], larger], dim=1) / (1 + 1e-5) ** 0.5  # batch norm that saw nothing yet
    torch.testing.assert_close(features.join(features(given)), expected, rtol=1e-4, atol=1e-5)
    assert features.channels == [by_stride[8].shape[1], by_stride[16].shape[1]]


def test_of_the_largest_stride_the_last_features_are_taken():
    features = build_cnn_features(CnnConfig(**TINY, reductions=(16, 32)), DATA, (4, 6)).eval()
    assert features.channels[-1] == features.network.num_features
    features = build_cnn_features(CnnConfig(**TINY, reductions=(16,)), DATA, (4, 6)).eval()
    assert features.channels == [info["num_chs"] for info in features.network.feature_info if info["reduction"] == 16]


@torch.no_grad()
@pytest.mark.parametrize("name", ["resnet18", "tf_efficientnet_lite0", "vgg11"])
@pytest.mark.parametrize("align", [True, False])
def test_a_square_is_found_where_it_stands(name, align):
    """Without alignment the maps of the first two lie half a cell off, as their padding says."""
    size = 224
    torch.manual_seed(0)
    config = CnnConfig(name=name, weights="none", reductions=(16,), align=align)
    features = build_cnn_features(config, DataConfig(input_size=(size, size)), (14, 14)).eval()
    for module in features.network.modules():
        if isinstance(module, torch.nn.Conv2d):  # random filters that see all of their kernel, on the mean of channels
            weights = module.weight.abs() + 0.1 * module.weight.abs().mean()
            module.weight.copy_(weights / weights.sum(dim=(1, 2, 3), keepdim=True))
    half_a_cell = {"resnet18": 7.5, "tf_efficientnet_lite0": -7.5, "vgg11": 0.0}[name]
    empty = features.join(features(torch.zeros(1, 3, size, size)))
    errors = []
    for top, left in [(64, 80), (72, 66), (90, 101), (83, 75)]:
        image = torch.zeros(1, 3, size, size)
        image[..., top : top + 48, left : left + 48] = 1
        seen = (features.join(features(image)) - empty).abs().sum(dim=1)[0]
        centres = (torch.arange(14) + 0.5) * 16 - 0.5
        found = torch.stack([(seen.sum(dim=1 - dim) * centres).sum() / seen.sum() for dim in (0, 1)])
        errors.append(found - torch.tensor([top + 23.5, left + 23.5]))
    error = torch.stack(errors).mean(dim=0)
    expected = 0.0 if align else half_a_cell
    assert error.tolist() == pytest.approx([expected, expected], abs=2)


def test_a_frozen_network_stays_as_it_is_and_a_tuned_one_learns():
    for frozen in (True, False):
        torch.manual_seed(0)
        config = Config().updated(**HYBRID).updated(backbone={"cnn": {"frozen": frozen}})
        method = build_method(config, 3).train()
        assert not method.backbone.cnn.network.training
        output = method(_images(3))
        terms = method.losses(output, Batch(_images(3), torch.arange(3), (), ()))
        method.weigh(terms)[0].backward()
        gradients = [parameter.grad for parameter in method.backbone.cnn.network.parameters()]
        if frozen:
            assert all(gradient is None for gradient in gradients)
        else:
            assert sum(float(gradient.abs().sum()) for gradient in gradients if gradient is not None) > 0


def test_linear_layers_of_the_network_keep_their_weights(tmp_path):
    """timm initialises all linear layers of a transformer, and a ConvNeXt has some in every block."""
    torch.manual_seed(0)
    network = timm.create_model("test_convnext")
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    cnn = {"name": "test_convnext", "weights": str(tmp_path / "weights.pth"), "reductions": (8, 16)}
    torch.manual_seed(1)
    method = build_method(Config().updated(**HYBRID).updated(backbone={"cnn": cnn}), 3)
    found = method.cnn.network.state_dict()
    assert any("fc1.weight" in name for name in found)
    for name, weights in network.state_dict().items():
        torch.testing.assert_close(found[name], weights)


def test_the_guide_compares_the_networks_features():
    torch.manual_seed(0)
    method = build_method(Config().updated(**HYBRID), 3).train()
    images = _images()
    prior = method(images).aux["prior"]
    assert prior.shape == (2, 4, 6)
    from cdtr.model.priors import border

    cnn = copy.deepcopy(method.backbone.cnn)
    features = cnn.join(cnn(images))
    first, second = method.backbone.cnn.channels
    weighed = torch.cat([features[:, :first] / first**0.5, features[:, first:] / second**0.5], dim=1)
    torch.testing.assert_close(prior, border(weighed))


def test_a_guide_needs_features_to_see():
    config = Config().updated(**HYBRID).updated(backbone={"stem": "conv"})
    with pytest.raises(ConfigError, match=r"guide\.features backbone needs backbone\.stem cnn"):
        build_method(config, 3)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"name": "resnet5000"}, ConfigError, "unknown backbone.cnn.name 'resnet5000'"),
        ({"name": "vit_tiny_patch16_224"}, ConfigError, "no feature maps of several strides"),
        ({"reductions": (8, 64)}, ConfigError, "has 64, the feature maps of test_efficientnet have the strides 2, 4"),
        ({"weights": "gone.pth"}, CheckpointError, "no weights file gone.pth"),
        ({"weights": "package"}, ConfigError, "test_efficientnet comes in no package"),
    ],
    ids=["unknown", "transformer", "stride", "file", "package"],
)
def test_networks_that_cannot_be_had(settings, error, message):
    with pytest.raises(error, match=message):
        build_cnn_features(CnnConfig(**{**TINY, **settings}), DATA, (4, 6))


@pytest.mark.parametrize(("load_weights", "restored"), [(True, 1), (False, 0)])
def test_weights_are_kept_over_timms_initialisation_unless_others_follow(monkeypatch, load_weights, restored):
    restore, calls = torch.nn.Module.load_state_dict, []

    def counted(self, state, *args, **kwargs):
        calls.append(len(state))
        return restore(self, state, *args, **kwargs)

    monkeypatch.setattr(torch.nn.Module, "load_state_dict", counted)
    build_method(Config().updated(**HYBRID), 3, load_weights=load_weights)
    assert len(calls) == restored


@pytest.mark.skipif(
    importlib.util.find_spec(PACKAGES["tf_efficientnet_lite2"]) is None, reason="the package is not installed"
)
def test_packaged_weights_need_no_network(monkeypatch):
    import socket

    def refuse(*_args, **_kwargs):
        raise AssertionError("something reached for the network")

    monkeypatch.setattr(socket, "socket", refuse)
    features = build_cnn_features(CnnConfig(), DATA, (4, 6))
    plain = timm.create_model("tf_efficientnet_lite2")
    assert not torch.equal(features.network.conv_stem.weight, plain.conv_stem.weight)
