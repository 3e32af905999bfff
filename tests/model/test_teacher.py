"""The CNN teacher: the right weights in the right places, the right pixels, and one clear line where there is none."""

import importlib.util
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from timm.data import ImageNetInfo

from cdtr.config import Config, PretrainConfig
from cdtr.data.datasets import load_source
from cdtr.data.loader import eval_loader
from cdtr.errors import CheckpointError, ConfigError
from cdtr.model.packaged import PACKAGES
from cdtr.model.teacher import load_teacher

TINY_IMAGENET = Path(__file__).resolve().parents[3] / "shared" / "data" / "tiny-imagenet-40"
PACKAGE = PACKAGES["tf_efficientnet_lite0"]
needs_package = pytest.mark.skipif(
    importlib.util.find_spec(PACKAGE) is None, reason=f"the package {PACKAGE} is not installed"
)
DATA = Config().data


@pytest.fixture(scope="module")
def own_file(tmp_path_factory):
    """Random weights of timm's smallest CNN."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("teacher") / "own.safetensors"
    save_file(timm.create_model("test_efficientnet").state_dict(), path)
    return path


@needs_package
@pytest.mark.skipif(not TINY_IMAGENET.is_dir(), reason="no ../shared/data/tiny-imagenet-40")
def test_the_packaged_teacher_knows_what_is_on_photos():
    """Wrong names, batch norm or pixel scaling would cost it 15 points and more."""
    info = ImageNetInfo()
    index_of = {info.index_to_label_name(index): index for index in range(1000)}
    source = load_source(TINY_IMAGENET)
    own = torch.tensor([index_of[wnid] for wnid in (TINY_IMAGENET / "wnids.txt").read_text().split()])
    config = Config().updated(data={"input_size": (128, 128), "workers": 0})
    teacher = load_teacher(PretrainConfig(), config.data)
    assert teacher.classes == 1000
    assert teacher.features == 1280
    right = seen = 0
    for batch in eval_loader(source.splits["train"][::100], config):
        logits, _ = teacher(batch.images)
        right += int((logits[:, own].argmax(dim=1) == batch.labels).sum())
        seen += len(batch.labels)
    assert seen == 200
    assert right / seen > 0.6


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"teacher": "resnet5000"}, ConfigError, "unknown pretrain.teacher 'resnet5000'"),
        (
            {"teacher": "resnet18"},
            ConfigError,
            "resnet18 comes in no package, these do: .* set pretrain.teacher_weights to hub",
        ),
        ({"teacher": "resnet18", "teacher_weights": "gone.pth"}, CheckpointError, "no weights file gone.pth"),
    ],
    ids=["unknown", "no-package", "no-file"],
)
def test_teachers_that_cannot_be_had(settings, error, message):
    with pytest.raises(error, match=message):
        load_teacher(PretrainConfig(**settings), DATA)


def test_weights_of_another_network_are_refused(own_file):
    with pytest.raises(CheckpointError, match="lacks"):
        load_teacher(PretrainConfig(teacher="resnet18", teacher_weights=str(own_file)), DATA)


@pytest.mark.parametrize(
    ("name", "reason"),
    [("test_vit", ""), ("vit_tiny_patch16_224", r".*Input height \(64\) doesn't match model \(224\)")],
    ids=["answers-tokens", "one-size-only"],
)
def test_a_transformer_is_no_teacher(tmp_path, name, reason):
    path = tmp_path / "vit.safetensors"
    save_file(timm.create_model(name).state_dict(), path)
    with pytest.raises(ConfigError, match=f"choose a convolutional network{reason}"):
        load_teacher(PretrainConfig(teacher=name, teacher_weights=str(path)), DATA)


def test_a_tensor_more_in_the_teachers_file_does_no_harm(own_file, tmp_path):
    more = {**load_file(own_file), "ema.decay": torch.zeros(1)}
    save_file(more, tmp_path / "more.safetensors")
    whole, plain = (
        load_teacher(PretrainConfig(teacher="test_efficientnet", teacher_weights=str(path)), DATA)
        for path in (tmp_path / "more.safetensors", own_file)
    )
    images = torch.rand(1, 3, 64, 64)
    assert torch.equal(whole(images)[0], plain(images)[0])


@torch.no_grad()
def test_it_sees_the_image_under_its_own_normalisation_and_size(own_file):
    config = PretrainConfig(teacher="test_efficientnet", teacher_weights=str(own_file), teacher_size=(64, 64))
    teacher = load_teacher(config, DATA)
    pixels = torch.rand(2, 3, 64, 64)
    images = (pixels - torch.tensor(DATA.mean)[:, None, None]) / torch.tensor(DATA.std)[:, None, None]
    bare = timm.create_model("test_efficientnet").eval()
    bare.load_state_dict(load_file(own_file))
    mean, std = (torch.tensor(bare.pretrained_cfg[key])[:, None, None] for key in ("mean", "std"))
    logits, features = teacher(images)
    assert torch.allclose(logits, bare((pixels - mean) / std), atol=1e-4)
    cells = teacher.classify_cells(features)
    assert cells.shape == (2, teacher.classes, *features.shape[-2:])
    # The classifier is linear, so the mean over the places is what the whole image gets.
    assert torch.allclose(cells.mean(dim=(2, 3)), logits, atol=1e-4)
    small = torch.nn.functional.interpolate(images, size=(32, 32), mode="area")
    assert teacher(small)[1].shape == features.shape
