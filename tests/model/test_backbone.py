"""The backbone's patch tokens and class-token attention against timm's own unfused path."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from cdtr.config import BackboneConfig, DataConfig
from cdtr.errors import CheckpointError, ConfigError
from cdtr.model.backbone import ClassTokenRows, build_backbone
from oracles import model_oracles as oracle

TINY = {"embed_dim": 48, "depth": 2, "num_heads": 2}
CASES = [
    pytest.param("vit_tiny_patch16_224", (32, 32), {"patch_size": 8}, "patch", (4, 4), 1, id="vit-patch8"),
    pytest.param("deit_small_patch16_224", (32, 64), {}, "patch", (2, 4), 1, id="deit-rectangle"),
    pytest.param("deit_small_distilled_patch16_224", (48, 32), {}, "patch", (3, 2), 2, id="deit-distilled"),
    pytest.param("deit3_small_patch16_224", (48, 32), {}, "patch", (3, 2), 1, id="deit3"),
    pytest.param("vit_small_patch14_reg4_dinov2", (56, 42), {}, "patch", (4, 3), 5, id="dinov2-registers"),
    pytest.param("vit_small_patch16_dinov3", (64, 48), {}, "patch", (4, 3), 5, id="dinov3-rope"),
    pytest.param("vit_tiny_patch16_224", (32, 48), {"qk_norm": True}, "patch", (2, 3), 1, id="query-key-norm"),
    pytest.param("vit_relpos_base_patch16_cls_224", (32, 48), {}, "patch", (2, 3), 1, id="relative-positions"),
    pytest.param("beit_base_patch16_224", (48, 32), {}, "patch", (3, 2), 1, id="beit"),
    pytest.param("vit_tiny_patch16_224", (32, 48), {"patch_size": 8}, "conv", (4, 6), 1, id="conv-stem"),
]


def make(name, size, overrides, stem="patch"):
    config = BackboneConfig(name=name, weights="none", stem=stem, overrides={**TINY, **overrides})
    backbone = build_backbone(config, DataConfig(input_size=size)).eval()
    with torch.no_grad():
        for parameter in backbone.parameters():
            # timm starts close to uniform attention, where a wrong map would look right.
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return backbone


@pytest.mark.parametrize(("name", "size", "overrides", "stem", "grid", "prefix"), CASES)
def test_every_weight_learns(name, size, overrides, stem, grid, prefix):
    """One that does not, as a norm that is passed by, also stops a training with several processes."""
    backbone = make(name, size, overrides, stem)
    tokens = backbone(torch.randn(2, 3, *size))
    sum(part.square().sum() for part in (tokens.patches, tokens.class_token, tokens.attention)).backward()
    assert [name for name, weight in backbone.named_parameters() if weight.grad is None] == []


@pytest.mark.parametrize(("name", "size", "overrides", "stem", "grid", "prefix"), CASES)
@torch.no_grad()
def test_tokens_equal_timm(name, size, overrides, stem, grid, prefix):
    backbone = make(name, size, overrides, stem)
    images = torch.randn(2, 3, *size)
    tokens = backbone(images)
    assert backbone.grid_hw == grid
    assert tokens.attention.shape == (2, 2, 2, *grid)

    matrices = oracle.class_token_attention(copy.deepcopy(backbone.vit), images)
    expected = matrices[:, :, :, 0, prefix:].reshape(2, 2, 2, *grid)
    assert expected.std() > 1e-3
    torch.testing.assert_close(tokens.attention, expected, rtol=1e-4, atol=1e-6)

    features = backbone.vit.fc_norm(backbone.vit.forward_features(images))
    torch.testing.assert_close(tokens.class_token, features[:, 0])
    for row in range(grid[0]):
        for column in range(grid[1]):
            torch.testing.assert_close(tokens.patches[:, :, row, column], features[:, prefix + row * grid[1] + column])


@pytest.mark.parametrize(("name", "size", "overrides", "stem", "grid", "prefix"), CASES)
def test_a_frozen_one_has_no_gradients_and_trains_as_it_is_evaluated(name, size, overrides, stem, grid, prefix):
    backbone = make(name, size, overrides, stem)
    images = torch.randn(2, 3, *size)
    before = backbone(images)
    state = {key: value.clone() for key, value in backbone.state_dict().items()}
    backbone.freeze()
    after = backbone.train()(images)
    for part in ("patches", "class_token", "attention"):
        torch.testing.assert_close(getattr(before, part).detach(), getattr(after, part))
        assert not getattr(after, part).requires_grad
    assert all(torch.equal(value, state[key]) for key, value in backbone.state_dict().items())


@torch.no_grad()
def test_attention_equals_a_softmax_by_hand():
    backbone = make("vit_tiny_patch16_224", (32, 32), {"patch_size": 8})
    inputs = []
    for block in backbone.vit.blocks:
        block.attn.register_forward_pre_hook(lambda _module, args: inputs.append(args[0]))
    tokens = backbone(torch.randn(2, 3, 32, 32))
    for index, block in enumerate(backbone.vit.blocks):
        matrix = oracle.attention_from_qkv(inputs[index], block.attn)
        torch.testing.assert_close(tokens.attention[:, index].flatten(2), matrix[:, :, 0, 1:], rtol=1e-4, atol=1e-6)


@torch.no_grad()
def test_each_map_is_what_the_class_token_leaves_for_the_patches():
    backbone = make("vit_small_patch14_reg4_dinov2", (56, 42), {})
    images = torch.randn(2, 3, 56, 42)
    kept = backbone(images).attention.sum(dim=(-2, -1))
    matrices = oracle.class_token_attention(copy.deepcopy(backbone.vit), images)
    torch.testing.assert_close(kept, 1 - matrices[:, :, :, 0, :5].sum(dim=-1))


class LargestSquare(TorchDispatchMode):
    """The largest n such that some operation answered a tensor whose two last sizes are both at least n."""

    def __init__(self):
        super().__init__()
        self.side = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(tensor, torch.Tensor) and tensor.dim() >= 2:
                self.side = max(self.side, min(tensor.shape[-2:]))
        return result


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "vit_small_patch16_dinov3"])
def test_no_attention_matrix_is_created(name, training):
    # 256 patches of 4 px from 64 px: no other tensor of this model has two sides that large.
    backbone = make(name, (64, 64), {"patch_size": 4}).train(training)
    images = torch.randn(1, 3, 64, 64)
    with LargestSquare() as fused:
        backbone(images)
    assert fused.side < 256
    with LargestSquare() as unfused:
        oracle.class_token_attention(copy.deepcopy(backbone.vit), images)
    assert unfused.side >= 256, "the probe would not see a matrix if there was one"


@torch.no_grad()
def test_maps_do_not_depend_on_the_batch_size():
    backbone = make("vit_tiny_patch16_224", (32, 32), {"patch_size": 8}, "conv")
    images = torch.randn(8, 3, 32, 32)
    together = backbone(images)
    for index in range(8):
        alone = backbone(images[index : index + 1])
        torch.testing.assert_close(alone.attention[0], together.attention[index], rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(alone.patches[0], together.patches[index], rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_bf16_autocast_gives_float32_attention_near_the_exact_one():
    backbone = make("vit_tiny_patch16_224", (32, 32), {"patch_size": 8})
    images = torch.randn(2, 3, 32, 32)
    exact = backbone(images).attention
    with torch.autocast("cpu", dtype=torch.bfloat16):
        attention = backbone(images).attention
    assert attention.dtype == torch.float32
    torch.testing.assert_close(attention, exact, rtol=0.1, atol=0.01)
    assert not torch.equal(attention, attention.bfloat16().float())


class FusedTypes(TorchDispatchMode):
    """The types of the queries that PyTorch's fused attention was given, forward and backward."""

    def __init__(self):
        super().__init__()
        self.found = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if "flash_attention" in str(func):
            query = args[1] if "backward" in str(func) else args[0]
            self.found.setdefault("backward" if "backward" in str(func) else "forward", set()).add(query.dtype)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    ("name", "fused"), [("vit_tiny_patch16_224", {"forward", "backward"}), ("vit_relpos_base_patch16_cls_224", set())]
)
def test_bf16_training_on_a_cpu_attends_in_float32(name, fused):
    """bfloat16's way back is several times as slow there. A learned mask takes the unfused path."""
    backbone = make(name, (48, 32), {})
    images = torch.randn(2, 3, 48, 32)
    exact = backbone(images).patches
    with FusedTypes() as types:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            tokens = backbone(images)
        tokens.patches.float().square().mean().backward()
    assert types.found == {way: {torch.float32} for way in fused}
    torch.testing.assert_close(tokens.patches.float(), exact, rtol=0.1, atol=0.1)
    assert all(block.attn.qkv.weight.grad.any() for block in backbone.vit.blocks)


