"""What a training says of the weights file that its transformer starts from."""

from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import save_file
from training_helpers import tiny_config

from cdtr.model.methods import build_method
from cdtr.model.notes import with_notes
from cdtr.training.start import find_start

SHAPE = {"embed_dim": 48, "depth": 2, "num_heads": 2, "patch_size": 8}
ROTARY = "vit_small_patch16_dinov3"


def line(folder: Path, before: dict[str, Any], now: dict[str, Any], noted: bool = True) -> str:
    """before, now: the input size, and what else the backbone has."""
    (size, start), (new_size, own) = ((parts["size"], parts.get("backbone", {})) for parts in (before, now))
    source: Any = build_method(tiny_config(data={"input_size": size}, backbone=start), 2)
    notes = with_notes({"input_size": "x".join(map(str, size))}) if noted else None
    save_file(source.backbone.vit.state_dict(), folder / "w.safetensors", metadata=notes)
    weights = str(folder / "w.safetensors")
    config = tiny_config(data={"input_size": new_size}, backbone={**own, "weights": weights})
    start_of = find_start(config)
    assert start_of is not None
    said = start_of.line(build_method(config, 2))
    assert said.startswith(f"transformer starts from {weights}")
    return said.removeprefix(f"transformer starts from {weights}")


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        (
            {"size": (32, 32)},
            {"size": (16, 64)},
            ", position embeddings resampled from 32x32 to 16x64 pixels (4x4 to 2x8 patches)",
        ),
        ({"size": (32, 32)}, {"size": (32, 32)}, ""),
        ({"size": (32, 32)}, {"size": (64, 64), "backbone": {"overrides": {**SHAPE, "patch_size": 16}}}, ""),
        (
            {"size": (32, 32)},
            {"size": (32, 32), "backbone": {"overrides": {**SHAPE, "patch_size": 16}}},
            ", position embeddings resampled from 32x32 to 32x32 pixels (4x4 to 2x2 patches)",
        ),
        ({"size": (32, 32), "backbone": {"name": ROTARY}}, {"size": (64, 64), "backbone": {"name": ROTARY}}, ""),
    ],
    ids=["as-many-patches", "same", "same-grid", "another-patch-size", "no-position-embeddings"],
)
def test_resampling_is_said_where_it_happens(tmp_path, before, now, expected):
    assert line(tmp_path, before, now) == expected


def test_a_file_without_notes_says_nothing_of_its_grid(tmp_path):
    assert line(tmp_path, {"size": (32, 32)}, {"size": (64, 64)}, noted=False) == ""
