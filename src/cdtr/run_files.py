"""The small files of a run, each with the types that its readers rely on: one reader for all of them.

A field that is not named here is kept as it is. Every field may be missing, as runs of earlier versions and imported
ones lack some; who cannot do without one asks ``require``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from cdtr.errors import CheckpointError
from cdtr.json_tree import parse_json
from cdtr.text import fits_a_line

_LARGEST = 2**53  # whole numbers up to here are floats too
_MOST_BYTES = 256 * 1024 * 1024

Count = Annotated[int, Field(ge=0, le=_LARGEST)]
Side = Annotated[int, Field(ge=1, le=_LARGEST)]
Threshold = Annotated[float, Field(ge=0, lt=1)]
Numbers = Annotated[dict[str, float], BeforeValidator(lambda value: {} if value is None else value)]
Content = TypeVar("Content", bound="Tree")


class Tree(BaseModel):
    """Strict: text is no number, and a number no text."""

    model_config = ConfigDict(strict=True, extra="allow", protected_namespaces=())


class Split(Tree):
    """One split in ``manifest.json``."""

    images: Count
    sha256: str | None = None


class Data(Tree):
    """The data set in ``manifest.json``."""

    format: str | None = None
    classes: Count | None = None
    root: str | None = None
    image_hw: Annotated[list[Side], Field(min_length=2, max_length=2)] | None = None


class Started(Tree):
    """The file of weights that a training started from."""

    file: str
    sha256: str
    notes: dict[str, str] | None = None


class Fit(Tree):
    """How well CLIP knows the classes."""

    fit: float


class Imported(Tree):
    """The released checkpoint that a run was made of."""

    file: str
    sha256: str
    model: str = "unknown"


class Resumed(Tree):
    """A change of settings when a training was resumed."""

    step: Count
    settings: dict[str, Any]


class Manifest(Tree):
    """``manifest.json``."""

    versions: dict[str, str] | None = None
    git_revision: str | None = None
    recipe: str | None = None
    seed: int | None = None
    data: Data | None = None
    splits: dict[str, Split] | None = None
    started_from: Started | None = None
    clip_fit: Fit | None = None
    imported: Imported | None = None
    requested_config: str | None = None
    broken_images: dict[str, str] | None = None
    resumed_with: list[Resumed] | None = None


class ByProtocol(Tree):
    """The threshold that was chosen under one protocol."""

    threshold: Threshold
    view: str | None = None


class HasObject(Tree):
    """The probability of an object from which an image gets a box, where some classes have no object."""

    threshold: Threshold


class CalibrationFile(Tree):
    """``calibration.json``; ``BoxQuality`` checks its scores of boxes."""

    threshold: Threshold | None = None
    gt_known_loc: float | None = None
    n_images: Count | None = None
    source: str | None = None
    view: str | None = None
    curve: list[Annotated[list[float], Field(min_length=2, max_length=2)]] | None = None
    by_protocol: dict[str, ByProtocol] | None = None
    contents: list[str] | None = None
    box_scores: dict[str, Any] | None = None
    map_span: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    has_object: HasObject | None = None


class Baseline(Tree):
    """The metrics of a trivial baseline, by key, and how its box was chosen."""

    __pydantic_extra__: dict[str, float | None]
    relative_size_hw: list[float] | None = None
    chosen_on: str | None = None


class Scores(Tree):
    """An entry of ``scores.json``."""

    data: str | None = None
    split: str | None = None
    protocol: str | None = None
    recipe: str | None = None
    view: str | None = None
    n_images: Count | None = None
    threshold: float | None = None
    threshold_source: str | None = None
    metrics: dict[str, float | None] | None = None
    intervals: dict[str, Annotated[list[float], Field(min_length=2, max_length=2)] | None] | None = None
    baselines: dict[str, Baseline | None] | None = None


class ScoresFile(Tree):
    """``scores.json``: the scores that `cdtr evaluate` kept."""

    scores: list[Scores]


class LogRecord(Tree):
    """A line of ``metrics.jsonl``."""

    kind: str
    step: Count
    epoch: Count
    terms: dict[str, float]
    lambdas: Numbers = {}
    held_out: Numbers = {}
    attention: Numbers = {}
    diagnostics: Numbers = {}


def read_run_file(path: Path, kind: type[Content], advice: str) -> dict[str, Any]:
    """The content of a JSON file of a run, checked; CheckpointError with the file, the field and ``advice``."""
    content: dict[str, Any] = _parse(path, read_text(path), advice)
    check_content(content, kind, str(path), advice)
    return content


def check_content(content: Any, kind: type[Content], where: str, advice: str) -> Content:
    """The content as ``kind`` has it; CheckpointError that names the first field of another type."""
    if not isinstance(content, dict):
        raise CheckpointError(f"{where} holds no JSON object: {advice}")
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        found = "" if first["type"] == "missing" else f" is {first['input']!r:.60}"
        raise CheckpointError(f"{where}: {place}{found}: {first['msg']}: {advice}") from error


def require(content: Mapping[str, Any], keys: Sequence[str], path: Path, advice: str) -> None:
    """CheckpointError where a dotted key is missing or null."""
    for key in keys:
        value: Any = content
        for part in key.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        if value is None:
            raise CheckpointError(f"{path} has no {key}: {advice}")


def read_log_lines(path: Path) -> Iterator[tuple[int, str, Any]]:
    """Number and text of each line of a log, and what it says, without lines that a kill cut short."""
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if line.strip():
            try:
                content = _parse(path, line, "")
            except CheckpointError:
                continue
            yield number, line, content


def read_class_names(path: Path) -> tuple[str, ...]:
    r"""Read the classes of a run, one a line; a line ends at ``\n`` and nowhere else, as they are written."""
    lines = read_text(path).split("\n")
    if lines[-1] == "":
        lines.pop()
    if lines and all(line.endswith("\r") for line in lines):  # saved again by an editor of Windows
        lines = [line.removesuffix("\r") for line in lines]
    for number, name in enumerate(lines, start=1):
        if not fits_a_line(name):
            raise CheckpointError(
                f"{path}, line {number}: {name!a:.60} is no name of a class: restore the file as `cdtr train` wrote it"
            )
    if not lines:
        raise CheckpointError(f"{path} names no class: restore the file as `cdtr train` wrote it")
    return tuple(lines)


def read_text(path: Path) -> str:
    """The text of a file; CheckpointError for one that is not UTF-8, cannot be read or is far too large."""
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise CheckpointError(f"{path} is too large to be a file of a run: restore it")
        return path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise CheckpointError(
            f"{path} is not UTF-8 (byte {error.start}): expected the file as `cdtr train` wrote it, restore it"
        ) from error
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error.strerror or error}): restore it") from error


def _parse(path: Path, text: str, advice: str) -> Any:
    try:
        content = parse_json(text)
        json.dumps(content, ensure_ascii=False).encode("utf-8")  # halves of surrogate pairs can be told but not written
    except ValueError as error:
        raise CheckpointError(f"{path} cannot be read ({' '.join(str(error).split())[:160]}): {advice}") from error
    return content
