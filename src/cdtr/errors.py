"""The errors a user can meet. Each message says what was expected, what was found and what to do.

A message names an argument as Python does, in backticks: `` `top_k=` ``, `` `view=tiled` ``, `` `overwrite=True` ``.
The command line prints it as a flag: ``--top-k``, ``--view tiled``, ``--overwrite``. Notes and warnings do the same.
"""

from __future__ import annotations

import importlib
from types import ModuleType


class CdtrError(Exception):
    """Root of every error that the command line reports in one line, without a traceback."""

    exit_code = 2


class ConfigError(CdtrError):
    """A configuration value, preset or command-line option that cannot be used."""


class DataError(CdtrError):
    """A data set, image or annotation that cannot be read."""


class AnnotationError(DataError):
    """The annotation of one image that cannot be used, while those of other images can."""


class CheckpointError(CdtrError):
    """Weights or a run folder that are missing, broken or do not fit."""


class TrainingError(CdtrError):
    """A training that cannot go on, such as a loss that is no longer a number."""

    exit_code = 1


def how_to_install(extra: str) -> str:
    """The command that installs an extra of pyproject.toml; the package is on no index, so its name would not do."""
    return f"pip install '.[{extra}]' in cdtr's folder"


def import_extra(module: str, needed_for: str, extra: str) -> ModuleType:
    """Import an optional library.

    Args:
        module: name of the library, such as ``onnxruntime``.
        needed_for: what needs it; begins the message.
        extra: the extra of pyproject.toml that installs it.

    Raises:
        ConfigError: the library, or one that it imports, is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ConfigError(f"{needed_for} needs {error.name or module}: {how_to_install(extra)}") from error
