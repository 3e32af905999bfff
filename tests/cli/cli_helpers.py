"""Running the command line, and tiny data and settings for it."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

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

NEU_CLASSES = ("crazing", "inclusion", "patches", "pitted_surface", "rolled-in_scale", "scratches")


def run_cdtr(*arguments: object, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """The real command line in its own process."""
    return subprocess.run(
        [sys.executable, "-m", "cdtr", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=600,
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


def in_fixture(*arguments: object) -> tuple[str, str]:
    """The same for fixtures that several tests share, of a command that works: stdout, stderr."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    assert not stopped.value.code, err.getvalue()
    return out.getvalue(), err.getvalue()


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


def sort_neu(source: Path, target: Path) -> Path:
    """NEU-DET's images in class folders, ``train`` and ``val``."""
    for split in ("train", "val"):
        for name in (source / f"{split}.txt").read_text().split():
            folder = target / split / name.rpartition("_")[0]
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(source / "IMAGES" / name, folder / name)
    return target


def draw_neu(target: Path, n_train: int = 8, n_val: int = 3) -> Path:
    """Drawn pictures in NEU-DET's layout, for machines without the real ones: a textured square on grey noise."""
    for name in ("IMAGES", "ANNOTATIONS"):
        (target / name).mkdir(parents=True)
    random = np.random.default_rng(0)
    names: dict[str, list[str]] = {"train": [], "val": []}
    for label, class_name in enumerate(NEU_CLASSES):
        for number in range(1, n_train + n_val + 1):
            stem, (left, top) = f"{class_name}_{number}", random.integers(5, 95, 2)
            pixels = random.normal(110, 12, (200, 200))
            pixels[top : top + 90, left : left + 90] += 80 * np.sin(np.arange(90) * (label + 1) / 4)
            picture = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
            picture.save(target / "IMAGES" / f"{stem}.jpg")
            (target / "ANNOTATIONS" / f"{stem}.xml").write_text(
                f"<annotation><object><name>{class_name}</name><bndbox><xmin>{left + 1}</xmin><ymin>{top + 1}</ymin>"
                f"<xmax>{left + 90}</xmax><ymax>{top + 90}</ymax></bndbox></object></annotation>"
            )
            names["train" if number <= n_train else "val"].append(f"{stem}.jpg")
    for split, kept in names.items():
        (target / f"{split}.txt").write_text("\n".join(kept) + "\n")
    return target
