"""The local guide, and the alignment of maps with it."""

import numpy as np
import pytest
import torch

from cdtr.config import GuideConfig
from cdtr.errors import ConfigError
from cdtr.model.guide import Guidance, Guide, alignment_loss, middle
from cdtr.model.maps import correlation


def test_correlation_equals_numpys() -> None:
    first, second = torch.randn(2, 5, 4, 6, generator=torch.Generator().manual_seed(0))
    expected = [np.corrcoef(a.flatten(), b.flatten())[0, 1] for a, b in zip(first, second, strict=True)]
    np.testing.assert_allclose(correlation(first, second), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("sign", "loss"), [(1.0, 0.0), (-1.0, 2.0), (0.0, 1.0)], ids=["aligned", "inside out", "constant"]
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


def test_with_ocms_prior_everything_learns_where_the_image_is_rare(make_method, batch) -> None:  # type: ignore[no-untyped-def]
    method = make_method(guide={"enabled": True}, ocm={"k": 2, "prior": "rarity"})
    output = method(batch.images)
    terms = method.losses(output, batch)
    rare = output.aux["rarity"]
    assert rare.shape == (6, 4, 4)
    for name, maps in (("guide_attention", output.attention), ("guide_ocm", output.aux["m_ocm"])):
        torch.testing.assert_close(terms[name], 1 - correlation(maps, rare).mean())
    terms["guide_ocm"].backward()
    assert any(parameter.grad is not None for parameter in method.ocm.parameters())
    assert all(parameter.grad is None for parameter in method.guide.parameters())


def test_evidence_counts_as_far_as_it_agrees_with_rarity(make_method, batch) -> None:  # type: ignore[no-untyped-def]
    """A class whose background gives it away has a negative agreement, and its evidence turns round."""
    method = make_method(guide={"enabled": True}, ocm={"k": 2, "prior": "rarity"})
    guide, labels = method.guide, torch.tensor([0, 0, 1])
    rare = torch.randn(3, 4, 4, generator=torch.Generator().manual_seed(4))
    x_guide = torch.zeros(3, 3, 4, 4)
    x_guide[:2, 0], x_guide[2, 1] = -rare[:2], rare[2]
    for _ in range(300):
        guide.losses(Guidance(x_guide, rare), rare, rare, labels, rare, rare=True)
    assert guide.agreement.tolist() == pytest.approx([-1, 1, 0], abs=0.01)
    found = guide.losses(Guidance(x_guide, rare), rare, rare, labels, rare, rare=True)
    assert found["guide_maps"].item() == pytest.approx(0, abs=1e-4)
    before = guide.agreement.clone()
    guide.eval().losses(Guidance(-x_guide, rare), rare, rare, labels, rare, rare=True)
    assert guide.agreement.equal(before), "evaluation teaches nothing"


def test_rarity_needs_the_guide(make_method) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ConfigError, match=r"ocm\.prior rarity needs guide\.enabled"):
        make_method(ocm={"k": 2, "prior": "rarity"})


def test_every_image_of_a_batch_moves_the_agreement_in_any_order(make_method, batch) -> None:  # type: ignore[no-untyped-def]
    found = []
    for order in (slice(None), slice(None, None, -1)):
        guide = make_method(guide={"enabled": True}, ocm={"k": 2, "prior": "rarity"}).guide
        seen = guide(batch.images)
        turned = Guidance(seen.x_guide[list(range(6))[order]], seen.rarity[list(range(6))[order]])
        labels = batch.labels[list(range(6))[order]]
        guide.losses(turned, turned.rarity, turned.rarity, labels, turned.rarity, rare=True)
        own = seen.x_guide[torch.arange(6), batch.labels]
        found.append(guide.agreement)
    mean = correlation(own, seen.rarity)[batch.labels == 1].mean().item()
    assert found[0][1].item() == pytest.approx((1 - 0.98**2) * mean, rel=1e-4)
    torch.testing.assert_close(found[0], found[1])


def test_what_is_rare_by_chance_is_not_believed_and_the_middle_is_taught(make_method, batch) -> None:  # type: ignore[no-untyped-def]
    """Class 0: evidence against rarity in every image. Class 1: now with it, now against it."""
    guide = make_method(guide={"enabled": True, "filled": "middle"}, ocm={"k": 2, "prior": "rarity"}).guide
    labels = torch.tensor([0, 0, 1, 1])
    rare = torch.randn(4, 4, 4, generator=torch.Generator().manual_seed(5))
    x_guide = torch.zeros(4, 3, 4, 4)
    x_guide[:2, 0], x_guide[2, 1], x_guide[3, 1] = -rare[:2], rare[2], -rare[3]
    for _ in range(300):
        guide.losses(Guidance(x_guide, rare), rare, rare, labels, rare, rare=True)
    assert guide.belief()[:2].tolist() == pytest.approx([1, 0], abs=0.01)
    taught = torch.cat([rare[:2], middle((4, 4)).expand(2, 4, 4)])
    terms = guide.losses(Guidance(x_guide, rare), taught, taught, labels, taught, rare=True)
    assert terms["guide_attention"].item() == pytest.approx(0, abs=0.01)
    assert terms["guide_ocm"].item() == pytest.approx(0, abs=0.01)
    assert terms["guide_maps"].item() == pytest.approx(0, abs=0.01)


@pytest.mark.parametrize("grid", [(16, 16), (8, 14)], ids=["square", "wide"])
def test_the_box_of_the_middle_is_most_of_the_image(grid: tuple[int, int]) -> None:
    heights = middle(grid)
    scaled = (heights - heights.min()) / (heights.max() - heights.min())
    assert heights.equal(heights.flip(0))
    assert heights.equal(heights.flip(1))
    inside = (scaled >= 0.5).nonzero()
    rows, columns = (inside.max(dim=0).values - inside.min(dim=0).values + 1).tolist()
    assert rows * columns >= 0.5 * grid[0] * grid[1]
