import numpy as np
import pytest
import torch
from PIL import Image

from cdtr.config import DataConfig
from cdtr.data.transforms import EvalTransform, TrainTransform, denormalise
from cdtr.errors import ConfigError

MODES = ["none", "crop_flip", "resized_crop", "official"]


def _config(**changes: object) -> DataConfig:
    return DataConfig.model_validate({"input_size": (32, 48), "resize": (40, 56), **changes})


@pytest.fixture
def picture() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 90, 3), dtype=np.uint8))


def test_eval_sees_the_whole_image() -> None:
    """Left half black, right half white: the halves stay halves whatever the aspect ratio."""
    pixels = np.zeros((60, 200, 3), dtype=np.uint8)
    pixels[:, 100:] = 255
    config = _config()
    image = EvalTransform(config)(Image.fromarray(pixels))
    assert image.shape == (3, 32, 48)
    shown = denormalise(image, config)
    assert shown[:, :, :22].max() < 1e-6
    assert shown[:, :, 26:].min() > 1 - 1e-6


def test_eval_normalises_with_the_config() -> None:
    image = EvalTransform(_config(mean=(0.5, 0.0, 0.25), std=(0.5, 1.0, 0.25)))(Image.new("RGB", (9, 9), (255, 51, 0)))
    assert torch.allclose(image[:, 5, 5], torch.tensor([1.0, 0.2, -1.0]))


@pytest.mark.parametrize("mode", MODES)
def test_train_transform_gives_plain_tensors_of_the_input_size(mode: str, picture: Image.Image) -> None:
    image, clean = TrainTransform(_config(augment=mode))(picture)
    assert type(image) is torch.Tensor
    assert image.shape == (3, 32, 48)
    assert image.dtype == torch.float32
    assert (clean is not None) == (mode == "official")


@pytest.mark.parametrize("mode", MODES)
def test_torch_seed_fixes_the_augmentation(mode: str, picture: Image.Image) -> None:
    transform = TrainTransform(_config(augment=mode))
    images = []
    for numpy_seed, torch_seed in ((0, 7), (1, 7), (0, 8), (0, 9), (0, 10)):
        np.random.seed(numpy_seed)
        torch.manual_seed(torch_seed)
        images.append(transform(picture)[0])
    assert torch.equal(images[0], images[1])
    assert all(torch.equal(images[0], other) for other in images) == (mode == "none")


def test_none_is_the_evaluation_transform(picture: Image.Image) -> None:
    config = _config(augment="none")
    assert torch.equal(TrainTransform(config)(picture)[0], EvalTransform(config)(picture))


def test_crop_flip_is_a_window_of_the_resized_image_or_its_mirror(picture: Image.Image) -> None:
    config = _config(augment="crop_flip")
    whole = EvalTransform(_config(input_size=(40, 56)))(picture)
    windows = [whole[:, y : y + 32, x : x + 48] for y in range(9) for x in range(9)]
    torch.manual_seed(0)
    mirrored = 0
    for _ in range(12):
        crop = TrainTransform(config)(picture)[0]
        plain = any(torch.allclose(crop, window, atol=1e-5) for window in windows)
        mirror = any(torch.allclose(crop.flip(-1), window, atol=1e-5) for window in windows)
        assert plain or mirror
        mirrored += mirror
    assert 0 < mirrored < 12


def test_official_erases_a_quarter_and_keeps_a_clean_copy(picture: Image.Image) -> None:
    transform = TrainTransform(_config(augment="official"))
    torch.manual_seed(0)
    pairs = [transform(picture) for _ in range(80)]
    erased = [(image != clean).any(dim=0).float().mean().item() for image, clean in pairs if clean is not None]
    assert len(erased) == 80
    assert 8 <= sum(share > 0 for share in erased) <= 34
    assert max(erased) < 0.4


def test_crop_larger_than_the_resize_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"data\.resize"):
        TrainTransform(_config(resize=(40, 47)))


@pytest.mark.parametrize("shape", [(3, 4, 5), (2, 3, 4, 5)], ids=["image", "batch"])
def test_denormalise_undoes_and_clamps(shape: tuple[int, ...]) -> None:
    config = _config()
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (config.mean, config.std))
    pixels = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(denormalise((pixels - mean) / std, config), pixels, atol=1e-6)
    assert denormalise(torch.full(shape, 99.0), config).max() == 1
