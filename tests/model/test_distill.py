"""A method with a teacher: what it learns, with which weights, and that only the method counts in use."""

import copy

import pytest
import timm
import torch
import torch.nn.functional as F

from cdtr.config import Config, PretrainConfig
from cdtr.model.distill import Distilled, distillation_loss, feature_loss
from cdtr.model.methods import build_method
from cdtr.model.teacher import Teacher
from cdtr.records import Batch

CONFIG = Config().updated(
    method="tscam",
    data={"input_size": (32, 32)},
    backbone={
        "name": "vit_tiny_patch16_224",
        "weights": "none",
        "overrides": {"embed_dim": 48, "depth": 2, "num_heads": 2, "patch_size": 8},
    },
)


@pytest.fixture(scope="module")
def teacher():
    torch.manual_seed(0)
    return Teacher(timm.create_model("test_efficientnet"), CONFIG.data, (64, 64))


@pytest.fixture
def make_pupil(teacher):
    def make(**settings):
        torch.manual_seed(1)
        return Distilled(build_method(CONFIG, 3), teacher, PretrainConfig(**settings))

    return make


@pytest.fixture(scope="module")
def batch():
    torch.manual_seed(2)
    return Batch(torch.randn(4, 3, 32, 32), torch.tensor([0, 1, 2, 0]), (), ())


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({}, {"cls", "token", "patches"}),
        ({"label_weight": 0.0}, {"token", "patches"}),
        ({"token_weight": 0.0}, {"cls", "patches"}),
        ({"patch_weight": 0.0}, {"cls", "token"}),
        ({"patch_weight": 0.0, "token_weight": 0.0}, {"cls"}),
        ({"patch_target": "features", "target": "hard"}, {"cls", "token", "patches"}),
    ],
    ids=["all", "no-labels", "no-token", "no-patches", "labels-alone", "features"],
)
def test_each_term_is_a_switch_and_every_weight_that_trains_gets_a_gradient(make_pupil, batch, settings, names):
    pupil = make_pupil(**settings).train()
    terms = pupil.losses(pupil(batch.images), batch)
    assert set(terms) == names
    total, lambdas = pupil.weigh(terms)
    assert lambdas == {}
    total.backward()
    # A parameter without one stops a training on several processes.
    silent = {name for name, p in pupil.named_parameters() if p.requires_grad and p.grad is None}
    assert silent == set()


def test_terms_are_summed_under_their_weights(make_pupil):
    pupil = make_pupil(label_weight=0.5, token_weight=2.0, patch_weight=3.0)
    total, _ = pupil.weigh({"cls": torch.tensor(1.0), "token": torch.tensor(10.0), "patches": torch.tensor(100.0)})
    assert total.item() == pytest.approx(320.5)


def test_in_use_it_is_the_method_and_the_teacher_is_no_part_of_it(make_pupil, batch):
    pupil = make_pupil().eval()
    with torch.no_grad():
        ours, theirs = pupil(batch.images), pupil.method(batch.images)
    assert torch.equal(ours.maps, theirs.maps)
    assert ours.aux.keys() == theirs.aux.keys()
    assert {name.split(".")[0] for name in pupil.state_dict()} == {"method", "token_head", "patch_head"}
    assert copy.deepcopy(pupil).teacher is pupil.teacher


@torch.no_grad()
def test_the_teacher_sees_the_image_before_random_erasing(make_pupil, batch):
    pupil = make_pupil().train()
    erased = Batch(torch.zeros_like(batch.images), batch.labels, (), (), batch.images)
    output = pupil(batch.images)
    assert pupil.losses(output, erased)["token"] == pupil.losses(output, batch)["token"]


def test_distillation_loss_is_the_cross_entropy_of_each_place():
    torch.manual_seed(0)
    pupil, teacher = torch.randn(2, 5, 3, 3), torch.randn(2, 5, 3, 3)
    slow = [
        -(teacher[b, :, y, x].softmax(0) * pupil[b, :, y, x].log_softmax(0)).sum()
        for b in range(2)
        for y in range(3)
        for x in range(3)
    ]
    assert distillation_loss(pupil, teacher).item() == pytest.approx(torch.stack(slow).mean().item(), rel=1e-5)
    hard = F.cross_entropy(pupil, teacher.argmax(dim=1))
    assert distillation_loss(pupil, teacher, hard=True).item() == pytest.approx(hard.item())


def test_feature_loss_knows_the_direction_only():
    maps = torch.rand(2, 6, 4, 4)
    assert feature_loss(maps * 3, maps).item() == pytest.approx(0, abs=1e-5)
    assert feature_loss(-maps, maps).item() == pytest.approx(2, abs=1e-5)
    assert feature_loss(torch.ones(2, 6, 4, 4), torch.ones(2, 6, 2, 2)).item() == pytest.approx(0, abs=1e-5)
