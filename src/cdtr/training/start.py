"""The weights file that a transformer starts from: what it says of itself, for the log and the manifest."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from safetensors import SafetensorError, safe_open

from cdtr.config import Config
from cdtr.runs import hash_file

_KEY = "cdtr"


@dataclass(frozen=True, slots=True)
class Start:
    """notes: what `cdtr pretrain` wrote into the file; empty for other files."""

    file: str
    sha256: str
    notes: Mapping[str, str] = field(default_factory=dict)
    input_size: tuple[int, int] = (0, 0)

    def line(self) -> str:
        parts = [f"transformer starts from {self.file}"]
        if "pretrained_on" in self.notes:
            parts.append(f"pretrained on {self.notes['pretrained_on']}")
        made_for, now = self.notes.get("input_size"), "x".join(map(str, self.input_size))
        if made_for is not None and made_for != now:
            parts.append(f"position embeddings resampled from {made_for} to {now} pixels")
        return ", ".join(parts)


def find_start(config: Config) -> Start | None:
    """None for a start from the hub, from random weights, or from a file that is not there."""
    path = Path(config.backbone.weights)
    if config.backbone.weights in {"hub", "none"} or not path.is_file():
        return None
    return Start(str(path), hash_file(path), _notes(path), config.data.input_size)


def with_notes(notes: Mapping[str, str]) -> dict[str, str]:
    """A ``.safetensors`` file's metadata that holds ``notes``. One key: safetensors writes several in any order, and
    the same training should give the same file."""
    return {_KEY: json.dumps(notes)}


def _notes(path: Path) -> dict[str, str]:
    if path.suffix != ".safetensors":
        return {}
    try:
        with safe_open(path, framework="pt") as file:
            notes = json.loads((file.metadata() or {}).get(_KEY, "{}"))
    except (SafetensorError, ValueError):  # whoever loads the weights says if they are broken
        return {}
    return {str(name): str(value) for name, value in notes.items()} if isinstance(notes, dict) else {}
