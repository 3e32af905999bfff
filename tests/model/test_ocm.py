"""OCM's pseudo map and its two losses against Eqs. 5 to 8."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cdtr.config import OcmConfig
from cdtr.errors import ConfigError
from cdtr.model.ocm import Ocm, suppression_loss
from oracles import model_oracles as oracle


def make(**changes):
    return Ocm(depth=4, heads=3, config=OcmConfig(k=2).model_copy(update=changes))


@given(
    # Few distinct values, so that ties with the percentile are common.
    maps=st.integers(1, 30).flatmap(
        lambda n: st.lists(
            st.lists(st.sampled_from([0.0, 0.1, 0.25, 0.5, 1.0]), min_size=n, max_size=n), min_size=1, max_size=3
        )
    ),
    percent=st.integers(0, 100),
)
def test_suppression_equals_the_oracle(maps, percent):
    grid = torch.tensor(maps)[:, None, :]
    assert float(suppression_loss(grid, percent / 100)) == pytest.approx(oracle.suppression(grid, percent), abs=1e-6)


@pytest.mark.parametrize(
    ("values", "p", "expected"),
    [
        pytest.param([1, 2, 3, 4], 0.0, 0.0, id="p-0-nothing-is-clutter"),
        pytest.param([1, 2, 3, 4], 1.0, 2.5, id="p-1-everything-is-clutter"),
        pytest.param([1, 2, 3, 4], 0.25, 0.25, id="one-value"),
        pytest.param([1, 2, 3, 4], 0.24, 0.0, id="rank-below-one"),
        pytest.param([1, 1, 1, 4], 0.25, 0.75, id="ties-with-the-percentile-count"),
        pytest.param([2, 2, 2, 2], 0.25, 2.0, id="constant-map"),
        pytest.param([0, 0, 0, 0], 0.5, 0.0, id="zero-map"),
    ],
)
def test_suppression_table(values, p, expected):
    assert float(suppression_loss(torch.tensor([values]).float()[:, None], p)) == pytest.approx(expected)


def test_a_percent_that_floating_point_misses_keeps_its_rank():
    # 0.29 * 100 is 28.999999999999996, and the 29 lowest of 1..100 are meant.
    values = torch.arange(1.0, 101.0).reshape(1, 10, 10)
    assert float(suppression_loss(values, 0.29)) == pytest.approx(sum(range(1, 30)) / 100)


def test_suppression_is_per_image():
    quiet, loud = torch.rand(1, 4, 4), 100 + torch.rand(1, 4, 4)
    together = suppression_loss(torch.cat([quiet, loud]), 0.25)
    apart = (suppression_loss(quiet, 0.25) + suppression_loss(loud, 0.25)) / 2
    torch.testing.assert_close(together, apart)


@pytest.mark.parametrize("p", [0.0, 0.25, 1.0])
def test_suppression_gradient_reaches_the_clutter_only(p):
    maps = torch.rand(2, 4, 4, requires_grad=True)
    suppression_loss(maps, p).backward()
    for grid, gradient in zip(maps, maps.grad, strict=True):
        ranked = grid.flatten().argsort()
        cut = int(16 * p)
        assert (gradient.flatten()[ranked[:cut]] == 1 / 32).all()
        assert (gradient.flatten()[ranked[cut:]] == 0).all()


def test_losses_scaled_take_each_map_to_the_unit_interval_first():
    m_ca, m_ocm = torch.rand(3, 4, 4) / 196, torch.rand(3, 4, 4)
    scaled = torch.stack([oracle.minmax(grid) for grid in m_ca])
    terms = make(p=0.25).losses(m_ca, m_ocm)
    assert set(terms) == {"ocm_suppress", "ocm_awaken"}
    assert float(terms["ocm_suppress"]) == pytest.approx(oracle.suppression(scaled, 25), rel=1e-5)
    assert float(terms["ocm_awaken"]) == pytest.approx(oracle.awakening(scaled, m_ocm), rel=1e-5)


def test_losses_literal_are_the_equations_as_printed():
    m_ca, m_ocm = torch.rand(3, 4, 4) / 196, torch.rand(3, 4, 4)
    terms = make(suppress="literal", awaken="literal").losses(m_ca, m_ocm)
    assert float(terms["ocm_suppress"]) == pytest.approx(oracle.suppression(m_ca, 25), rel=1e-5)
    assert float(terms["ocm_awaken"]) == pytest.approx(oracle.awakening(m_ca, m_ocm), rel=1e-5)


def test_losses_official_sum_over_the_batch_and_compare_every_pair():
    m_ca, m_ocm = torch.rand(3, 4, 4), torch.rand(3, 4, 4)
    terms = make(suppress="official", awaken="official").losses(m_ca, m_ocm)
    pairs = [oracle.awakening(a[None], o[None]) for a in m_ca for o in m_ocm]
    # Of 16 values the released code sorts and takes number 4 from zero: the five lowest are clutter.
    clutter = sum(sum(sorted(grid.flatten().tolist())[:5]) for grid in m_ca) / 16
    assert float(terms["ocm_suppress"]) == pytest.approx(clutter, rel=1e-5)
    assert float(terms["ocm_awaken"]) == pytest.approx(sum(pairs) / len(pairs), rel=1e-5)


def test_official_suppression_of_everything_is_everything():
    m_ca = torch.rand(2, 4, 4)
    terms = make(suppress="official", p=1.0).losses(m_ca, torch.rand(2, 4, 4))
    assert float(terms["ocm_suppress"]) == pytest.approx(float(m_ca.sum()) / 16, rel=1e-5)


def test_the_statistics_move_with_the_momentum_asked_for():
    norms = [m for m in make(norm_momentum=0.1).modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert [norm.momentum for norm in norms] == [0.1] * 3


@pytest.mark.parametrize("mode", ["scaled", "literal", "official"])
def test_losses_of_a_constant_map_have_a_bounded_gradient(mode):
    m_ca = torch.full((2, 4, 4), 1 / 16, requires_grad=True)
    terms = make(suppress=mode, awaken=mode).losses(m_ca, torch.rand(2, 4, 4))
    sum(terms.values()).backward()
    assert torch.isfinite(m_ca.grad).all()
    assert m_ca.grad.abs().max() < 10


@pytest.mark.parametrize(
    ("gradient", "reaches_attention", "reaches_pseudo_map"),
    [("both", True, True), ("to_attention", True, False), ("to_pseudo_map", False, True)],
)
@pytest.mark.parametrize("mode", ["scaled", "literal", "official"])
def test_awaken_gradient(mode, gradient, reaches_attention, reaches_pseudo_map):
    m_ca = torch.rand(2, 4, 4, requires_grad=True)
    m_ocm = torch.rand(2, 4, 4, requires_grad=True)
    make(awaken=mode, awaken_gradient=gradient).losses(m_ca, m_ocm)["ocm_awaken"].backward()
    assert (m_ca.grad is not None and bool(m_ca.grad.any())) is reaches_attention
    assert (m_ocm.grad is not None and bool(m_ocm.grad.any())) is reaches_pseudo_map


@pytest.mark.parametrize("norm", [True, False], ids=["norm", "plain"])
@pytest.mark.parametrize(("blocks", "used"), [("first", (0, 1)), ("last", (2, 3))])
def test_pseudo_map_equals_the_oracle(norm, blocks, used):
    ocm = make(norm=norm, blocks=blocks)
    attention = torch.rand(2, 4, 3, 3, 5)
    maps = [oracle.conv_norm_act(layers, attention[:, b]) for layers, b in zip(ocm.per_block, used, strict=True)]
    expected = 1 / (1 + torch.exp(-oracle.conv_norm_act(ocm.join, torch.cat(maps, dim=1), act=False)))
    torch.testing.assert_close(ocm(attention), expected[:, 0], rtol=1e-4, atol=1e-5)


def test_more_blocks_than_the_backbone_has_are_refused():
    with pytest.raises(ConfigError, match=r"ocm\.k = 9, but the backbone has 4 blocks"):
        Ocm(depth=4, heads=3, config=OcmConfig(k=9))
