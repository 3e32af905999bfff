"""SCM: the diffusion against loops and the closed form, and what is left of it in evaluation."""

from __future__ import annotations

import pytest
import torch

from cdtr.config import load_config
from cdtr.config.modules.scm import ScmConfig
from cdtr.errors import ConfigError
from cdtr.model.diffusion import Diffusion, GridGraph, diffused, similar_neighbours, weighted_laplacian
from cdtr.model.methods import build_method, with_switches
from oracles import model_oracles as oracle
from oracles import transformer_oracles as slow

SCM = {"method": "scm"}


def graph_of(class_maps: torch.Tensor, strength: float) -> GridGraph:
    return weighted_laplacian(similar_neighbours(class_maps), torch.tensor(strength, dtype=class_maps.dtype))


@pytest.mark.parametrize("strength", [0.7, 1.0, 1.3])
def test_the_graph_has_four_neighbours_and_no_wrap(strength):
    class_maps = torch.randn(2, 5, 3, 4, dtype=torch.float64)
    graph = graph_of(class_maps, strength)
    maps = torch.randn(2, 3, 4, dtype=torch.float64)
    for image in range(2):
        expected = slow.grid_laplacian(class_maps[image], strength)
        torch.testing.assert_close(graph.dense()[image], expected)
        torch.testing.assert_close(graph.times(maps)[image].flatten(), expected @ maps[image].flatten())
        assert torch.equal(expected, expected.T)


@pytest.mark.parametrize("steps", [1, 4, 5, 6, 16])
def test_the_inverse_is_newton_schulz_and_its_closed_form(steps):
    class_maps = torch.randn(1, 5, 3, 4, dtype=torch.float64)
    maps = torch.rand(1, 3, 4, dtype=torch.float64)
    laplacian = slow.grid_laplacian(class_maps[0], 1.1)
    found = diffused(graph_of(class_maps, 1.1), maps, steps, 0.002).flatten()
    torch.testing.assert_close(found, slow.newton_schulz(laplacian, steps, 0.002) @ maps.flatten())
    torch.testing.assert_close(found, slow.newton_schulz_closed(laplacian, steps, 0.002) @ maps.flatten())


@pytest.mark.parametrize("steps", [4, 16])
def test_the_closed_form_is_bounded_and_symmetric(steps):
    matrix = torch.randn(9, 9, dtype=torch.float64)
    matrix = matrix + matrix.T
    inverse = slow.newton_schulz(matrix, steps, 0.002)
    torch.testing.assert_close(inverse, inverse.T)
    torch.testing.assert_close(inverse, slow.newton_schulz_closed(matrix, steps, 0.002))
    assert torch.linalg.eigvalsh(inverse).abs().max() < {4: 0.117, 16: 7.32}[steps]


@torch.no_grad()
def test_the_blocks_are_those_of_the_loops():
    config = ScmConfig(blocks=2, steps=(6, 4), lambda_init=1.2, beta_init=0.4)
    diffusion = Diffusion(config, (3, 4))
    class_maps, attention = torch.randn(2, 5, 3, 4), torch.rand(2, 3, 4)
    found = diffusion(class_maps, attention)
    for image in range(2):
        maps, evidence = attention[image], class_maps[image]
        for steps in config.steps:
            evidence, maps = slow.diffusion_block(evidence, maps, 1.2, 0.4, steps, 0.002)
        torch.testing.assert_close(found[image], evidence, rtol=1e-3, atol=1e-4)


def test_similarity_does_not_depend_on_gains():
    class_maps = torch.randn(2, 5, 3, 4)
    gains = 1 + torch.rand(2, 1, 3, 4)
    for before, after in zip(similar_neighbours(class_maps), similar_neighbours(class_maps * gains), strict=True):
        torch.testing.assert_close(before, after)


def test_a_lambda_of_less_than_one_inverts_the_map():
    peak = torch.zeros(1, 7, 7)
    peak[0, 3, 3] = 1
    alike = torch.ones(1, 4, 7, 7)
    spread = {strength: diffused(graph_of(alike, strength), peak, 4, 0.002)[0] for strength in (0.9, 1.1)}
    assert spread[1.1].argmax() == spread[0.9].argmin() == 24


