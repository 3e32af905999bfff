"""Every method as an ONNX file, against the method itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import cdtr
from cdtr.deployment.agreement import measure_difference
from cdtr.deployment.facts import Facts
from cdtr.deployment.graph import model_bytes, onnx_model
from cdtr.deployment.program import export_program, method_runner
from cdtr.deployment.session import session_runner
from cdtr.errors import ConfigError
from cdtr.model.methods import method_names
from cdtr.model.registry import find_method

SIZE_HW = (32, 48)
ONLY_IN_TRAINING = ("ocm", "ski", "sba", "guide", "weighting", "clip", "diffusion")
RELATIVE_POSITIONS = (
    "backbone.name=beit_base_patch16_224",
    "backbone.stem=patch",
    "backbone.overrides={patch_size: 8, embed_dim: 32, depth: 1, num_heads: 2}",
)
CNN = ("backbone.name=test_resnet", "backbone.stem=patch", "backbone.overrides=null", "backbone.output_stride=8")
ON_CNN = [name for name in method_names() if getattr(find_method(name), "BACKBONE", "transformer") == "cnn"]
CASES = {name: (f"method={name}", *(CNN if name in ON_CNN else ())) for name in method_names() if name != "ddt"}
# ddt has maps once it is fitted: tests/model/test_ddt.py.
# The other switches that change what inference runs, and a backbone whose attention takes a mask, with one method each.
CASES["catr"] += ("maps.fuse=softplus", "backbone.stem=patch", "csm.upsample=factor2")
CASES["tscam"] += RELATIVE_POSITIONS
CASES["refined"] += ("refine.first=one", "data.prior_maps=targets", "refine.width=4", "refine.side=32")
# Attention that is scaled to [0, 1] where it is nearly uniform, as without training, shows the rounding.
LARGEST = {"scm": 1e-4}
CASES["spa"] += ("spa.scg=false",)  # SCG enlarges rounding where all features are alike, as untrained ones are
CASES["the prior of each class"] = (
    "method=catr",
    "backbone.stem=cnn",
    "backbone.cnn={name: test_efficientnet, reductions: [8, 16]}",
    "guide={enabled: true, features: backbone}",
    "ocm.prior=by_class",
    "maps.fuse=prior",
)
CASES["patches of a CNN"] = ("backbone.stem=cnn", "backbone.cnn={name: test_efficientnet, reductions: [8, 16]}")


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.default_rng(1).normal(size=(6, 3, *SIZE_HW)).astype(np.float32)


@pytest.mark.parametrize(("name", "changes"), CASES.items(), ids=list(CASES))
def test_the_file_gives_what_the_method_gives(
    name: str, changes: tuple[str, ...], make_method: Callable[..., nn.Module], facts: Facts, pixels: np.ndarray
) -> None:
    method = make_method(*changes)
    in_maps = {"guide", "ocm"} if "maps.fuse=prior" in changes else set()
    if in_maps:
        torch.nn.init.normal_(method.guide.direction)
        for parameter in method.ocm.parameters():  # untrained, its map is flat, and scaled to variance 1 it is noise
            torch.nn.init.normal_(parameter, std=10)
    before = [getattr(module, "inplace", None) for module in method.modules()]
    program = export_program(method, SIZE_HW)
    assert [getattr(module, "inplace", None) for module in method.modules()] == before
    assert not [name for name in program.state_dict if set(name.split(".")) & (set(ONLY_IN_TRAINING) - in_maps)]
    content = model_bytes(onnx_model(program), facts)
    reference, other = method_runner(method), session_runner(content)
    assert measure_difference(reference, other, pixels).largest <= LARGEST.get(name, 1e-5)
    assert np.ptp(other(pixels).maps) > 1e-3
    assert str(Path(cdtr.__file__).parent).encode() not in content
    assert b"site-packages" not in content


def test_training_only_modules_were_there(make_method: Callable[..., nn.Module]) -> None:
    """Else their absence in the files would say nothing."""
    parts = {part for name in make_method("method=cdtr").state_dict() for part in name.split(".")}
    assert {"ocm", "ski", "weighting"} <= parts


def test_a_method_that_cannot_be_traced_gets_one_line() -> None:
    class Stubborn(nn.Module):
        def forward(self, images: torch.Tensor, auxiliary: bool | None = None) -> torch.Tensor:
            if images.sum() > 0:  # a branch on values, which no trace can follow
                return images
            return -images

    with pytest.raises(ConfigError, match=r"cannot be exported: torch\.export says") as raised:
        export_program(Stubborn(), SIZE_HW)
    assert "\n" not in str(raised.value)
