"""Read every image and annotation of a data set: faults, sizes, modes, and hashes that show copies."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, TypeAlias, TypeVar

from PIL import Image

from cdtr.cores import core_count
from cdtr.data.near_copies import perceptual_hash, require_imagehash
from cdtr.errors import DataError
from cdtr.image_files.paths import content_hash
from cdtr.image_files.reading import FORMATS, TooManyPixelsError, read_image
from cdtr.image_files.tar_members import file_size, open_file
from cdtr.parallel import map_in_order
from cdtr.records import Annotation, DataSource, Sample, UInt8Array

FaultKind: TypeAlias = Literal["missing", "empty", "too-large", "broken"]
Item = TypeVar("Item")
Result = TypeVar("Result")

_BLOCK = 1024  # images that are given to the threads at a time


@dataclass(frozen=True, slots=True)
class Fault:
    """Why an image cannot be read: its kind, and one line that names the file and says what to do."""

    kind: FaultKind
    message: str


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What is known of one image of a split.

    size_hw: of the upright image, None where it cannot be decoded. mode, file_format: as Pillow names them, "" for a
    file that it does not know. content: ``files.content_hash``, None for an empty or missing file. perceptual_hash:
    ``near_copies.perceptual_hash``, None where it was not asked for, for a blank image, and if it cannot be decoded.
    """

    split: str
    sample: Sample
    size_hw: tuple[int, int] | None = None
    mode: str = ""
    file_format: str = ""
    content: str | None = None
    perceptual_hash: UInt8Array | None = None
    fault: Fault | None = None


def scan_images(
    source: DataSource, max_pixels: int, near: bool = True, progress: Callable[[int], None] | None = None
) -> list[ImageFacts]:
    """Decode every image as a training would, in the order of the splits; ``near`` adds the perceptual hashes.

    Damage that a look at the headers does not show is found. Raises ConfigError for ``near`` without the library
    imagehash; a broken file is a fact and raises nothing.
    """
    if near:
        require_imagehash()
    Image.init()  # registering the formats is not safe from several threads
    members = [(split, sample) for split, samples in source.splits.items() for sample in samples]
    return list(in_threads(partial(_look, max_pixels=max_pixels, near=near), members, progress))


def in_threads(
    function: Callable[[Item], Result], items: Sequence[Item], progress: Callable[[int], None] | None = None
) -> Iterator[Result]:
    """``map`` by as many threads as there are cores, in order; decoders release the GIL."""
    for result in map_in_order(function, items, min(16, 1 + core_count()), _BLOCK):
        yield result
        if progress is not None:
            progress(1)


def _look(member: tuple[str, Sample], max_pixels: int, near: bool) -> ImageFacts:
    split, sample = member
    content = content_hash(sample.path) if file_size(sample.path) else None
    mode, file_format = _kind_of(sample.path)
    try:
        image = read_image(sample.path, max_pixels)
    except DataError as error:
        fault = Fault(_fault_kind(error, sample.path), str(error))
        return ImageFacts(split, sample, mode=mode, file_format=file_format, content=content, fault=fault)
    return ImageFacts(
        split=split,
        sample=sample,
        size_hw=(image.height, image.width),
        mode=mode,
        file_format=file_format,
        content=content,
        perceptual_hash=perceptual_hash(image) if near else None,
    )


def _kind_of(path: Path) -> tuple[str, str]:
    """Mode and format by the header, empty for a file without a good one: reading the image says why."""
    try:
        with open_file(path) as file, Image.open(file, formats=FORMATS) as header:
            return header.mode, header.format or ""
    except Exception:  # decoders of broken files raise nearly anything
        return "", ""


def _fault_kind(error: DataError, path: Path) -> FaultKind:
    if isinstance(error, TooManyPixelsError):
        return "too-large"
    if isinstance(error.__cause__, FileNotFoundError):
        return "missing"
    return "broken" if file_size(path) else "empty"


@dataclass(frozen=True, slots=True)
class BoxFacts:
    """The annotation of one readable image: None where it has none; ``fault``, in one line, where it cannot be read."""

    image: ImageFacts
    annotation: Annotation | None = None
    fault: str | None = None


def scan_boxes(
    source: DataSource, facts: Sequence[ImageFacts], progress: Callable[[int], None] | None = None
) -> list[BoxFacts]:
    """The annotations of the images that can be read, in their order; none of a set without annotations.

    A file of boxes that is damaged as a whole is one fault, of the first image, and the others are left out.
    """
    readable = [image for image in facts if image.fault is None] if source.annotated else []
    # The first ones alone: they make a reader of one file for all images read it.
    first = [_annotation_of(image, source) for image in readable[:2]]
    if first and first[0].fault is not None and {one.fault for one in first} == {first[0].fault}:
        return first[:1]
    if progress is not None:
        progress(len(first))
    return first + list(in_threads(partial(_annotation_of, source=source), readable[2:], progress))


def _annotation_of(image: ImageFacts, source: DataSource) -> BoxFacts:
    try:
        return BoxFacts(image, source.annotate(image.sample))
    except DataError as error:
        return BoxFacts(image, fault=str(error))
