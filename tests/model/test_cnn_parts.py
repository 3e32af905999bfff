"""A CNN in parts: the same features, with a way into its middle."""

import pytest
import timm
import torch

from cdtr.errors import ConfigError
from cdtr.model.cnn_parts import drop_other_parts, level_ends, part_names, run_parts

NETWORKS = ["test_resnet", "test_efficientnet", "vgg11", "test_convnext", "mobilenetv3_small_050"]
LARGE = [pytest.param(name, marks=pytest.mark.slow) for name in ("densenet121", "inception_v3", "resnet50")]


@torch.no_grad()
@pytest.mark.parametrize("name", [*NETWORKS, *LARGE])
def test_parts_give_the_networks_features_and_levels(name):
    torch.manual_seed(0)
    network = timm.create_model(name).eval()
    images = torch.randn(1, 3, 96, 96)
    parts = part_names(network, name)
    torch.testing.assert_close(run_parts(network, parts, images), network.forward_features(images))
    _, levels = network.forward_intermediates(images)
    by_end = {}
    maps = images
    for part in parts:
        maps = run_parts(network, [part], maps)
        by_end[part] = maps
    wanted = [level for level, info in zip(levels, network.feature_info, strict=True) if info["reduction"] > 2]
    for end, level in zip(level_ends(network, parts), wanted, strict=True):
        torch.testing.assert_close(by_end[end], level)


@pytest.mark.parametrize("name", ["test_vit", "mixer_s32_224"])
def test_networks_without_parts_are_refused(name):
    with pytest.raises(ConfigError, match=rf"backbone.name {name} is no CNN .*: choose one such as resnet50"):
        part_names(timm.create_model(name), name)


def test_a_change_reaches_all_that_follows():
    network = timm.create_model("test_resnet").eval()
    parts = part_names(network, "test_resnet")
    images = torch.randn(1, 3, 64, 64)
    seen = []

    def doubled(maps):
        seen.append(maps)
        return torch.cat([maps, maps * 0])

    both = run_parts(network, parts, images, {"layer3.0": doubled})
    torch.testing.assert_close(both[:1], run_parts(network, parts, images))
    rest = parts[parts.index("layer3.0") + 1 :]
    torch.testing.assert_close(both[1:], run_parts(network, rest, seen[0] * 0))


def test_the_classifier_goes():
    network = timm.create_model("test_resnet")
    parts = part_names(network, "test_resnet")
    drop_other_parts(network, parts)
    assert {name.split(".")[0] for name in network.state_dict()} == {
        "conv1",
        "bn1",
        *(f"layer{n}" for n in range(1, 5)),
    }
