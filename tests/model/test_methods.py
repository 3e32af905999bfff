"""Methods: which modules they have, what they answer, and how their terms are weighed."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from cdtr.config import Config, beyond_paper, load_config, preset_names
from cdtr.errors import ConfigError
from cdtr.model import methods
from cdtr.model.methods import (
    SWITCHES,
    build_method,
    catr,
    cdtr,
    check_bundle,
    lctr,
    method_names,
    sat,
    scm,
    tscam,
    with_switches,
)
from oracles import model_oracles as oracle

PSEUDO = ("dinov2-s", "dinov3-s", "imagenet")  # presets whose map is OCM's pseudo map
OTHERS = ("lctr", "sat", "scm", "trilite")  # methods of other papers, whose presets are for them alone
OFF = {name: {"enabled": False} for name in ("csm", "ocm", "ski", "sba")}


@pytest.mark.parametrize(
    ("method", "name", "parameters"),
    [
        (tscam, "tscam", 22_357_064),
        (catr, "catr", 22_929_159),
        (cdtr, "cdtr", 23_321_578),
        (scm, "scm", 22_357_072),
        (sat, "sat", 22_357_832),
        (lctr, "lctr", 25_761_232),
    ],
    ids=["tscam", "catr", "cdtr", "scm", "sat", "lctr"],
)
def test_parameters_with_deit_small_and_200_classes(deit_small, method, name, parameters):
    config = with_switches(Config().updated(method=name))
    built = method.build(config, 200, deit_small, None)
    assert sum(p.numel() for p in built.parameters()) == parameters


def test_the_width_as_printed_gives_fewer_parameters_than_published(deit_small):
    config = with_switches(Config().updated(csm={"width_factor": 1}))
    built = cdtr.build(config, 200, deit_small, None)
    assert round(sum(p.numel() for p in built.parameters()) / 1e6, 2) == 23.30


@pytest.mark.parametrize(
    ("method", "enabled"),
    [
        ("tscam", (False, False, False, False)),
        ("catr", (True, True, False, False)),
        ("cdtr", (True, True, True, "auto")),
    ],
)
def test_with_switches_fills_what_was_left_open(method, enabled):
    config = with_switches(Config().updated(method=method))
    assert tuple(getattr(config, name).enabled for name in ("csm", "ocm", "ski", "sba")) == enabled


def test_with_switches_keeps_what_was_said():
    config = with_switches(Config().updated(method="tscam", csm={"enabled": True}, sba={"enabled": True}))
    assert config.csm.enabled is True
    assert config.ocm.enabled is False
    assert config.ski.enabled is False
    assert config.sba.enabled is True
    assert with_switches(config) == config


def test_ski_without_csm_is_refused():
    with pytest.raises(ConfigError, match=r"ski\.enabled needs csm\.enabled"):
        with_switches(Config().updated(method="cdtr", csm={"enabled": False}))


def test_unknown_methods_name_the_nearest_and_the_choices():
    assert {"catr", "cdtr", "tscam"} <= set(method_names())
    with pytest.raises(ConfigError, match=r"unknown method 'ctdr', did you mean 'cdtr'\?; choose one of .*catr, cdtr"):
        build_method(Config().updated(method="ctdr"), 2)


@torch.no_grad()
def test_cdtr_with_all_switches_off_is_tscam(make_method, batch):
    bare, baseline = make_method(**OFF).eval(), make_method(method="tscam").eval()
    assert [n for n, _ in bare.named_parameters()] == [n for n, _ in baseline.named_parameters()]
    for parameter in bare.parameters():
        parameter.add_(torch.randn_like(parameter) * 0.1)
    baseline.load_state_dict(bare.state_dict())
    ours, theirs = bare(batch.images), baseline(batch.images)
    for name in ("logits", "maps", "attention"):
        assert torch.equal(getattr(ours, name), getattr(theirs, name)), name
    assert ours.aux.keys() == theirs.aux.keys() == {"x_out"}


@torch.no_grad()
def test_maps_are_equation_3(make_method, batch):
    method = make_method().eval()
    output = method(batch.images, auxiliary=True)
    x_out, x_csm = output.aux["x_out"], output.aux["x_csm"]
    for image in range(6):
        for label in range(3):
            expected = output.attention[image] * (x_out[image, label] + x_csm[image, label])
            torch.testing.assert_close(output.maps[image, label], expected)
    tokens = method.backbone(batch.images)
    torch.testing.assert_close(
        x_out, oracle.conv(tokens.patches, method.head.weight, method.head.bias), rtol=1e-3, atol=1e-5
    )
    torch.testing.assert_close(output.attention, tokens.attention.flatten(1, 2).mean(dim=1))
    torch.testing.assert_close(output.logits, x_out.flatten(2).mean(dim=-1))
    torch.testing.assert_close(output.aux["csm_logits"], x_csm.flatten(2).mean(dim=-1))
    torch.testing.assert_close(output.aux["ski_logits"], output.aux["x_ski"].flatten(2).mean(dim=-1))


@torch.no_grad()
def test_sum_heads_multiplies_the_attention_by_the_heads(make_method, batch):
    mean, summed = make_method().eval(), make_method(backbone={"attention_reduce": "sum_heads"}).eval()
    torch.testing.assert_close(summed(batch.images).attention, 2 * mean(batch.images).attention)


@pytest.mark.parametrize(
    ("training", "auxiliary", "has_ski"),
    [(True, None, True), (False, None, False), (True, False, False), (False, True, True)],
    ids=["train", "eval", "train-without", "eval-with"],
)
def test_ski_runs_only_where_it_is_needed(make_method, batch, training, auxiliary, has_ski):
    output = make_method().train(training)(batch.images, auxiliary)
    assert ("x_ski" in output.aux) is has_ski
    assert ("ski_logits" in output.aux) is has_ski


@torch.no_grad()
def test_auxiliary_branches_do_not_change_the_maps(make_method, batch):
    method = make_method().eval()
    assert torch.equal(method(batch.images, True).maps, method(batch.images, False).maps)


@torch.no_grad()
def test_terms_are_those_of_equation_2(make_method, batch):
    method = make_method(with_sba=True)
    output = method(batch.images)
    terms = method.losses(output, batch)
    assert list(terms) == ["cls", "csm", "ocm_suppress", "ocm_awaken", "ski", "sba"]
    scaled = torch.stack([oracle.minmax(grid) for grid in output.attention])
    expected = {
        "cls": oracle.cross_entropy(output.logits, batch.labels),
        "csm": oracle.cross_entropy(output.aux["csm_logits"], batch.labels),
        "ocm_suppress": oracle.suppression(scaled, 25),
        "ocm_awaken": oracle.awakening(scaled, output.aux["m_ocm"]),
        "ski": oracle.cross_entropy(output.aux["ski_logits"], batch.labels),
    }
    for name, value in expected.items():
        assert float(terms[name]) == pytest.approx(value, rel=1e-4), name
    total, lambdas = method.weigh(terms)
    weighed = oracle.automatic_loss(list(expected.values()), [1.0] * 5, 0.01) + 2.4 * float(terms["sba"])
    assert float(total) == pytest.approx(weighed, rel=1e-4)
    assert lambdas == dict.fromkeys(expected, 1.0)


@pytest.mark.parametrize(
    ("method", "names"),
    [("tscam", []), ("catr", ["cls", "csm", "ocm_suppress", "ocm_awaken"])],
)
@torch.no_grad()
def test_each_method_weighs_its_own_terms(make_method, batch, method, names):
    built = make_method(method=method)
    terms = built.losses(built(batch.images), batch)
    total, lambdas = built.weigh(terms)
    assert list(lambdas) == names
    if not names:
        assert total == terms["cls"]


@torch.no_grad()
def test_sba_alone_is_added_with_alpha(make_method, batch):
    method = make_method(with_sba=True, method="tscam")
    terms = method.losses(method(batch.images), batch)
    total, _ = method.weigh(terms)
    assert float(total) == pytest.approx(float(terms["cls"]) + 2.4 * float(terms["sba"]), rel=1e-5)


@torch.no_grad()
def test_fused_sba_masks_are_the_labels_own_maps(make_method, batch):
    method = make_method(with_sba=True, sba={"mask": "fused"})
    output = method(batch.images)
    label_maps = torch.stack(
        [
            output.aux["x_out"][image, label] + output.aux["x_csm"][image, label]
            for image, label in enumerate(batch.labels.tolist())
        ]
    )
    expected = method.sba.loss(batch.images, output.attention, label_maps, batch.labels)
    torch.testing.assert_close(method.losses(output, batch)["sba"], expected)


@torch.no_grad()
@pytest.mark.parametrize(
    ("changes", "sees"),
    [
        pytest.param({}, "clean", id="paper-without-erasing"),
        pytest.param(
            {"sba": {"image": "as_is"}, "data": {"input_size": (24, 24)}}, "erased", id="official-what-the-model-sees"
        ),
    ],
)
def test_which_pixels_clip_sees(make_method, batch, changes, sees):
    method = make_method(with_sba=True, **changes)
    images = torch.nn.functional.interpolate(batch.images, size=method.backbone.vit.patch_embed.img_size)
    pictures = {"clean": images, "erased": images * (torch.rand_like(images) > 0.3)}
    mixed = replace(batch, images=pictures["erased"], clean_images=pictures["clean"])
    output = method(mixed.images)
    found = method.losses(output, mixed)["sba"]
    for name, picture in pictures.items():
        expected = method.losses(output, replace(batch, images=picture, clean_images=None))["sba"]
        assert torch.equal(found, expected) is (name == sees)


@torch.no_grad()
def test_maps_do_not_depend_on_the_batch_size(make_method, batch):
    method = make_method().eval()
    images = torch.cat([batch.images, batch.images[:2] + 1])
    together = method(images)
    for index in range(8):
        alone = method(images[index : index + 1])
        torch.testing.assert_close(alone.maps[0], together.maps[index], rtol=1e-3, atol=1e-6)
        torch.testing.assert_close(alone.logits[0], together.logits[index], rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_bf16_autocast_keeps_maps_and_losses_in_float32(make_method, batch):
    method = make_method(with_sba=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = method(batch.images)
        terms = method.losses(output, batch)
        total, _ = method.weigh(terms)
    assert output.attention.dtype == output.maps.dtype == total.dtype == torch.float32
    exact = method.losses(method(batch.images), batch)
    for name, value in terms.items():
        assert float(value) == pytest.approx(float(exact[name]), rel=0.1, abs=0.02), name


@pytest.mark.parametrize("preset", [name for name in preset_names() if load_config(name).method not in OTHERS])
@pytest.mark.parametrize(("method", "on"), [("tscam", ""), ("catr", "csm ocm"), ("cdtr", "csm ocm ski sba")])
def test_presets_leave_the_modules_to_the_method(preset: str, method: str, on: str) -> None:
    changes = [f"method={method}", *(["maps.fuse=attention"] if preset in PSEUDO else [])]  # tscam has no OCM
    paper = load_config(preset, changes).updated(fidelity="paper")  # tscam has no other bundle
    config = with_switches(paper)
    # Some switch SBA off, others insist on it: their files say why.
    off = {"sba"} if preset in (*PSEUDO, "cnn-imagenet", "cub-50-small", "tiny-imagenet-small") else set()
    insisted = {"sba"} if preset.removesuffix("-official") in ("neu-det", "brain-tumor") else set()
    expected = set(on.split()) - off | insisted
    assert [name for name in SWITCHES if getattr(config, name).enabled] == [n for n in SWITCHES if n in expected]


@pytest.mark.parametrize("preset", PSEUDO)
def test_a_method_without_ocm_takes_the_attention_for_the_pseudo_map(preset: str) -> None:
    assert beyond_paper(with_switches(load_config(preset, ["method=tscam"])))["fuse"] == "attention maps"
    with_ocm = "maps with the prior" if preset == "imagenet" else "pseudo maps"
    assert beyond_paper(with_switches(load_config(preset)))["fuse"] == with_ocm


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["backbone.weights=none"], r"random weights would never learn: set backbone\.frozen=false"),
        (
            ["backbone.stem=cnn", "backbone.weights=x.pth", "backbone.cnn.frozen=false"],
            "needs backbone.cnn.frozen",
        ),
    ],
)
def test_what_cannot_be_frozen(changes: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        with_switches(load_config("cub", ["backbone.frozen=true", *changes]))


@pytest.mark.parametrize("name", ["cdtr", "catr"])
def test_released_settings_are_those_of_cdtr_and_catr(name: str) -> None:
    assert with_switches(load_config(None, ["fidelity=official", f"method={name}"])).fidelity == "official"


def test_released_settings_are_refused_for_a_method_that_has_none() -> None:
    config = load_config("cub-official", ["method=tscam"])
    for refuse in (check_bundle, with_switches):
        with pytest.raises(
            ConfigError, match=r"fidelity: official is not for method tscam, .* catr and cdtr .*: choose"
        ):
            refuse(config)
    assert with_switches(config.updated(fidelity="paper")).method == "tscam"


def test_a_method_file_that_says_nothing_of_bundles_has_the_papers_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "plain.py").write_text("MODULES = frozenset()\n")
    monkeypatch.setattr(methods, "__path__", [*methods.__path__, str(tmp_path)])
    check_bundle(Config().updated(method="plain"))
    with pytest.raises(ConfigError, match="is not for method plain"):
        check_bundle(Config().updated(method="plain", fidelity="official"))