def test_attention_gradient_reaches_queries_and_keys_of_every_block():
    backbone = make("vit_tiny_patch16_224", (32, 32), {"patch_size": 8})
    attention = backbone(torch.randn(2, 3, 32, 32)).attention
    (attention * torch.randn_like(attention)).sum().backward()
    for block in backbone.vit.blocks:
        query, key, _ = block.attn.qkv.weight.grad.chunk(3)
        assert query.any()
        assert key.any()


def test_drop_path_reaches_the_blocks():
    config = BackboneConfig(name="vit_tiny_patch16_224", weights="none", overrides=TINY, drop_path=0.1)
    assert build_backbone(config, DataConfig(input_size=(32, 32))).vit.blocks[-1].drop_path1.drop_prob == pytest.approx(
        0.1
    )


@pytest.mark.parametrize(
    ("changes", "size", "message"),
    [
        pytest.param({"name": "vit_tiny_patch61_224"}, (32, 32), "unknown backbone 'vit_tiny_patch61_224'", id="typo"),
        pytest.param({"name": "resnet18"}, (32, 32), "resnet18", id="not-a-transformer"),
        pytest.param({"name": "vit_medium_patch16_gap_256"}, (32, 32), "no class token", id="no-class-token"),
        pytest.param({"overrides": {"embed_dim": 50, "num_heads": 4}}, (32, 32), "cannot be built", id="heads"),
        pytest.param({"stem": "conv", "overrides": {"patch_size": 14}}, (28, 28), "power of two, found 14", id="stem"),
        pytest.param({}, (40, 64), "40x64 .* 16-pixel .* height to 32 or 48 and the width to 64$", id="height"),
        pytest.param({}, (16, 250), "16x250 .* height to 16 and the width to 240 or 256$", id="width"),
        pytest.param({}, (9, 16), "height to 16 and", id="less-than-a-patch"),
        pytest.param({"stem": "conv"}, (40, 32), "height to 32 or 48", id="conv-stem-height"),
        pytest.param({"stem": "conv", "weights": "hub"}, (32, 32), "do not fit stem/overrides", id="conv-stem-hub"),
    ],
)
def test_what_cannot_be_built_is_refused(changes, size, message):
    config = BackboneConfig(**{"name": "vit_tiny_patch16_224", "weights": "none", **changes})
    with pytest.raises(ConfigError, match=message):
        build_backbone(config, DataConfig(input_size=size))


