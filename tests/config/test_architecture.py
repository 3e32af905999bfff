"""``backbone.overrides`` reaches timm's constructors, which take paths too: only a bounded shape may pass."""

import pytest
import timm

from cdtr.config import BackboneConfig, DataConfig, load_config
from cdtr.config.architecture import Architecture
from cdtr.errors import ConfigError
from cdtr.model.backbone import build_backbone

SMALL = DataConfig(input_size=(32, 32))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        pytest.param("{checkpoint_path: scores.json}", "unknown key 'checkpoint_path'; only the shape", id="path"),
        pytest.param("{pretrained: true}", "unknown key 'pretrained'", id="pretrained"),
        pytest.param("{pretrained_cfg: {url: 'http://x'}}", "unknown key 'pretrained_cfg'", id="address"),
        pytest.param("{embed_layer: os.system}", "unknown key 'embed_layer'", id="layer"),
        pytest.param("{act_layer: x}", "unknown key 'act_layer'", id="name-of-a-class"),
        pytest.param("{embed_dims: 64}", "unknown key 'embed_dims', did you mean 'embed_dim'", id="typo"),
        pytest.param("{depth: 10000000}", "depth = 10000000: .*less than or equal to 128", id="depth"),
        pytest.param("{embed_dim: 0}", "embed_dim = 0", id="nothing"),
        pytest.param("{num_heads: 0}", "num_heads = 0", id="no-heads"),
        pytest.param("{patch_size: '8'}", "patch_size = '8'", id="text"),
        pytest.param("{depth: true}", "depth = True", id="bool"),
        pytest.param("{depth: [1, 2]}", r"depth = \[1, 2\]", id="list"),
        pytest.param("{embed_dim: 4096, depth: 128}", "billion weights", id="together-too-large"),
        pytest.param("[1]", "expected keys and values", id="no-mapping"),
    ],
)
def test_what_is_no_bounded_shape_is_refused_before_timm_sees_it(overrides, message, monkeypatch):
    monkeypatch.setattr(timm, "create_model", lambda *_args, **_options: pytest.fail("timm was called"))
    with pytest.raises(ConfigError, match=message) as caught:
        build_backbone(load_config(None, [f"backbone.overrides={overrides}"]).backbone, SMALL, load_weights=False)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 700


def test_every_allowed_key_is_one_that_timms_transformers_take():
    """A key that no constructor takes would be an option that does nothing but fail."""
    taken = set(timm.models.vision_transformer.VisionTransformer.__init__.__annotations__)
    taken |= set(timm.models.beit.Beit.__init__.__annotations__)
    assert set(Architecture.model_fields) <= taken


def test_allowed_keys_reach_timm_and_null_is_left_out():
    overrides = {"embed_dim": 48, "depth": 2, "num_heads": 2, "mlp_ratio": 2, "reg_tokens": 1, "qkv_bias": None}
    config = BackboneConfig(name="vit_tiny_patch16_224", weights="none", overrides=overrides)
    assert "qkv_bias" not in config.overrides
    vit = build_backbone(config, SMALL).vit
    assert vit.blocks[0].mlp.fc1.weight.shape == (96, 48)
    assert vit.num_prefix_tokens == 2


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("data.std=[0,0,0]", r"data\.std\.0 = 0: .*greater than or equal to 0\.001"),
        ("data.std=[0.2,0.2,1e-30]", r"data\.std\.2"),
        ("data.mean=[1e30,0,0]", r"data\.mean\.0"),
        ("data.input_size=[100000,100000]", r"data\.input_size\.0 = 100000"),
        ("data.max_pixels=1000000000000", r"data\.max_pixels"),
        ("csm.g=1000000", r"csm\.g"),
        ("csm.width_factor=1000000", r"csm\.width_factor"),
        ("guide.width=1000000", r"guide\.width"),
        ("evaluation.batch_size=1000000000", r"evaluation\.batch_size"),
    ],
)
def test_sizes_of_a_stranger_have_bounds(setting, message):
    with pytest.raises(ConfigError, match=message):
        load_config(None, [setting])
