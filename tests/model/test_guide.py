"""The local guide, and the alignment of maps with it."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from cdtr.config import GuideConfig
from cdtr.errors import ConfigError, DataError
from cdtr.model.guide import Guidance, Guide, alignment_loss
from cdtr.model.maps import correlation


def test_correlation_equals_numpys() -> None:
    first, second = torch.randn(2, 5, 4, 6, generator=torch.Generator().manual_seed(0))
    expected = [np.corrcoef(a.flatten(), b.flatten())[0, 1] for a, b in zip(first, second, strict=True)]
    np.testing.assert_allclose(correlation(first, second), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("sign", "loss"), [(1.0, 0.0), (-1.0, 2.0), (0.0, 1.0)], ids=["aligned", "inverted", "constant"]
)
def test_the_loss_knows_the_sign(sign: float, loss: float) -> None:
    evidence = torch.randn(3, 4, 4, generator=torch.Generator().manual_seed(1))
    assert alignment_loss(2 + 0.01 * sign * evidence, evidence).item() == pytest.approx(loss, abs=1e-4)


def test_only_the_attention_learns_and_it_turns_round() -> None:
    evidence = torch.randn(1, 4, 4, generator=torch.Generator().manual_seed(2)).requires_grad_()
    attention = (-evidence.detach()).clone().requires_grad_()
    optimiser = torch.optim.SGD([attention], lr=1.0)
    for _ in range(200):
        optimiser.zero_grad()
        # A little off the exact opposite, where the correlation has no slope.
        alignment_loss(attention + torch.linspace(0, 0.1, 16).reshape(1, 4, 4), evidence).backward()
        optimiser.step()
    assert evidence.grad is None
    assert correlation(attention.detach(), evidence.detach()).item() > 0.9


@pytest.mark.parametrize(("patch", "grid"), [(8, (4, 6)), (16, (2, 3)), (14, (3, 2))], ids=["8", "16", "14"])
def test_a_map_value_sees_its_neighbourhood_only(patch: int, grid: tuple[int, int]) -> None:
    guide = Guide(3, grid, patch, GuideConfig()).eval()
    images = torch.randn(1, 3, grid[0] * patch, grid[1] * patch, requires_grad=True)
    maps = guide(images).x_guide
    assert maps.shape == (1, 3, *grid)
    maps[0, 0, 0, 0].backward()
    assert images.grad is not None
    rows, columns = images.grad.abs().sum(dim=(0, 1)).nonzero().max(dim=0).values.tolist()
    assert max(rows, columns) < 2 * patch + 2


def test_its_terms_and_gradients(make_method, batch) -> None:  # type: ignore[no-untyped-def]
    method = make_method(guide={"enabled": True})
    output = method(batch.images)
    terms = method.losses(output, batch)
    assert {"guide", "guide_attention", "guide_maps"} <= set(terms)
    without = {name: term for name, term in terms.items() if not name.startswith("guide")}
    total, partial = method.weigh(terms)[0], method.weigh(without)[0]
    guided = terms["guide"] + terms["guide_attention"] + terms["guide_maps"]
    torch.testing.assert_close(total, partial + guided)
    (terms["guide_attention"] + terms["guide_maps"]).backward()
    assert all(parameter.grad is None for parameter in method.guide.parameters()), "the guide is not taught by them"
    assert any(parameter.grad is not None for parameter in method.backbone.parameters())
    assert "x_guide" not in method.eval()(batch.images).aux


@pytest.mark.parametrize("prior", ["border", "contrast", "rarity"])
def test_with_ocms_prior_everything_learns_where_it_is(make_method, batch, prior) -> None:  # type: ignore[no-untyped-def]
    method = make_method(guide={"enabled": True}, ocm={"k": 2, "prior": prior})
    output = method(batch.images)
    terms = method.losses(output, batch)
    objects = output.aux["prior"]
    assert objects.shape == (6, 4, 4)
    for name, maps in (("guide_attention", output.attention), ("guide_ocm", output.aux["m_ocm"])):
        torch.testing.assert_close(terms[name], 1 - correlation(maps, objects).mean())
    terms["guide_ocm"].backward()
    assert any(parameter.grad is not None for parameter in method.ocm.parameters())
    assert all(parameter.grad is None for parameter in method.guide.parameters())


def test_attention_may_have_the_prior_without_ocm(make_method, batch) -> None:  # type: ignore[no-untyped-def]
    method = make_method(guide={"enabled": True, "attention": "border"}, ocm={"enabled": False})
    output = method(batch.images)
    terms = method.losses(output, batch)
    assert "guide_ocm" not in terms
    torch.testing.assert_close(terms["guide_attention"], 1 - correlation(output.attention, output.aux["prior"]).mean())


def test_evidence_counts_as_far_as_it_agrees_with_the_prior(make_method, batch) -> None:  # type: ignore[no-untyped-def]
    """A class whose background gives it away has a negative agreement, and its evidence turns round."""
    method = make_method(guide={"enabled": True}, ocm={"k": 2, "prior": "border"})
    guide, labels = method.guide, torch.tensor([0, 0, 1])
    prior = torch.randn(3, 4, 4, generator=torch.Generator().manual_seed(4))
    x_guide = torch.zeros(3, 3, 4, 4)
    x_guide[:2, 0], x_guide[2, 1] = -prior[:2], prior[2]
    for _ in range(300):
        guide.losses(Guidance(x_guide, prior), prior, prior, labels, prior)
    assert guide.agreement.tolist() == pytest.approx([-1, 1, 0], abs=0.01)
    found = guide.losses(Guidance(x_guide, prior), prior, prior, labels, prior)
    assert found["guide_maps"].item() == pytest.approx(0, abs=1e-4)
    before = guide.agreement.clone()
    guide.eval().losses(Guidance(-x_guide, prior), prior, prior, labels, prior)
    assert guide.agreement.equal(before), "evaluation teaches nothing"


def test_a_prior_needs_the_guide(make_method) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ConfigError, match=r"ocm\.prior border needs guide\.enabled"):
        make_method(ocm={"k": 2, "prior": "border"})


def test_every_image_of_a_batch_moves_the_agreement_in_any_order(make_method, batch) -> None:  # type: ignore[no-untyped-def]
    found = []
    for order in (list(range(6)), list(range(6))[::-1]):
        guide = make_method(guide={"enabled": True}, ocm={"k": 2, "prior": "border"}).guide
        seen = guide(batch.images)
        prior, labels = seen.prior[order], batch.labels[order]
        guide.losses(Guidance(seen.x_guide[order], prior), prior, prior, labels, prior)
        own = seen.x_guide[torch.arange(6), batch.labels]
        found.append(guide.agreement)
    mean = correlation(own, seen.prior)[batch.labels == 1].mean().item()
    assert found[0][1].item() == pytest.approx((1 - 0.98**2) * mean, rel=1e-4)
    torch.testing.assert_close(found[0], found[1])


def test_maps_of_the_batch_are_the_prior(make_method, batch) -> None:  # type: ignore[no-untyped-def]
    """Each patch of the 4x4 grid has the mean of its 8x8 pixels, and attention and pseudo map learn that."""
    method = make_method(
        guide={"enabled": True}, ocm={"k": 2, "prior": "maps"}, data={"prior_maps": "somewhere", "augment": "none"}
    )
    maps = torch.rand(6, 32, 32, generator=torch.Generator().manual_seed(5))
    patches = maps.reshape(6, 4, 8, 4, 8).mean(dim=(2, 4))
    output = method(batch.images)
    assert "prior" not in output.aux
    terms = method.losses(output, replace(batch, prior=maps))
    for name, seen in (("guide_attention", output.attention), ("guide_ocm", output.aux["m_ocm"])):
        torch.testing.assert_close(terms[name], 1 - correlation(seen, patches).mean())
    with pytest.raises(DataError, match=r"the batch has none: expected Batch\.prior"):
        method.losses(output, batch)


def test_a_constant_map_teaches_nothing_and_breaks_nothing(make_method, batch) -> None:  # type: ignore[no-untyped-def]
    method = make_method(
        guide={"enabled": True}, ocm={"k": 2, "prior": "maps"}, data={"prior_maps": "somewhere", "augment": "none"}
    )
    output = method(batch.images)
    terms = method.losses(output, replace(batch, prior=torch.zeros(6, 32, 32)))
    assert terms["guide_attention"].item() == terms["guide_ocm"].item() == 1
    method.weigh(terms)[0].backward()
    gradients = [parameter.grad for parameter in method.parameters() if parameter.grad is not None]
    assert gradients
    assert all(gradient.isfinite().all() for gradient in gradients)
