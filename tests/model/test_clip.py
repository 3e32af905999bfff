"""The frozen CLIP: class names to prompts, features, and what cannot be loaded."""

import json

import open_clip
import pytest
import torch
from safetensors.torch import save_file

from cdtr.errors import CheckpointError, ConfigError
from cdtr.model.clip import clean_class_name, load_clip
from cdtr.model.clip_folder import CONFIG_FILE, WEIGHTS_FILE, build_network
from cdtr.training.clip import SmallClip, open_clip_config


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("001.Black_footed_Albatross", "Black footed Albatross"),
        ("200.Common_Yellowthroat", "Common Yellowthroat"),
        ("tench, Tinca tinca", "tench"),
        ("great white shark, white shark, man-eater", "great white shark"),
        ("rolled-in_scale", "rolled in scale"),
        ("pitted_surface", "pitted surface"),
        ("12_oak", "oak"),
        ("ant", "ant"),
        ("  two   words ", "two words"),
        ("7", "7"),
        ("3D_printer", "3D printer"),
        ("747-400", "747 400"),
        ("_", "_"),
        ("Ørsted_ål", "Ørsted ål"),
    ],
    ids=[
        "cub",
        "cub-last",
        "wordnet",
        "wordnet-many",
        "neu-det",
        "underscore",
        "numbered",
        "plain",
        "spaces",
        "only-a-number",
        "number-in-a-word",
        "aircraft",
        "nothing-left",
        "not-ascii",
    ],
)
def test_clean_class_name(name, expected):
    assert clean_class_name(name) == expected


def test_text_features_are_unit_means_over_the_templates(tiny_clip):
    names, templates = ["001.Black_footed_Albatross", "ant"], ["a photo of {}", "a drawing of a {}"]
    features = tiny_clip.text_features(names, templates)
    assert features.shape == (2, 16)
    assert not features.requires_grad
    for row, name in zip(features, ["Black footed Albatross", "ant"], strict=True):
        tokens = tiny_clip.tokenizer([f"a photo of {name}", f"a drawing of a {name}"])
        encoded = tiny_clip.model.encode_text(tokens)
        mean = (encoded / encoded.norm(dim=-1, keepdim=True)).mean(dim=0)
        torch.testing.assert_close(row, mean / mean.norm(), rtol=1e-4, atol=1e-5)


def test_text_features_of_many_classes_keep_their_order(tiny_clip):
    names = [f"thing{i}" for i in range(300)]
    together = tiny_clip.text_features(names, ["a photo of {}"])
    alone = tiny_clip.text_features(names[270:271], ["a photo of {}"])
    torch.testing.assert_close(together[270], alone[0], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(together[270], together[271])


def test_image_features_see_normalised_pixels_of_clips_size(tiny_clip):
    pixels = torch.rand(2, 3, 24, 24)
    mean = torch.tensor(open_clip.OPENAI_DATASET_MEAN)[:, None, None]
    std = torch.tensor(open_clip.OPENAI_DATASET_STD)[:, None, None]
    encoded = tiny_clip.model.encode_image((pixels - mean) / std)
    expected = encoded / encoded.norm(dim=-1, keepdim=True)
    torch.testing.assert_close(tiny_clip.image_features(pixels), expected, rtol=1e-4, atol=1e-5)
    assert tiny_clip.image_features(torch.rand(2, 3, 40, 56)).shape == (2, 16)


def test_freeze_takes_every_gradient_but_the_pixels(tiny_clip):
    assert not tiny_clip.model.training
    assert not any(p.requires_grad for p in tiny_clip.model.parameters())
    assert tiny_clip.temperature == pytest.approx(1 / 0.07, rel=1e-4)
    pixels = torch.rand(1, 3, 24, 24, requires_grad=True)
    (tiny_clip.image_features(pixels) * torch.randn(1, 16)).sum().backward()
    assert pixels.grad.any()


def test_a_folder_written_for_the_run_loads(tmp_path, tiny_clip):
    architecture = {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 24, "layers": 1, "width": 32, "head_width": 16, "patch_size": 8},
        "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
    }
    content = {"model_cfg": architecture, "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.25] * 3}}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match="weights of CLIP"):
        load_clip(str(tmp_path), "openai")  # a folder without its weights must not become a random model
    weights = tmp_path / "open_clip_model.safetensors"
    weights.write_bytes(b"broken")
    with pytest.raises(CheckpointError, match="weights of CLIP"):
        load_clip(str(tmp_path), "openai")
    save_file(tiny_clip.model.state_dict(), weights)
    loaded = load_clip(str(tmp_path), "openai")
    for name, value in tiny_clip.model.state_dict().items():
        assert torch.equal(loaded.model.state_dict()[name], value), name
    assert loaded.size_hw == (24, 24)
    assert loaded.mean == (0.5, 0.5, 0.5)
    assert loaded.std == (0.25, 0.25, 0.25)
    names, templates = ["ant", "bee"], ["a photo of {}"]
    torch.testing.assert_close(loaded.text_features(names, templates), tiny_clip.text_features(names, templates))


SIZES = {
    "model_cfg": {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 24, "layers": 1, "width": 32, "head_width": 16, "patch_size": 8},
        "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
    },
    "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.25] * 3},
}


