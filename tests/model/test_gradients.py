"""Which parameters learn from which term, and that every term can be learned."""

import pytest
import torch


def with_gradient(module):
    return {name for name, p in module.named_parameters() if p.grad is not None and bool(p.grad.any())}


def backward(method, batch, term=None):
    terms = method.losses(method(batch.images), batch)
    (method.weigh(terms)[0] if term is None else terms[term]).backward()


def test_the_total_reaches_all_of_the_methods_parameters_and_none_of_clips(make_method, batch, tiny_clip):
    method = make_method(with_sba=True)
    text = method.sba.text.clone()
    weights = {name: value.clone() for name, value in tiny_clip.model.state_dict().items()}
    backward(method, batch)
    assert with_gradient(method) == {name for name, _ in method.named_parameters()}
    assert not any("clip" in name or "sba" in name for name in method.state_dict())
    assert all(p.grad is None for p in tiny_clip.model.parameters())
    torch.optim.AdamW(method.parameters(), lr=0.1).step()
    assert torch.equal(method.sba.text, text)
    assert not method.sba.text.requires_grad
    for name, value in tiny_clip.model.state_dict().items():
        assert torch.equal(value, weights[name]), name


@pytest.mark.parametrize("term", ["sba", "ocm_suppress", "csm"])
def test_terms_on_the_attention_reach_queries_and_keys_of_every_block(make_method, batch, term):
    method = make_method(with_sba=True)
    backward(method, batch, term)
    for block in method.backbone.vit.blocks:
        query, key, _ = block.attn.qkv.weight.grad.chunk(3)
        assert query.any()
        assert key.any()
    # The last block's values and the final norm come after all attention.
    assert not method.backbone.vit.blocks[-1].attn.qkv.weight.grad.chunk(3)[2].any()
    assert "backbone.vit.norm.weight" not in with_gradient(method)


@pytest.mark.parametrize("mask", ["scaled", "literal", "fused"])
def test_sba_reaches_the_backbone_and_no_head(make_method, batch, mask):
    method = make_method(with_sba=True, sba={"mask": mask})
    backward(method, batch, "sba")
    reached = with_gradient(method)
    assert "backbone.vit.blocks.0.attn.qkv.weight" in reached
    assert [name for name in reached if not name.startswith("backbone.")] == []


@pytest.mark.parametrize(
    ("term", "modules"),
    [
        ("cls", {"backbone", "head"}),
        ("csm", {"backbone", "csm"}),
        ("ocm_suppress", {"backbone"}),
        ("ocm_awaken", {"backbone", "ocm"}),
        ("ski", {"backbone", "head", "csm", "ski"}),
    ],
)
def test_each_term_trains_its_own_modules(make_method, batch, term, modules):
    method = make_method()
    backward(method, batch, term)
    assert {name.split(".")[0] for name in with_gradient(method)} == modules


def test_awaken_to_attention_leaves_the_pseudo_map_alone(make_method, batch):
    method = make_method(ocm={"awaken_gradient": "to_attention"})
    backward(method, batch, "ocm_awaken")
    assert {name.split(".")[0] for name in with_gradient(method)} == {"backbone"}


@pytest.mark.parametrize("similarity", ["softmax", "clamp"])
def test_one_overfitted_batch_drives_every_term_down(make_method, batch, similarity):
    method = make_method(with_sba=True, sba={"similarity": similarity})
    optimiser = torch.optim.AdamW(method.parameters(), lr=3e-3)
    history = []
    for _ in range(80):
        terms = method.losses(method(batch.images), batch)
        total, _ = method.weigh(terms)
        optimiser.zero_grad()
        total.backward()
        optimiser.step()
        history.append({name: float(value.detach()) for name, value in terms.items()})
    first, last = history[0], history[-1]
    at_most = {"cls": 0.3, "csm": 0.7, "ski": 0.3, "ocm_suppress": 0.3, "ocm_awaken": 0.9, "sba": 0.6}
    assert at_most.keys() == first.keys()
    for name, share in at_most.items():
        assert last[name] < share * first[name], name
    assert (method(batch.images).logits.argmax(dim=1) == batch.labels).all()


def test_ocms_prior_teaches_its_weights_though_the_awakening_does_not(make_method, batch):
    method = make_method(ocm={"k": 2, "awaken_gradient": "to_attention", "prior": "rarity"}, guide={"enabled": True})
    backward(method, batch, "guide_ocm")
    assert {name.split(".")[0] for name in with_gradient(method)} == {"backbone", "ocm"}
