"""Kim et al.: both terms by hand, and what is dropped."""

import pytest
import torch
import torch.nn.functional as F

from cdtr.model.methods.bridge import norm_term, similarity_term
from oracles.cnn_cases import batch_of, small_method


def test_both_terms_of_a_map_of_four_cells():
    norm = torch.tensor([[[0.0, 0.1], [0.5, 1.0]]])
    cosine = torch.tensor([[[-0.4, 0.2], [0.6, 0.8]]])
    # background: cells 0 and 1 (norm < 0.2), object: cells 2 and 3 (norm > 0.4)
    assert float(similarity_term(cosine, norm, 0.2, 0.4)) == pytest.approx((-0.4 + 0.2) / 2 - (0.6 + 0.8) / 2)
    # negative cosine: cell 0; positive: the others
    assert float(norm_term(norm, cosine)) == pytest.approx(0.0 - (0.1 + 0.5 + 1.0) / 3)


def test_empty_sets_give_zero_and_no_nan():
    cosine, norm = torch.full((1, 2, 2), 0.5, requires_grad=True), torch.full((1, 2, 2), 0.3)
    term = similarity_term(cosine, norm, 0.2, 0.4) + norm_term(norm, torch.zeros(1, 2, 2))
    assert float(term) == 0
    term.backward()
    assert torch.isfinite(cosine.grad).all()


def test_some_of_the_strong_cells_are_dropped():
    method = small_method("bridge", bridge={"share": 0.25, "theta": 0.8}).train()
    maps = torch.rand(300, 2, 4, 4) + 0.1
    plain, dropped = method.twice(maps).chunk(2)
    assert torch.equal(plain, maps)
    mean = maps.mean(dim=1)
    strong = mean >= 0.8 * mean.flatten(1).max(dim=1).values[:, None, None]
    gone = (dropped == 0).all(dim=1)
    assert not (gone & ~strong).any()
    assert torch.equal(dropped[(~gone)[:, None].expand_as(dropped)], maps[(~gone)[:, None].expand_as(maps)])
    assert float(gone.sum() / strong.sum()) == pytest.approx(0.25, abs=0.05)


@pytest.mark.parametrize("best_class", [True, False])
def test_terms_are_those_of_the_features(best_class):
    method, batch = small_method("bridge", bridge={"best_class": best_class, "start": 0.5}).train(), batch_of()
    output = method(batch.images)
    features, weights = output.aux["feature"], method.head.weight[:, :, 0, 0]
    cosine = torch.zeros(6, 3, 8, 8)
    for image in range(6):
        for label in range(3):
            products = (features[image] * weights[label][:, None, None]).sum(dim=0)
            cosine[image, label] = products / (features[image].norm(dim=0) * weights[label].norm()).clamp_min(1e-12)
    torch.testing.assert_close(output.aux["cosine"], cosine, rtol=1e-3, atol=1e-4)
    norm = torch.stack([(n - n.min()) / (n.max() - n.min()) for n in features.norm(dim=1)])
    own = cosine[range(6), batch.labels]
    method.start_epoch(5, 10)
    terms = method.losses(output, batch)
    torch.testing.assert_close(terms["similarity"], similarity_term(own, norm, 0.2, 0.4), rtol=1e-3, atol=1e-4)
    nearest = cosine.max(dim=1).values if best_class else own
    torch.testing.assert_close(terms["norm"], norm_term(norm, nearest), rtol=1e-2, atol=1e-3)
    torch.testing.assert_close(terms["drop"], F.l1_loss(features, output.aux["feature_b"]))
    total, _ = method.weigh(terms)
    expected = terms["cls"] + 2 * terms["drop"] + 0.5 * terms["similarity"] + 0.05 * terms["norm"]
    torch.testing.assert_close(total, expected)
    method.start_epoch(4, 10)
    early = method.losses(output, batch)
    assert early["similarity"] == early["norm"] == 0
