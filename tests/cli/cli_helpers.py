"""Running the command line, and tiny data and settings for it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cdtr.cli import main

TINY = (
    "method=cdtr",
    "sba.enabled=false",
    "data.workers=0",
    "data.input_size=[64, 64]",
    "data.resize=[72, 72]",
    "data.holdout=0.25",
    "backbone.overrides={embed_dim: 48, depth: 2, num_heads: 2}",
    "ocm.k=2",
    "train.epochs=1",
    "train.batch_size=16",
)


def run_cdtr(*arguments: object, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """The real command line in its own process."""
    return subprocess.run(
        [sys.executable, "-m", "cdtr", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "COLUMNS": "120", **(env or {})},
        check=False,
    )


def in_process(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """The same without a new process, for the many cases of bad input: exit code, stdout, stderr."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    printed = capsys.readouterr()
    return int(stopped.value.code or 0), printed.out, printed.err


def tiny_settings() -> list[str]:
    return [word for setting in TINY for word in ("--set", setting)]


def copy_neu(source: Path, target: Path, n_train: int = 8, n_val: int = 3) -> Path:
    """A few images of each class of NEU-DET in its own layout."""
    for name in ("IMAGES", "ANNOTATIONS"):
        (target / name).mkdir(parents=True)
    for split, count in (("train", n_train), ("val", n_val)):
        by_class: dict[str, list[str]] = {}
        for name in (source / f"{split}.txt").read_text().split():
            by_class.setdefault(name.rpartition("_")[0], []).append(name)
        kept = [name for names in by_class.values() for name in names[:count]]
        for name in kept:
            shutil.copy(source / "IMAGES" / name, target / "IMAGES" / name)
            xml = f"{Path(name).stem}.xml"
            shutil.copy(source / "ANNOTATIONS" / xml, target / "ANNOTATIONS" / xml)
        (target / f"{split}.txt").write_text("\n".join(kept) + "\n")
    return target
