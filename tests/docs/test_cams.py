"""The lines of docs/cams.md run on a run, with pytorch-grad-cam where it is installed, else with a small stand-in."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from cdtr.api import Localizer
from cdtr.config import load_config
from cdtr.errors import ConfigError, DataError
from oracles.untrained_run import write_untrained_run

PAGE = Path(__file__).resolve().parents[2] / "docs" / "cams.md"
SETTINGS = [
    "sba.enabled=false",
    "data.input_size=[32, 48]",
    "data.resize=[32, 48]",
    "backbone.overrides={embed_dim: 48, depth: 2, num_heads: 2}",
    "csm.g=4",
    "ocm.k=2",
    "evaluation.threshold=0.4",
]


class GradCAM:
    """Selvaraju et al. 2017, with the interface that the page uses: the library brings another build of OpenCV."""

    def __init__(
        self,
        model: nn.Module,
        target_layers: Sequence[nn.Module],
        reshape_transform: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self.model, (self.layer,), self.reshape = model, target_layers, reshape_transform or (lambda grid: grid)

    def __enter__(self) -> GradCAM:
        return self

    def __exit__(self, *_: object) -> None:
        self.handle.remove()

    def __call__(self, images: Tensor, targets: Sequence[Callable[[Tensor], Tensor]]) -> np.ndarray:
        kept: list[Tensor] = []
        self.handle = self.layer.register_forward_hook(lambda _module, _inputs, output: kept.append(output))
        logits = self.model(images)
        (gradient,) = torch.autograd.grad(targets[0](logits[0]), kept[0])
        weights, grid = self.reshape(gradient).mean((2, 3), keepdim=True), self.reshape(kept[0])
        heat = torch.relu((weights * grid).sum(1, keepdim=True))
        heat = nn.functional.interpolate(heat, images.shape[-2:], mode="bilinear")[:, 0]
        scaled: np.ndarray = (heat / heat.amax().clamp(min=1e-9)).detach().numpy()
        return scaled


def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("pytorch_grad_cam", "pytorch_grad_cam.utils", "pytorch_grad_cam.utils.model_targets")
    for name in names:
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    sys.modules[names[0]].GradCAM = GradCAM  # type: ignore[attr-defined]
    sys.modules[names[2]].ClassifierOutputTarget = lambda label: lambda logits: logits[label]  # type: ignore[attr-defined]


@pytest.mark.parametrize("resize", [[32, 48], [40, 60]])  # one tile, and several
@pytest.mark.parametrize("layer", ["blocks", "head"])
def test_gradcam_runs_as_the_page_says(
    layer: str, resize: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if importlib.util.find_spec("pytorch_grad_cam") is None:
        stand_in(monkeypatch)
    config = load_config("small", [*SETTINGS, f"data.resize={resize}"])
    assert config.evaluation.view == "tiled"
    write_untrained_run(tmp_path / "runs" / "mine", config, ("a", "b", "c"))
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    if layer == "head":
        code = re.sub(r"^layer = .*$", "layer = localizer.method.head", code, flags=re.MULTILINE)
        code = code.replace(", reshape_transform=to_grid", "")
    pixels = np.random.default_rng(0).integers(0, 255, (60, 90, 3), dtype=np.uint8)
    names: dict[str, Any] = {"picture": Image.fromarray(pixels)}
    exec(code, names)
    assert names["heat"].shape == (32, 48)
    assert np.isfinite(names["heat"]).all()
    assert 0 <= names["heat"].min() < names["heat"].max() <= 1 + 1e-6


def test_the_transform_is_what_the_localizer_feeds_its_network(tmp_path: Path) -> None:
    run = write_untrained_run(tmp_path / "run", load_config("small", SETTINGS), ("a", "b", "c"))
    localizer = Localizer.from_pretrained(run.path, "cpu")
    picture = Image.fromarray(np.random.default_rng(1).integers(0, 255, (60, 90, 3), dtype=np.uint8))
    with torch.no_grad():
        logits = localizer.method(localizer.transform(picture)[None]).logits
    (found,) = localizer([picture])
    np.testing.assert_allclose(found.class_probs, logits.softmax(1)[0], rtol=1e-5)
    assert repr(localizer) == f"Localizer({run.path}, 3 classes (a, b, c), threshold 0.4)"


def test_the_transform_of_a_path_gets_one_clear_line(tmp_path: Path) -> None:
    run = write_untrained_run(tmp_path / "run", load_config("small", SETTINGS), ("a", "b", "c"))
    with pytest.raises(DataError, match=r"takes a PIL image, found str: open it first"):
        Localizer.from_pretrained(run.path, "cpu").transform("a.jpg")  # type: ignore[arg-type]


def test_an_exported_file_has_no_transform() -> None:
    localizer = Localizer(Engine(), 0.5)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="load the run it was made of"):
        _ = localizer.transform
    assert repr(localizer) == "Localizer(4 classes (a, b, c, ...), threshold 0.5)"


class Engine:
    class_names = ("a", "b", "c", "d")
