"""C2AM: its terms by loops over pairs, and the sign by the votes of the first epoch."""

import math

import pytest
import torch
import torch.nn.functional as F

from cdtr.model.methods.c2am import alike_term, apart_term
from oracles.cnn_cases import batch_of, small_method


def clamped(value):
    return min(max(value, 5e-4), 0.9995)


def test_regions_are_told_apart_over_all_pairs():
    torch.manual_seed(0)
    first, second = (F.normalize(torch.rand(4, 3), dim=1) for _ in range(2))
    total = sum(-math.log(1 - clamped(float(a @ b))) for a in first for b in second)
    assert float(apart_term(first, second)) == pytest.approx(total / 16, rel=1e-4)


@pytest.mark.parametrize("alpha", [0.0, 0.75])
def test_less_alike_pairs_weigh_less(alpha):
    torch.manual_seed(0)
    vectors = F.normalize(torch.rand(5, 3), dim=1)
    total = 0.0
    for index, one in enumerate(vectors):
        cosines = [clamped(float(one @ other)) for other in vectors]
        order = sorted(range(5), key=lambda j, c=cosines, i=index: (j != i, -c[j]))
        for rank, j in enumerate(order):
            total += math.exp(-alpha * (rank - 1)) * -math.log(cosines[j])
    assert float(alike_term(vectors, alpha)) == pytest.approx(total / 25, rel=1e-3)


def test_terms_are_those_of_the_mean_features_of_both_regions():
    method, batch = small_method("c2am").train(), batch_of()
    output = method(batch.images)
    assert output.aux["v_f"].shape == (6, sum(method.backbone.channels))
    terms = method.losses(output, batch)
    first, second = (F.normalize(output.aux[name], dim=1) for name in ("v_f", "v_b"))
    torch.testing.assert_close(terms["apart"], apart_term(first, second))
    torch.testing.assert_close(terms["object"], alike_term(first, 0.05))
    torch.testing.assert_close(terms["background"], alike_term(second, 0.05))


@torch.no_grad()
def test_both_regions_make_up_the_mean_feature():
    method, batch = small_method("c2am").eval(), batch_of()
    joined = torch.cat(method.backbone(batch.images), dim=1)
    output = method(batch.images)
    torch.testing.assert_close(output.aux["v_f"] + output.aux["v_b"], joined.mean(dim=(2, 3)), rtol=1e-4, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("inverted", [False, True])
def test_the_border_is_background_for_most_images(inverted):
    method, images = small_method("c2am").train(), batch_of().images
    method.start_epoch(0, 3)
    middle = torch.zeros(6, 1, 8, 8)
    middle[:, :, 2:6, 2:6] = 1
    middle[0] = 1 - middle[0]  # one image does not decide
    method._vote(1 - middle if inverted else middle)
    assert float(method.votes) == (4 if inverted else -4)
    method.eval()
    votes = method.votes.clone()
    foreground = method(images).aux["foreground"]
    method.votes.neg_()
    torch.testing.assert_close(method(images).aux["foreground"], 1 - foreground)
    assert torch.equal(method.votes, -votes)


@torch.no_grad()
def test_votes_are_those_of_the_first_epoch():
    method, images = small_method("c2am").train(), batch_of().images
    method.start_epoch(1, 3)
    method(images)
    assert method.votes == 0
    method.start_epoch(0, 3)
    method(images)
    assert abs(float(method.votes)) <= 6
    assert method.votes != 0


def test_labels_teach_the_cnn_nothing():
    method, batch = small_method("c2am").train(), batch_of()
    method.losses(method(batch.images), batch)["cls"].backward()
    assert all(weight.grad is None for weight in method.backbone.parameters())
    assert method.head.weight.grad is not None
