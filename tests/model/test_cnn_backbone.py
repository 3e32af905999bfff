"""The CNN of a method without a transformer: cells in their places, weights as they were, settings that fit."""

import importlib.util

import pytest
import timm
import torch
from torch import nn

from cdtr.config import BackboneConfig, Config, DataConfig
from cdtr.errors import CheckpointError, ConfigError
from cdtr.model.cnn_backbone import CnnBackbone
from cdtr.model.cnn_backbone import build_cnn_backbone as build_bare
from cdtr.model.methods import build_method, with_switches
from cdtr.model.packaged import PACKAGES
from oracles.cnn_cases import small_config, small_method

DATA = DataConfig(input_size=(64, 96))


def config(name="test_resnet", **changes):
    return BackboneConfig(name=name, **{"weights": "none", **changes})


def build_cnn_backbone(*arguments, levels=1) -> CnnBackbone:
    """A backbone whose last levels are looked at."""
    backbone = build_bare(*arguments)
    backbone.take(levels)
    return backbone


def random_filters(network):
    """Random filters that see all of their kernel, on the mean of channels."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            weights = module.weight.abs() + 0.1 * module.weight.abs().mean()
            module.weight.copy_(weights / weights.sum(dim=(1, 2, 3), keepdim=True))


@torch.no_grad()
@pytest.mark.parametrize(
    ("name", "shift"), [("resnet18", 7.5), ("tf_efficientnet_lite0", -7.5), ("vgg11", 0.0)], ids=str
)
@pytest.mark.parametrize("align", [True, False])
def test_a_square_is_found_where_it_stands(name, shift, align):
    """Without alignment the maps of the first two lie half a cell off, as their padding says."""
    size = 224
    torch.manual_seed(0)
    settings = config(name, cnn={"align": align}, output_stride=32 if name != "vgg11" else 16)
    levels = 1 if name == "vgg11" else 2  # the level of stride 16: cells of the last one see the whole image
    backbone = build_cnn_backbone(settings, DataConfig(input_size=(size, size)), "cam", levels=levels).eval()
    random_filters(backbone.network)
    assert backbone.grid_hw == (14, 14)
    empty = backbone(torch.zeros(1, 3, size, size))[0]
    errors = []
    for top, left in [(64, 104), (112, 72), (83, 112), (93, 64)]:
        image = torch.zeros(1, 3, size, size)
        image[..., top : top + 48, left : left + 48] = 1
        seen = (backbone(image)[0] - empty).abs().sum(dim=1)[0]
        centres = (torch.arange(14) + 0.5) * 16 - 0.5
        found = torch.stack([(seen.sum(dim=1 - dim) * centres).sum() / seen.sum() for dim in (0, 1)])
        errors.append(found - torch.tensor([top + 23.5, left + 23.5]))
    error = torch.stack(errors).mean(dim=0)
    assert error.tolist() == pytest.approx([0.0 if align else shift] * 2, abs=2)


@pytest.mark.parametrize(
    ("name", "stride", "channels"),
    [("test_resnet", 8, 96), ("test_resnet", 32, 96), ("vgg11", 8, 512), ("test_convnext", 16, 64)],
)
def test_output_stride(name, stride, channels):
    backbone = build_cnn_backbone(config(name, output_stride=stride), DataConfig(input_size=(96, 64)), "cam")
    assert backbone.grid_hw == (96 // stride, 64 // stride)
    assert backbone.dim == channels
    assert backbone.rectified is (name != "test_convnext")


def test_levels_are_joined_on_the_grid_of_the_finest():
    backbone = build_cnn_backbone(config(output_stride=32), DATA, "mff", levels=3)
    shapes = [tuple(level.shape[1:]) for level in backbone(torch.zeros(1, 3, 64, 96))]
    assert shapes == [(channels, 8, 12) for channels in backbone.channels]
    assert backbone.reductions == (8, 16, 32)
    with pytest.raises(ConfigError, match=r"method mff looks at the maps of 5 levels, test_resnet .* has 4"):
        backbone.take(5, "mff")


@torch.no_grad()
def test_running_from_the_middle_is_the_rest():
    backbone = build_cnn_backbone(config(), DATA, "bas", levels=2).eval()
    middle, last = backbone.levels(torch.rand(2, 3, 64, 96))
    torch.testing.assert_close(backbone.run(middle, after=backbone.ends[-2]), last)


@torch.no_grad()
@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet"])
def test_synced_batch_norms_compute_what_timms_do(name):
    torch.manual_seed(0)
    backbone = build_cnn_backbone(config(name, output_stride=32), DATA, "cam").train()
    network = timm.create_model(name).train()
    network.load_state_dict(backbone.network.state_dict(), strict=False)
    images = torch.rand(4, 3, 64, 96)
    expected = network.forward_features(backbone.own_pixels(images))
    torch.testing.assert_close(backbone.levels(images)[-1], expected, rtol=1e-3, atol=1e-4)


def test_pretrained_batch_norm_keeps_its_statistics_and_random_learns(tmp_path):
    torch.save(timm.create_model("test_resnet").state_dict(), tmp_path / "weights.pth")
    for weights, learns in (("none", True), (str(tmp_path / "weights.pth"), False)):
        backbone = build_cnn_backbone(config(weights=weights), DATA, "cam").train()
        norms = [module.training for module in backbone.modules() if isinstance(module, nn.BatchNorm2d)]
        assert norms
        assert set(norms) == {learns}


@torch.no_grad()
def test_files_give_what_timm_loads(tmp_path):
    path = tmp_path / "weights.pth"
    torch.save(timm.create_model("test_efficientnet").state_dict(), path)
    backbone = build_cnn_backbone(config("test_efficientnet", weights=str(path), output_stride=32), DATA, "cam")
    expected = timm.create_model("test_efficientnet", checkpoint_path=str(path)).state_dict()
    for name, tensor in backbone.network.state_dict().items():
        torch.testing.assert_close(tensor, expected[name])
    with pytest.raises(CheckpointError, match="lacks"):
        build_cnn_backbone(config(weights=str(path)), DATA, "cam")


@pytest.mark.skipif(
    importlib.util.find_spec(PACKAGES["tf_efficientnet_lite0"]) is None, reason="the package is an extra"
)
@torch.no_grad()
def test_packaged_weights_are_those_of_the_package():
    from cdtr.model.packaged import load_packaged

    backbone = build_cnn_backbone(config("tf_efficientnet_lite0", weights="package"), DATA, "cam")
    network = timm.create_model("tf_efficientnet_lite0")
    load_packaged(network, "tf_efficientnet_lite0", "backbone.weights")
    for name, tensor in backbone.network.state_dict().items():
        torch.testing.assert_close(tensor, network.state_dict()[name])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "vit_tiny_patch16_224"}, "method cam looks at a CNN, and backbone.name vit_tiny_patch16_224 is none"),
        ({"name": "mixer_s32_224"}, "looks at a CNN|no CNN that can be taken apart"),
        ({"name": "resnet19"}, "unknown backbone 'resnet19': method cam takes a timm CNN such as resnet50"),
        ({"stem": "conv"}, "backbone.stem is for transformers, .* set backbone.stem=patch"),
        ({"overrides": {"depth": 2}}, "backbone.overrides is for transformers, .* set backbone.overrides=null"),
        ({"weights": "package"}, "test_resnet comes in no package"),
        ({"weights": "nowhere.pth"}, "no weights file nowhere.pth"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_is_no_cnn_or_does_not_fit_gets_one_line(changes, message):
    with pytest.raises((ConfigError, CheckpointError), match=message) as raised:
        small_method("cam", backbone=changes)
    assert "\n" not in str(raised.value)


def test_a_cnn_for_a_transformers_method_gets_one_line():
    with pytest.raises(ConfigError, match=r"resnet18 has no class token .* or a method that looks at a CNN") as raised:
        build_method(Config().updated(method="tscam", backbone={"name": "resnet18", "weights": "none"}), 3)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("section", ["csm", "ocm", "ski", "sba", "guide"])
def test_modules_of_transformers_are_refused(section):
    changes = {section: {"enabled": True}} | ({"csm": {"enabled": True}} if section == "ski" else {})
    with pytest.raises(ConfigError, match=r"needs the attention of a transformer, and acol looks at a CNN: set \w+"):
        with_switches(small_config("acol", **changes))


def test_maps_of_attention_and_released_settings_are_refused():
    with pytest.raises(ConfigError, match=r"maps\.fuse attention is for methods with attention, not for has"):
        with_switches(small_config("has", maps={"fuse": "attention"}))
    with pytest.raises(ConfigError, match="fidelity: official is not for method spa"):
        with_switches(small_config("spa", fidelity="official"))


@pytest.mark.parametrize("method", ["adl", "eil", "bridge"])
def test_places_that_are_not_there_are_refused(method):
    after = ("layer9",) if method == "adl" else "layer9"
    with pytest.raises(
        ConfigError, match=rf"{method}.after layer9 is no part of test_resnet, these are: conv1.*layer4"
    ):
        small_method(method, **{method: {"after": after}})


@pytest.mark.parametrize("method", ["adl", "eil", "bridge"])
def test_erasing_needs_a_cnn_that_learns(method, tmp_path):
    path = tmp_path / "weights.pth"
    torch.save(timm.create_model("test_resnet").state_dict(), path)
    with pytest.raises(ConfigError, match=rf"method {method} erases .* set backbone.frozen=false"):
        small_method(method, backbone={"weights": str(path), "frozen": True})
