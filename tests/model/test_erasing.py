"""CAM, HaS, CutMix, ACoL, ADL and EIL against loops over cells and pixels."""

import math
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from cdtr.model.methods import acol, adl
from cdtr.model.methods.cutmix import mix_images
from cdtr.model.methods.has import hide_cells
from oracles import model_oracles as oracle
from oracles.cnn_cases import batch_of, small_method


@torch.no_grad()
@pytest.mark.parametrize("neck", ["none", "conv", "double"])
def test_cam_is_a_weighted_sum_of_the_features(neck):
    method, batch = small_method("cam", cam={"neck": neck, "width": 16}).eval(), batch_of()
    output, features = method(batch.images), method.features(batch.images)
    weights = method.head.weight[:, :, 0, 0]
    for image, label in ((0, 0), (3, 2)):
        for row, column in ((0, 0), (4, 7)):
            expected = sum(float(weights[label, d] * features[image, d, row, column]) for d in range(len(weights[0])))
            assert float(output.maps[image, label, row, column]) == pytest.approx(expected, abs=1e-4)
    pooled = output.maps.mean(dim=(2, 3)) + method.head.bias
    torch.testing.assert_close(output.logits, pooled)
    torch.testing.assert_close(output.attention, features.mean(dim=1))


def test_has_hides_whole_cells_and_leaves_the_rest():
    torch.manual_seed(0)
    images = torch.rand(40, 3, 56, 64) + 1
    hidden = hide_cells(images, [32], 0.5)  # of 224 pixels: 8 of 56
    cells = 0
    for image, found in zip(images, hidden, strict=True):
        for top in range(0, 56, 8):
            for left in range(0, 64, 8):
                block = found[:, top : top + 8, left : left + 8]
                gone = bool((block == 0).all())
                cells += gone
                assert gone or torch.equal(block, image[:, top : top + 8, left : left + 8])
    drawn = 40 * 7 * 8
    assert abs(cells / drawn - 0.5) < 3 * 0.5 / math.sqrt(drawn)


def test_has_draws_a_size_an_image_and_0_hides_nothing():
    torch.manual_seed(0)
    images = torch.ones(60, 1, 28, 28).expand(-1, 3, -1, -1)
    assert torch.equal(hide_cells(images, [0], 0.9), images)
    shares = [float((image == 0).float().mean()) for image in hide_cells(images, [0, 112], 0.5)]
    assert sum(share == 0 for share in shares) > 20
    assert any(share > 0 for share in shares)


@torch.no_grad()
@pytest.mark.parametrize("name", ["has", "cutmix", "adl", "eil"])
def test_evaluation_is_cam(name):
    method, cam = small_method(name).eval(), small_method("cam").eval()
    cam.load_state_dict(method.state_dict())
    images = batch_of().images
    torch.testing.assert_close(method(images).maps, cam(images).maps)


def test_every_pixel_of_a_mixed_image_is_of_one_of_two():
    for seed in range(30):
        torch.manual_seed(seed)
        images = torch.arange(5.0)[:, None, None, None].expand(-1, 3, 20, 30).clone()
        mixed, share, order = mix_images(images, 1.0)
        for index in range(5):
            own = (mixed[index, 0] == index).float().mean()
            assert set(mixed[index].unique().tolist()) <= {index, float(order[index])}
            if int(order[index]) != index:
                assert float(own) == pytest.approx(share, abs=1e-6)


def test_the_loss_of_a_mixed_batch_by_hand():
    method, batch = small_method("cutmix").train(), batch_of()
    torch.manual_seed(3)
    output = method(batch.images)
    share, order = float(output.aux["mix_share"]), output.aux["mix_order"]
    own = oracle.cross_entropy(output.logits, batch.labels)
    other = oracle.cross_entropy(output.logits, batch.labels[order])
    assert float(method.losses(output, batch)["cls"]) == pytest.approx(share * own + (1 - share) * other, rel=1e-5)


def test_acol_erases_where_the_first_map_is_high():
    method, batch = small_method("acol").train(), batch_of()
    seen = []
    method.second.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0].detach()))
    output = method(batch.images)
    method.losses(output, batch)
    features, x_out = output.aux["features"].detach(), output.aux["x_out"].detach()
    for image, label in enumerate(batch.labels.tolist()):
        scaled = oracle.minmax(x_out[image, label])
        for row in range(8):
            for column in range(8):
                kept = float(scaled[row, column]) < 0.6
                torch.testing.assert_close(seen[0][image, :, row, column], features[image, :, row, column] * kept)


