"""A data set and a backbone of another package are found through their entry points."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from cdtr.config import Config
from cdtr.data.datasets import format_names, load_source
from cdtr.errors import ConfigError, DataError
from cdtr.model.methods import build_method

ENTRY_POINTS = """[cdtr.datasets]
shelf-set = their_things.shelf

[cdtr.backbones]
two-by-two = their_things.two_by_two

[cdtr.methods]
broken = their_things.no_such_module
"""
DATA_SET = """
from cdtr.records import DataSource, Sample

LAYOUT = "a shelf: expected shelf.txt in it"


def recognises(root):
    return (root / "shelf.txt").is_file()


def load(root):
    samples = tuple(Sample(f"{label}.png", root / f"{label}.png", label) for label in (0, 1))
    return DataSource("shelf", root, ("cup", "jar"), {"train": samples}, False, lambda sample: None)
"""
BACKBONE = """
import torch
from torch import nn

from cdtr.model.backbone import Backbone, Tokens


class TwoByTwo(Backbone):
    def __init__(self):
        super().__init__()
        self.grid_hw, self.patch_size, self.dim, self.depth, self.heads = (2, 2), 16, 8, 1, 1
        self.project = nn.Conv2d(3, 8, 16, stride=16)

    def forward(self, images):
        patches = self.project(images)
        attention = torch.full((len(images), 1, 1, 2, 2), 0.25)
        return Tokens(patches, patches.mean(dim=(2, 3)), attention)


def build(config, data, load_weights, padding):
    return TwoByTwo()
"""


@pytest.fixture(autouse=True)
def _installed(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    site = tmp_path_factory.mktemp("site")
    (site / "their_things").mkdir()
    (site / "their_things" / "__init__.py").touch()
    (site / "their_things" / "shelf.py").write_text(DATA_SET)
    (site / "their_things" / "two_by_two.py").write_text(BACKBONE)
    (site / "their_things-1.0.dist-info").mkdir()
    (site / "their_things-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: their-things\n")
    (site / "their_things-1.0.dist-info" / "entry_points.txt").write_text(ENTRY_POINTS)
    monkeypatch.syspath_prepend(str(site))
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "their_things"]:
        del sys.modules[name]


def test_a_data_set_is_recognised(tmp_path: Path) -> None:
    (tmp_path / "shelf.txt").touch()
    assert "shelf_set" in format_names()
    assert load_source(tmp_path).class_names == ("cup", "jar")
    (tmp_path / "shelf.txt").rename(tmp_path / "other.txt")
    with pytest.raises(DataError, match=r"is not a shelf: expected shelf\.txt in it"):
        load_source(tmp_path, "shelf_set")


def test_a_backbone_is_built() -> None:
    config = Config().updated(
        method="tscam", data={"input_size": (32, 32)}, backbone={"name": "two_by_two", "weights": "none"}
    )
    output = build_method(config, 3)(torch.zeros(2, 3, 32, 32))
    assert output.maps.shape == (2, 3, 2, 2)


def test_a_method_that_cannot_be_imported_is_named() -> None:
    with pytest.raises(ConfigError, match=r"the method broken of another package .* cannot be imported"):
        Config().updated(method="broken")
