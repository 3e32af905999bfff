"""Train a small CLIP on the class labels, for SBA where no pretrained CLIP knows the classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from cdtr.config import load_config
from cdtr.data.opening import open_data
from cdtr.errors import ConfigError
from cdtr.training import clip
from cdtr.training.clip_fit import ClipFit
from cdtr.workflows.reporting import SILENT, Reporter
from cdtr.workflows.train import console_of


def train_clip(
    data: str | Path,
    out: str | Path,
    config: str = "small",
    *,
    epochs: int | None = None,
    lr: float | None = None,
    overrides: Sequence[str] = (),
    reporter: Reporter = SILENT,
) -> ClipFit:
    """Train a small CLIP and write it as an open_clip model.

    Args:
        data: a folder with one folder of images a class, or the root of a data set.
        out: the folder to write, for the setting ``sba.model``.
        config: a preset or a YAML file.
        epochs: passes over the training images.
        lr: the highest learning rate.
        overrides: settings over the configuration, such as ``seed=1``.
        reporter: takes notes and progress.

    Returns:
        How well it tells the classes of held-out training images.

    Raises:
        ConfigError: a setting is wrong, or something is in ``out``.
        DataError: the data set cannot be read.
    """
    settings = clip.SmallClip()
    if lr is not None and not lr > 0:
        raise ConfigError(f"`lr={lr}`: expected a number above 0, such as {settings.lr}")
    settings = replace(settings, epochs=epochs or settings.epochs, lr=lr or settings.lr)
    clip.require_free(Path(out))
    loaded = load_config(config, overrides)
    return clip.train_clip(loaded, open_data(Path(data), loaded.data), Path(out), settings, console_of(reporter))
