"""The automatic weighted loss against Eq. 2."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cdtr.config import WeightingConfig
from cdtr.model.weighting import AutomaticWeightedLoss
from oracles import model_oracles as oracle


@given(
    pairs=st.lists(st.tuples(st.floats(0, 20), st.floats(-3, 3)), min_size=1, max_size=5),
    epsilon=st.sampled_from([0.001, 0.01, 0.1]),
)
def test_total_equals_the_oracle(pairs, epsilon):
    names = [f"term{i}" for i in range(len(pairs))]
    weighting = AutomaticWeightedLoss(names, WeightingConfig(epsilon=epsilon))
    weighting.params.data = torch.tensor([value for _, value in pairs])
    # The order of the mapping must not matter: terms go by name.
    terms = {name: torch.tensor(loss) for name, (loss, _) in reversed(list(zip(names, pairs, strict=True)))}
    expected = oracle.automatic_loss([loss for loss, _ in pairs], [value for _, value in pairs], epsilon)
    assert float(weighting(terms).detach()) == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_lambdas_start_at_one_and_are_reported_by_name():
    weighting = AutomaticWeightedLoss(["cls", "csm"], WeightingConfig())
    assert weighting.lambdas() == {"cls": 1.0, "csm": 1.0}
    terms = {"cls": torch.tensor(2.0), "csm": torch.tensor(3.0)}
    assert float(weighting(terms).detach()) == pytest.approx((2 + 3) / 2.02 + 2 * math.log(2))


def test_no_weight_passes_fifty():
    weighting = AutomaticWeightedLoss(["a"], WeightingConfig())
    weighting.params.data.zero_()
    loss = torch.tensor(1.0, requires_grad=True)
    weighting({"a": loss}).backward()
    assert float(loss.grad) == pytest.approx(50.0)
    assert torch.isfinite(weighting.params.grad).all()


def test_a_loss_that_reaches_zero_does_not_end_in_nan():
    weighting = AutomaticWeightedLoss(["a"], WeightingConfig())
    optimiser = torch.optim.Adam(weighting.parameters(), lr=0.05)
    for _ in range(100):
        optimiser.zero_grad()
        total = weighting({"a": torch.tensor(0.0)})
        total.backward()
        optimiser.step()
    assert torch.isfinite(total)
    assert abs(weighting.lambdas()["a"]) < 0.2


def test_the_lambdas_learn_in_the_direction_of_the_equation():
    weighting = AutomaticWeightedLoss(["high", "low"], WeightingConfig(epsilon=0))
    weighting({"high": torch.tensor(4.0), "low": torch.tensor(0.1)}).backward()
    # d/dlambda of L / (2 lambda^2) + log(1 + lambda^2) at lambda = 1 is 1 - L.
    torch.testing.assert_close(weighting.params.grad, torch.tensor([-3.0, 0.9]))


def test_fixed_keeps_every_lambda_at_one():
    weighting = AutomaticWeightedLoss(["a"], WeightingConfig(mode="fixed"))
    assert [p for p in weighting.parameters() if p.requires_grad] == []
    loss = torch.tensor(3.0, requires_grad=True)
    weighting({"a": loss}).backward()
    assert weighting.lambdas() == {"a": 1.0}
    assert float(loss.grad) == 0.5, "1 / (2 lambda^2) of Eq. 2, without epsilon"
    assert weighting.params.grad is None


def test_fixed_is_half_the_sum_and_nothing_else():
    weighting = AutomaticWeightedLoss(["cls", "csm", "ski"], WeightingConfig(mode="fixed"))
    terms = {"cls": torch.tensor(2.0), "csm": torch.tensor(3.0), "ski": torch.tensor(0.5)}
    assert float(weighting(terms)) == 2.75


def test_a_missing_term_is_not_passed_over():
    with pytest.raises(KeyError, match="csm"):
        AutomaticWeightedLoss(["cls", "csm"], WeightingConfig())({"cls": torch.tensor(1.0)})