def test_acols_second_classifier_teaches_the_first_nothing():
    method, batch = small_method("acol").train(), batch_of()
    method.losses(method(batch.images), batch)["adversary"].backward()
    assert all(weight.grad is None for weight in method.first.parameters())
    assert all(weight.grad is not None for weight in method.second.parameters())


@torch.no_grad()
def test_acols_map_is_the_larger_of_both_and_constants_stay_finite():
    method, batch = small_method("acol").eval(), batch_of()
    output = method(batch.images)
    for image in range(6):
        for label in range(3):
            first, second = (oracle.minmax(output.aux[name][image, label]) for name in ("x_out", "x_b"))
            torch.testing.assert_close(output.maps[image, label], torch.maximum(first, second))
    for weight in method.first.parameters():
        weight.zero_()
    assert torch.isfinite(method(batch.images).maps).all()
    assert acol.BACKBONE == "cnn"


def test_adl_erases_or_weighs(monkeypatch):
    method = small_method("adl", adl={"share": 0.75, "threshold": 0.9}).train()
    maps = torch.rand(2, 4, 5, 5)
    mean = maps.mean(dim=1)
    for drawn, expected in ((0.7, "erased"), (0.8, "weighed")):
        monkeypatch.setattr(adl.torch, "rand", lambda *_, drawn=drawn: torch.tensor(drawn))
        found = method.dropped(maps)
        for image in range(2):
            largest = float(mean[image].max())
            for row in range(5):
                for column in range(5):
                    value = float(mean[image, row, column])
                    factor = float(value < 0.9 * largest) if expected == "erased" else 1 / (1 + math.exp(-value))
                    torch.testing.assert_close(found[image, :, row, column], maps[image, :, row, column] * factor)


def test_adl_erases_in_three_quarters_of_the_draws():
    method = small_method("adl").train()
    maps = torch.rand(1, 2, 3, 3) + 1
    erased = sum(bool((method.dropped(maps) == 0).any()) for _ in range(1000))
    assert abs(erased / 1000 - 0.75) < 3 * math.sqrt(0.75 * 0.25 / 1000)


@pytest.mark.parametrize(
    ("name", "places"),
    [
        ("test_resnet", ["layer3.0", "layer4.0"]),
        ("test_efficientnet", ["blocks.2.0", "blocks.3.0", "bn2"]),
    ],
)
def test_where_adl_stands(name, places):
    found = small_method("adl", name=name).places
    assert found[: len(places)] == places


def test_adl_on_vgg_stands_behind_pool_3_and_the_last_two_levels():
    convs = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13]
    backbone = SimpleNamespace(
        parts=[f"features.{index}" for index in convs],
        ends=["features.3", "features.6", "features.9", "features.13"],
        behind=lambda part: f"features.{int(part.split('.')[1]) + 1}",
    )
    assert adl.published_places(backbone) == ["features.7", "features.9", "features.13"]


@torch.no_grad()
@pytest.mark.parametrize("name", ["eil", "bridge"])
def test_two_passes_in_one_batch_are_two_passes(name):
    """With the statistics of batch norm fixed; where it learns, it sees both."""
    torch.manual_seed(0)
    method, batch = small_method(name), batch_of()
    method.eval()
    method.training = True  # the method draws, its layers evaluate
    torch.manual_seed(2)
    both = method.features(batch.images)
    torch.manual_seed(2)
    middle = method.backbone.run(method.backbone.own_pixels(batch.images), until=method.place)
    for part, maps in zip(both.chunk(2), method.twice(middle).chunk(2), strict=True):
        last = method.backbone.resample(0, method.backbone.run(maps, after=method.place))
        torch.testing.assert_close(part, last, rtol=1e-3, atol=1e-4)


def test_eil_erases_what_is_strong_and_adds_a_term():
    method, batch = small_method("eil").train(), batch_of()
    maps = torch.rand(2, 3, 4, 4)
    plain, erased = method.twice(maps).chunk(2)
    assert torch.equal(plain, maps)
    mean = maps.mean(dim=1, keepdim=True)
    kept = mean < 0.7 * mean.flatten(1).max(dim=1).values[:, None, None, None]
    assert torch.equal(erased, maps * kept)
    output = method(batch.images)
    expected = F.cross_entropy(output.aux["logit_b"], batch.labels)
    torch.testing.assert_close(method.losses(output, batch)["erased"], expected)
