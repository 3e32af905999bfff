"""The second stage: what its segmenter learns, what it leaves alone, and how both stages are joined."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch.testing import assert_close

from cdtr.config import Config, load_config
from cdtr.errors import CheckpointError, ConfigError
from cdtr.model.maps import scale_maps
from cdtr.model.methods import build_method
from cdtr.model.methods.refined import Refined, load_first
from cdtr.model.segmenter import Segmenter
from cdtr.records import Batch, Sample

CLASSES = 3


def settings(**changes: object) -> Config:
    small = load_config("small", ["data.input_size=[64,64]", "data.resize=[64,64]", "sba.enabled=false"])
    shape = {"patch_size": 16, "embed_dim": 24, "depth": 2, "num_heads": 2}
    return small.updated(
        method="refined",
        backbone={"overrides": shape},
        ocm={"k": 2},
        data={"prior_maps": "targets"},
        refine={"first": "one", "width": 4, "side": 32, "threshold": 0.5, "trimap": 0.1, **changes},
    )


def refined(**changes: object) -> Refined:
    method = build_method(settings(**changes), CLASSES)
    assert isinstance(method, Refined)
    return method


def batch(targets: torch.Tensor | None) -> Batch:
    count = 2
    samples = tuple(Sample(f"{number}.png", Path(f"{number}.png"), number) for number in range(count))
    images = torch.rand(count, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    return Batch(images, torch.arange(count), samples, ((64, 64),) * count, prior=targets)


def test_the_map_is_the_product_of_both_stages() -> None:
    method = refined(share=0.5).eval()
    images = batch(None).images
    found = method(images)
    first = method.first(images, auxiliary=False)
    assert_close(found.logits, first.logits)
    seen = found.aux["segmentation"].sigmoid() ** 0.5
    scaled = torch.nn.functional.interpolate(scale_maps(first.maps), size=seen.shape[1:], mode="bilinear")
    assert_close(found.maps, scaled * seen[:, None])
    assert found.maps.shape == (2, CLASSES, 16, 16), "half of the segmenter's 32 pixels"
    assert found.attention.shape == (2, 16, 16)


def test_without_a_share_the_first_run_is_left_as_it_is() -> None:
    method = refined(share=0.0).eval()
    images = batch(None).images
    first = scale_maps(method.first(images, auxiliary=False).maps)
    assert_close(method(images).maps, torch.nn.functional.interpolate(first, size=(16, 16), mode="bilinear"))


def test_only_the_segmenter_learns() -> None:
    method = refined().train()
    before = {name: value.clone() for name, value in method.state_dict().items()}
    optimiser = torch.optim.SGD([weight for weight in method.parameters() if weight.requires_grad], lr=0.1)
    of_batch = batch((torch.rand(2, 64, 64) > 0.5).float())
    method.losses(method(of_batch.images), of_batch)["segmentation"].backward()
    optimiser.step()
    changed = {name for name, value in method.state_dict().items() if not torch.equal(value, before[name])}
    assert changed
    assert all(name.startswith("segmenter.") for name in changed)
    assert not method.first.training


def test_targets_near_the_threshold_teach_nothing() -> None:
    method = refined().train()
    unsure = batch(torch.full((2, 64, 64), 0.55))
    output = method(unsure.images)
    assert method.losses(output, unsure)["segmentation"] == 0
    sure = batch(torch.full((2, 64, 64), 0.9))
    expected = torch.nn.functional.softplus(-output.aux["segmentation"]).mean()
    assert_close(method.losses(output, sure)["segmentation"], expected)


def test_a_segmenter_learns_where_a_bright_square_is() -> None:
    torch.manual_seed(0)
    network, draw = Segmenter(8), torch.Generator().manual_seed(1)
    optimiser = torch.optim.AdamW(network.parameters(), lr=0.01)

    def squares(count: int) -> tuple[torch.Tensor, torch.Tensor]:
        images, masks = 0.3 * torch.rand(count, 3, 32, 32, generator=draw), torch.zeros(count, 32, 32)
        for image, mask in zip(images, masks, strict=True):
            top, left = torch.randint(0, 20, (2,), generator=draw).tolist()
            image[:, top : top + 12, left : left + 12] += 0.7
            mask[top : top + 12, left : left + 12] = 1
        return images, masks[:, ::2, ::2]

    for _ in range(40):
        images, masks = squares(16)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(network(images), masks)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    images, masks = squares(32)
    with torch.no_grad():
        found = network.eval()(images) > 0
    overlap = (found & (masks > 0)).sum((1, 2)) / (found | (masks > 0)).sum((1, 2))
    assert float(overlap.mean()) > 0.8


def test_weights_of_a_first_run_and_of_a_refined_one_are_loaded(tmp_path: Path) -> None:
    torch.manual_seed(1)
    source, target = refined(), refined()
    own = source.first.state_dict()
    for name, state in (("one", own), ("two", source.state_dict())):
        save_file({key: value.contiguous() for key, value in state.items()}, tmp_path / f"{name}.safetensors")
        torch.nn.init.zeros_(target.first.head.weight)  # type: ignore[union-attr, arg-type]
        load_first(target, tmp_path / f"{name}.safetensors")
        assert all(torch.equal(value, own[key]) for key, value in target.first.state_dict().items())
    save_file({"head.weight": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match="lacks"):
        load_first(target, tmp_path / "other.safetensors")


def test_settings_that_do_not_fit_are_one_line() -> None:
    with pytest.raises(ConfigError, match=r"refine\.method is the method of the first run"):
        build_method(settings(method="refined"), CLASSES)
    method, without = refined().train(), batch(None)
    output = method(without.images)
    with pytest.raises(ConfigError, match=r"expected data\.prior_maps"):
        method.losses(output, without)
