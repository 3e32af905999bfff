"""A run folder: the names of its files, and writing them so that a killed run never leaves a broken one."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from packaging.version import InvalidVersion, Version

from cdtr.config import Config, parse_config
from cdtr.errors import CheckpointError, ConfigError
from cdtr.files import atomic_file as atomic_file
from cdtr.files import atomic_folder as atomic_folder
from cdtr.files import hash_file as hash_file
from cdtr.files import sweep
from cdtr.files import write_atomic as write_atomic
from cdtr.files import write_json as write_json

LIBRARIES = ("cdtr", "torch", "torchvision", "timm", "open_clip_torch", "accelerate", "numpy")
LOCK_FILE = ".lock"
_SCORED = ("data", "split", "protocol")
_LOADERS_LIVE_ON = 15.0  # seconds, at most, after the training that they load for was killed


@contextmanager
def one_at_a_time(path: Path) -> Iterator[None]:
    """Keep other processes from writing the same run folder; ConfigError while one of them does.

    The lock's file stays in a run, as taking it away while others wait for it is not safe everywhere. Where there is no
    run in the end nothing is left, nor a folder that was made for it.
    """
    if path.exists() and not path.is_dir():
        raise ConfigError(f"{path} is a file: choose a folder as --out")
    new = not path.exists()
    path.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path / LOCK_FILE)
    try:
        lock.acquire(timeout=_LOADERS_LIVE_ON)
    except Timeout as error:
        raise ConfigError(
            f"{path} is being trained by another process: wait for it to end, or choose another --out"
        ) from error
    try:
        sweep(path)
        yield
    finally:
        if not RunFolder(path).config_file.is_file():
            (path / LOCK_FILE).unlink(missing_ok=True)
            if new and not any(path.iterdir()):
                path.rmdir()
        lock.release()


def library_versions() -> dict[str, str]:
    """Versions of Python and of the libraries that a run depends on, for its manifest."""
    return {"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in LIBRARIES}


def hash_names(names: Iterable[str]) -> str:
    """SHA-256 of a list of image ids, whatever their order: says which images something was chosen on."""
    return hashlib.sha256("\n".join(sorted(names)).encode("utf-8")).hexdigest()


class RunFolder:
    """Paths and small files of a run. Nothing is read before it is asked for."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.weights = self.path / "model.safetensors"
        self.config_file = self.path / "config.yaml"
        self.classes_file = self.path / "classes.txt"
        self.calibration_file = self.path / "calibration.json"
        self.metrics_file = self.path / "metrics.jsonl"
        self.manifest_file = self.path / "manifest.json"
        self.scores_file = self.path / "scores.json"
        self.state = self.path / "state"

    def require_trained(self) -> RunFolder:
        """Raise CheckpointError unless the folder holds a finished model."""
        if not self.path.is_dir():
            raise CheckpointError(f"no run folder {self.path}: expected the --out of `cdtr train`")
        for file in (self.config_file, self.classes_file, self.weights):
            if not file.is_file():
                hint = (
                    "training has not finished, go on with `cdtr train ... --resume`"
                    if self.state.is_dir()
                    else "is it the --out of `cdtr train`?"
                )
                raise CheckpointError(f"{self.path} has no {file.name}: {hint}")
        return self

    def config(self) -> Config:
        """Its settings; CheckpointError where they are those of a newer version."""
        try:
            return parse_config(self._text(self.config_file), str(self.config_file))
        except ConfigError as error:
            written, own = self._written_by(), Version(importlib.metadata.version("cdtr"))
            if written is None or written <= own:
                raise
            raise CheckpointError(
                f"{self.path} was written by cdtr {written} and has settings that this one, {own}, does not know: "
                "update cdtr"
            ) from error

    def _written_by(self) -> Version | None:
        """The version of cdtr that wrote the run, where the manifest says so."""
        versions = self.manifest().get("versions") if self.manifest_file.is_file() else None
        try:
            return Version(versions["cdtr"])  # type: ignore[index]
        except (TypeError, KeyError, InvalidVersion):
            return None

    def class_names(self) -> tuple[str, ...]:
        return tuple(self._text(self.classes_file).splitlines())

    def manifest(self) -> dict[str, Any]:
        return self._json(self.manifest_file)

    def calibration(self) -> dict[str, Any] | None:
        """The stored threshold and what it was chosen on, or None before `cdtr calibrate`."""
        return self._json(self.calibration_file) if self.calibration_file.is_file() else None

    def scores(self) -> list[dict[str, Any]]:
        """What `cdtr evaluate` measured, one entry for each data set, split and protocol; the last of each counts."""
        if not self.scores_file.is_file():
            return []
        stored = self._json(self.scores_file).get("scores")
        if not isinstance(stored, list) or not all(isinstance(entry, dict) for entry in stored):
            raise CheckpointError(f"{self.scores_file} has no list of scores: remove it and run `cdtr evaluate` again")
        return stored

    def add_scores(self, entries: Iterable[Mapping[str, Any]]) -> None:
        """Store what was measured, in the place of an older entry for the same data set, split and protocol."""
        stored = {tuple(entry.get(key) for key in _SCORED): dict(entry) for entry in [*self.scores(), *entries]}
        write_json(self.scores_file, {"scores": list(stored.values())})

    def _text(self, path: Path) -> str:
        try:
            return path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise CheckpointError(
                f"{path} is not UTF-8 (byte {error.start}): expected the file as `cdtr train` wrote it, restore it"
            ) from error

    def _json(self, path: Path) -> dict[str, Any]:
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise CheckpointError(
                f"{path} cannot be read ({error}): write it again with the command that made it"
            ) from error
        if not isinstance(content, dict):
            raise CheckpointError(f"{path} holds no JSON object: write it again with the command that made it")
        return content
