"""A run folder: the names of its files, and writing them so that a killed run never leaves a broken one."""

from __future__ import annotations

import hashlib
import importlib.metadata
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
from cdtr.run_files import (
    CalibrationFile,
    LogRecord,
    Manifest,
    ScoresFile,
    check_content,
    read_class_names,
    read_log_lines,
    read_run_file,
    read_text,
    require,
)

LIBRARIES = ("cdtr", "torch", "torchvision", "timm", "open_clip_torch", "accelerate", "numpy")
LOCK_FILE = ".lock"
TARGETS = "targets"  # folder of the maps that a refined run learned from
_RESTORE = "restore it, or train again"
_SCORED = ("data", "split", "protocol")
_LOCK_TIMEOUT_S = 15.0  # loaders of a killed training may hold the lock so long


@contextmanager
def one_at_a_time(path: Path) -> Iterator[None]:
    """Keep other processes from writing the same run folder; ConfigError while one of them does.

    The lock's file stays in a run, as taking it away while others wait for it is not safe everywhere. Where there is no
    run in the end nothing is left, nor a folder that was made for it.
    """
    if path.exists() and not path.is_dir():
        raise ConfigError(f"{path} is a file: choose a folder as `out=`")
    new = not path.exists()
    path.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path / LOCK_FILE)
    try:
        lock.acquire(timeout=_LOCK_TIMEOUT_S)
    except Timeout as error:
        raise ConfigError(
            f"{path} is being trained by another process: wait for it to end, or choose another `out=`"
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

    def __fspath__(self) -> str:
        """Its path, so that whatever takes the path of a run takes the run."""
        return str(self.path)

    def require_trained(self) -> RunFolder:
        """Raise CheckpointError unless the folder holds a finished model."""
        if not self.path.is_dir():
            raise CheckpointError(f"no run folder {self.path}: expected the `out=` of `cdtr train`")
        for file in (self.config_file, self.classes_file, self.weights):
            if not file.is_file():
                hint = (
                    "training has not finished, go on with `cdtr train ... --resume`"
                    if self.state.is_dir()
                    else "is it the `out=` of `cdtr train`?"
                )
                raise CheckpointError(f"{self.path} has no {file.name}: {hint}")
        return self

    def config(self) -> Config:
        """Its settings; CheckpointError where they are those of a newer version."""
        try:
            return parse_config(read_text(self.config_file), str(self.config_file))
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
        try:
            return Version((self.known_manifest().get("versions") or {})["cdtr"])
        except (CheckpointError, KeyError, InvalidVersion):
            return None

    def class_names(self) -> tuple[str, ...]:
        """Return the classes in the order of their indices."""
        return read_class_names(self.classes_file)

    def manifest(self, *needed: str) -> dict[str, Any]:
        """What is known of the training.

        Args:
            needed: Dotted keys that the caller cannot do without.

        Raises:
            CheckpointError: For a file that is damaged, or that lacks what is needed.
        """
        content = read_run_file(self.manifest_file, Manifest, _RESTORE)
        require(content, needed, self.manifest_file, _RESTORE)
        return content

    def known_manifest(self) -> dict[str, Any]:
        """The manifest, empty where the run has none."""
        return self.manifest() if self.manifest_file.is_file() else {}

    def trained_hw(self) -> tuple[int, int]:
        """Typical height and width of the training images; ``data.resize`` for runs from before that was noted."""
        noted = (self.known_manifest().get("data") or {}).get("image_hw")
        return self.config().data.resize if noted is None else (noted[0], noted[1])

    def calibration(self) -> dict[str, Any] | None:
        """The stored threshold and what it was chosen on, or None before `cdtr calibrate`."""
        if not self.calibration_file.is_file():
            return None
        return read_run_file(self.calibration_file, CalibrationFile, "run `cdtr calibrate` again")

    def scores(self) -> list[dict[str, Any]]:
        """What `cdtr evaluate` measured, one entry for each data set, split and protocol; the last of each counts."""
        if not self.scores_file.is_file():
            return []
        advice = "remove it and run `cdtr evaluate` again"
        stored: list[dict[str, Any]] = read_run_file(self.scores_file, ScoresFile, advice)["scores"]
        return stored

    def add_scores(self, entries: Iterable[Mapping[str, Any]]) -> None:
        """Store what was measured, in the place of an older entry for the same data set, split and protocol."""
        stored = {tuple(entry.get(key) for key in _SCORED): dict(entry) for entry in [*self.scores(), *entries]}
        write_json(self.scores_file, {"scores": list(stored.values())})

    def log(self, kind: str) -> list[dict[str, Any]]:
        """The records of ``metrics.jsonl`` of a kind, ``step`` or ``epoch``; a line that a kill cut short is left out.

        Raises:
            CheckpointError: For a line that was written by something else.
        """
        if not self.metrics_file.is_file():
            return []
        records = []
        for number, _, content in read_log_lines(self.metrics_file):
            where = f"{self.metrics_file}, line {number}"
            record = check_content(content, LogRecord, where, "restore the file, or remove that line")
            records.append(record.model_dump())
        return [record for record in records if record["kind"] == kind]

    def drop_log_after(self, step: int) -> None:
        """Forget what a killed run logged after the state it resumes from, and what is no record."""
        if not self.metrics_file.is_file():
            return
        kept = [line for _, line, content in read_log_lines(self.metrics_file) if _is_until(content, step)]
        write_atomic(self.metrics_file, "".join(f"{line}\n" for line in kept))


def _is_until(content: Any, step: int) -> bool:
    try:
        return check_content(content, LogRecord, "", "").step <= step
    except CheckpointError:
        return False