@torch.no_grad()
def test_evaluation_is_tscam_with_scaled_attention(make_method, batch):
    scm, tscam = make_method(**SCM).eval(), make_method(method="tscam").eval()
    for parameter in scm.backbone.parameters():
        parameter.add_(torch.randn_like(parameter) * 0.1)
    tscam.load_state_dict({name: value for name, value in scm.state_dict().items() if "diffusion" not in name})
    output, baseline = scm(batch.images), tscam(batch.images)
    assert torch.equal(output.logits, baseline.logits)
    for image in range(6):
        expected = oracle.minmax(baseline.attention[image]) * baseline.aux["x_out"][image]
        torch.testing.assert_close(output.maps[image], expected)
    torch.testing.assert_close(output.logits, output.aux["x_out"].mean(dim=(2, 3)))
    with_branch = scm(batch.images, auxiliary=True)
    assert torch.equal(with_branch.maps, output.maps)
    assert with_branch.aux["scm_logits"].shape == (6, 3)
    assert not torch.allclose(with_branch.aux["scm_logits"], output.logits)
    del scm.diffusion
    assert torch.equal(scm(batch.images).maps, output.maps)


def test_the_loss_is_of_the_gated_maps_and_reaches_the_blocks_and_all_attention(make_method, batch):
    method = make_method(**SCM)
    output = method(batch.images)
    terms = method.losses(output, batch)
    assert list(terms) == ["cls"]
    assert float(terms["cls"].detach()) == pytest.approx(oracle.cross_entropy(output.aux["scm_logits"], batch.labels))
    total, lambdas = method.weigh(terms)
    assert lambdas == {}
    logged = {name: float(value) for name, value in output.aux.items() if value.ndim == 0}
    assert logged == {f"{name}_{n}": value for name, value in (("lambda", 1.0), ("beta", 0.5)) for n in (1, 2, 3, 4)}
    total.backward()
    assert all(method.diffusion.lambdas.grad != 0)
    assert all(method.diffusion.betas.grad != 0)
    for block in method.backbone.vit.blocks:
        query, key, _ = block.attn.qkv.weight.grad.chunk(3)
        assert query.any()
        assert key.any()


def test_constant_attention_gives_a_finite_loss_and_gradient():
    diffusion = Diffusion(ScmConfig(), (4, 4))
    class_maps = torch.randn(2, 3, 4, 4).requires_grad_()
    attention = torch.zeros(2, 4, 4, requires_grad=True)
    gated = diffusion(class_maps, attention)
    gated.square().mean().backward()
    torch.testing.assert_close(gated, class_maps)
    assert torch.isfinite(class_maps.grad).all()
    assert torch.isfinite(attention.grad).all()


def test_patches_without_evidence_give_no_nan():
    gated = Diffusion(ScmConfig(), (4, 4))(torch.zeros(1, 3, 4, 4), torch.rand(1, 4, 4))
    assert not gated.any()


def test_many_steps_on_many_patches_are_refused():
    with pytest.raises(ConfigError, match=r"784 x 784 patches .* set scm\.steps=\[4, 4, 4, 4\]"):
        Diffusion(ScmConfig(), (28, 28))
    Diffusion(ScmConfig(steps=(4, 4, 4, 4)), (28, 28))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["scm.steps=[16, 4]"], "steps has 2 numbers for 4 blocks"),
        (["csm.enabled=true"], "method scm has no CSM: set csm.enabled=false"),
        (["maps.evidence=mean"], "set maps.evidence=sum"),
    ],
)
def test_what_scm_does_not_have_is_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        build_method(load_config("small", ["method=scm", *changes]), 3)


def test_a_single_class_is_refused():
    with pytest.raises(ConfigError, match="method scm learns from what tells classes apart, and the data has 1 class"):
        build_method(load_config("small", ["method=scm"]), 1)


def test_the_released_recipe_is_its_own():
    config = with_switches(load_config("scm-cub"))
    assert config.data.augment == "crop_flip"
    assert config.data.repeats == 1
    assert config.train.schedule == "constant"
    assert config.evaluation.protocol == "tscam"
    assert config.backbone.attention_reduce == "mean"