@torch.no_grad()
@pytest.mark.parametrize("by_name", [False, True], ids=["positional", "by name"])
def test_a_bool_mask_hides_keys_from_the_class_token(by_name):
    query, key = torch.randn(2, 1, 2, 3, 4).unbind(0)
    mask = torch.tensor([[True, False, True], [True, True, True], [True, True, True]])
    with ClassTokenRows() as attended:
        if by_name:
            F.scaled_dot_product_attention(query, key, key, attn_mask=mask)
        else:
            F.scaled_dot_product_attention(query, key, key, mask)
    scores = (query[0, :, :1] * key[0]).sum(dim=-1) / 2
    expected = torch.zeros(2, 3)
    expected[:, [0, 2]] = scores[:, [0, 2]].softmax(dim=-1)
    torch.testing.assert_close(attended.rows[0][0], expected)


def test_hub_weights_that_do_not_fit_are_no_network_fault(monkeypatch):
    def misfit(*_args, **_kwargs):
        raise RuntimeError("Error(s) in loading state_dict:\n\tsize mismatch for cls_token")

    monkeypatch.setattr("timm.create_model", misfit)
    with pytest.raises(
        ConfigError,
        match=r"do not fit stem/overrides: set backbone\.weights=none .*backbone\.overrides=null .*size mismatch",
    ):
        build_backbone(BackboneConfig(overrides=TINY), DataConfig(input_size=(224, 224)))


def test_hub_weights_that_cannot_be_had_say_what_to_do(monkeypatch):
    def offline(*_args, **_kwargs):
        raise OSError("no network")

    monkeypatch.setattr("timm.create_model", offline)
    with pytest.raises(CheckpointError, match=r"go online, or set backbone\.weights"):
        build_backbone(BackboneConfig(), DataConfig(input_size=(224, 224)))
    with pytest.raises(ConfigError, match=r"no pretrained weights for vit_base_patch16_xp_224: set backbone\.weights"):
        build_backbone(BackboneConfig(name="vit_base_patch16_xp_224"), DataConfig(input_size=(224, 224)))
