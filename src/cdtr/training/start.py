"""The weights file that a transformer starts from, with its notes, for the log and the manifest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from torch import nn

from cdtr.config import Config
from cdtr.model.backbone import VitBackbone
from cdtr.model.methods.refined import SecondStage, load_first
from cdtr.model.notes import noted_grid, read_notes
from cdtr.runs import RunFolder, hash_file


@dataclass(frozen=True, slots=True)
class Start:
    """A weights file.

    Attributes:
        file: its path.
        sha256: of its content.
        notes: what `cdtr pretrain` wrote into the file; empty for other files.
        input_size: height and width in pixels of the images of the new training.
    """

    file: str
    sha256: str
    notes: Mapping[str, str] = field(default_factory=dict)
    input_size: tuple[int, int] = (0, 0)

    def line(self, method: nn.Module) -> str:
        """Return a line for the log. ``method`` was built from the file."""
        parts = [f"transformer starts from {self.file}"]
        if "pretrained_on" in self.notes:
            parts.append(f"pretrained on {self.notes['pretrained_on']}")
        backbone = next((part for part in method.modules() if isinstance(part, VitBackbone)), None)
        before = None if backbone is None else noted_grid(Path(self.file), backbone.vit)
        if backbone is not None and before is not None and before != backbone.grid_hw:
            parts.append(
                f"position embeddings resampled from {self.notes['input_size']} to {_by(self.input_size)} pixels "
                f"({_by(before)} to {_by(backbone.grid_hw)} patches)"
            )
        return ", ".join(parts)


def find_start(config: Config) -> Start | None:
    """Return the weights file; None for a start from the hub, random weights, or a missing file."""
    path = Path(config.backbone.weights)
    if config.backbone.weights in {"hub", "none"} or not path.is_file():
        return None
    return Start(str(path), hash_file(path), read_notes(path), config.data.input_size)


def load_first_run(method: nn.Module, config: Config) -> None:
    """Give a refined method the weights of its first run; other methods have none.

    Raises:
        CheckpointError: The first run is not there, or its weights do not fit.
    """
    if isinstance(method, SecondStage):
        load_first(method, RunFolder(config.refine.first).require_trained().weights)


def _by(size_hw: tuple[int, int]) -> str:
    return "x".join(map(str, size_hw))
