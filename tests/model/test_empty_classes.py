"""Images of classes without an object teach the classes, and neither guide nor OCM where an object is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from cdtr.model.guide import Guidance, Guide
from cdtr.model.methods.cdtr import Cdtr
from cdtr.records import Batch, ModelOutput

# Labels 0, 1, 2, 0, 1, 2 of the shared batch; class 2 has no object.
KEPT = [0, 1, 3, 4]
OF_OBJECTS = {"guide_attention", "guide_maps", "guide_ocm", "ocm_suppress", "ocm_awaken"}

MakeMethod = Callable[..., Cdtr]


@pytest.fixture(params=["border", "contrast", "none"])
def guided(make_method: MakeMethod, request: pytest.FixtureRequest) -> Cdtr:
    return make_method(guide={"enabled": True}, ocm={"k": 2, "prior": request.param})


def take(output: ModelOutput, indices: list[int]) -> ModelOutput:
    aux = {name: value[indices] if value.ndim else value for name, value in output.aux.items()}
    return ModelOutput(output.logits[indices], output.maps[indices], output.attention[indices], aux)


def part_of(batch: Batch, indices: list[int]) -> Batch:
    samples = tuple(batch.samples[index] for index in indices)
    return replace(batch, images=batch.images[indices], labels=batch.labels[indices], samples=samples)


def reset(method: Cdtr) -> None:
    """Forget the running agreement, which each computation of the losses moves."""
    assert method.guide is not None
    method.guide.agreement.zero_()


def losses(method: Cdtr, output: ModelOutput, batch: Batch, **changes: Any) -> dict[str, torch.Tensor]:
    reset(method)
    return method.losses(output, replace(batch, **changes))


def test_the_terms_that_assume_an_object_are_those_of_the_other_images(guided: Cdtr, batch: Batch) -> None:
    assert batch.labels.tolist() == [0, 1, 2, 0, 1, 2]
    output = guided(batch.images)
    found = losses(guided, output, batch, has_object=batch.labels != 2)
    assert guided.guide is not None
    agreement = guided.guide.agreement.clone()
    kept = losses(guided, take(output, KEPT), part_of(batch, KEPT))
    everything = losses(guided, output, batch)
    assert set(found) == set(everything)
    for name, term in found.items():
        torch.testing.assert_close(term, (kept if name in OF_OBJECTS else everything)[name], msg=name)
        if name in OF_OBJECTS:
            assert not torch.equal(term, everything[name]), name
    assert agreement[2] == 0
    reset(guided)


def test_where_all_have_an_object_nothing_changes_bit_by_bit(guided: Cdtr, batch: Batch) -> None:
    output = guided(batch.images)
    before = losses(guided, output, batch)
    found = losses(guided, output, batch, has_object=torch.ones(6, dtype=torch.bool))
    for name, term in before.items():
        assert torch.equal(term, found[name]), name


def test_a_batch_without_any_object_gives_zeros_with_a_gradient(guided: Cdtr, batch: Batch) -> None:
    output = guided(batch.images)
    found = losses(guided, output, batch, has_object=torch.zeros(6, dtype=torch.bool))
    assert {name: term.item() for name, term in found.items() if name in OF_OBJECTS} == dict.fromkeys(
        OF_OBJECTS & set(found), 0.0
    )
    total, _ = guided.weigh(found)
    total.backward()
    gradients = [one.grad for one in guided.parameters() if one.grad is not None]
    assert gradients
    assert all(torch.isfinite(one).all() for one in gradients)
    assert found["cls"].item() > 0


def test_an_empty_image_does_not_move_attention_or_pseudo_map(guided: Cdtr, batch: Batch) -> None:
    output = guided(batch.images)
    output.attention.retain_grad()
    output.aux["m_ocm"].retain_grad()
    found = losses(guided, output, batch, has_object=batch.labels != 2)
    torch.stack([term for name, term in found.items() if name in OF_OBJECTS]).sum().backward()
    for maps in (output.attention, output.aux["m_ocm"]):
        if maps.grad is not None:
            assert maps.grad[[2, 5]].abs().max() == 0
    assert output.attention.grad is not None
    assert output.attention.grad[KEPT].abs().max() > 0


def test_the_guide_still_classifies_them(batch: Batch, make_method: MakeMethod) -> None:
    guide = make_method(guide={"enabled": True}).guide
    assert isinstance(guide, Guide)
    seen = guide(batch.images)
    evidence = torch.randn(6, *guide.grid_hw)
    attention = evidence.flip(0)
    found = guide.losses(Guidance(seen.x_guide, None), attention, evidence, batch.labels)
    kept = guide.losses(
        Guidance(seen.x_guide, None), attention, evidence, batch.labels, has_object=torch.tensor([True] + [False] * 5)
    )
    assert torch.equal(found["guide"], kept["guide"])
    assert not torch.equal(found["guide_maps"], kept["guide_maps"])