def changed(path, value):
    tree = json.loads(json.dumps(SIZES))
    *above, key = path.split(".")
    place = tree
    for name in above:
        place = place[name]
    place[key] = value
    return tree


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("model_cfg.text_cfg.hf_tokenizer_name", "x", r"unknown key 'model_cfg\.text_cfg\.hf_tokenizer_name'"),
        ("model_cfg.text_cfg.tokenizer_kwargs", {"trust_remote_code": True}, "unknown key .*tokenizer_kwargs"),
        ("model_cfg.text_cfg.hf_model_name", "x/y", "unknown key .*hf_model_name"),
        ("model_cfg.vision_cfg.timm_model_name", "x", "unknown key .*timm_model_name"),
        ("model_cfg.custom_text", True, "unknown key .*custom_text"),
        ("preprocess_cfg.size", 24, "unknown key .*size"),
        ("model_cfg.vision_cfg.width", 10**9, r"vision_cfg\.width = 1000000000"),
        ("model_cfg.vision_cfg.layers", [1, 1], r"vision_cfg\.layers"),
        ("model_cfg.text_cfg.vocab_size", 10**9, r"vocab_size = 1000000000"),
        ("model_cfg.text_cfg.width", "16", r"text_cfg\.width = '16'"),
        ("model_cfg.text_cfg.heads", 3, "describes no CLIP that can be built"),
        ("model_cfg.vision_cfg.width", 48, "weights of CLIP .*shape"),
        ("preprocess_cfg.std", [0, 0, 0], r"preprocess_cfg\.std"),
        ("model_cfg.text_cfg", [], "text_cfg"),
        ("model_cfg", None, "model_cfg"),
    ],
)
def test_a_folder_says_nothing_that_train_clip_does_not_write(tmp_path, tiny_clip, monkeypatch, path, value, message):
    """open_clip's reader would run the code of a tokenizer that lies in the folder, where transformers is installed."""
    for name in ("create_model", "get_tokenizer"):
        monkeypatch.setattr(open_clip, name, lambda *_args, **_options: pytest.fail("open_clip read the folder"))
    (tmp_path / "open_clip_config.json").write_text(json.dumps(changed(path, value)))
    save_file(tiny_clip.model.state_dict(), tmp_path / "open_clip_model.safetensors")
    with pytest.raises(CheckpointError, match=message) as caught:
        load_clip(str(tmp_path), "openai")
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_a_folder_of_train_clip_is_taken(tmp_path):
    """What is written is what is allowed."""
    content = open_clip_config(SmallClip(image_size=32, width=8, text_width=16, embed_dim=16))
    network, _ = build_network(content)
    (tmp_path / CONFIG_FILE).write_text(json.dumps(content))
    save_file(network.state_dict(), tmp_path / WEIGHTS_FILE)
    assert load_clip(str(tmp_path), "none").mean == pytest.approx(open_clip.OPENAI_DATASET_MEAN)


def test_what_is_no_clip_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="unknown CLIP 'ViT-B-23'"):
        load_clip("ViT-B-23", "openai")
    with pytest.raises(CheckpointError, match=r"no open_clip_config\.json"):
        load_clip(str(tmp_path), "openai")
    (tmp_path / "open_clip_config.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"open_clip_config\.json|weights of CLIP"):
        load_clip(str(tmp_path), "openai")


def test_an_unknown_tag_or_file_says_what_to_do():
    with pytest.raises(CheckpointError, match=r"go online, give a file as sba\.pretrained"):
        load_clip("ViT-B-32-quickgelu", "no-such-tag")
