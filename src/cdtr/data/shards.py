"""Writing a data set as tar shards in WebDataset's form, which ``datasets/webdataset.py`` reads."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cdtr.data.datasets.webdataset import CLASSES_FILE, INDEX_FILE, MASK_SUFFIX
from cdtr.errors import ConfigError, DataError, how_to_install
from cdtr.files import full_disk_named
from cdtr.image_files.tar_members import open_file
from cdtr.records import DataSource, Sample

_UNFINISHED = ".unfinished"


def write_shards(
    source: DataSource,
    out: Path,
    images_per_shard: int = 1000,
    megabytes: float = 1000,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
    on_broken: Callable[[Sample, str], None] | None = None,
) -> dict[str, int]:
    """Write every split of a set into ``out`` and return the number of shards of each.

    The images are mixed by ``seed``, since training reads a shard in a row, and are copied byte for byte, with their
    boxes and masks; images and boxes that cannot be read go to ``on_broken`` with the reason, and are left out. All is
    written beside ``out`` and renamed when it is whole. Raises DataError for an ``out`` that
    holds something, ConfigError without the library webdataset.
    """
    wds = require_webdataset()
    counts: dict[str, int] = {}
    with full_disk_named(out), _whole_or_nothing(out.resolve()) as draft:
        index: dict[str, dict[str, Any]] = {}
        for position, (split, samples) in enumerate(source.splits.items()):
            if not samples:
                continue
            pattern = str(draft / f"{split}-%06d.tar").replace("%06d", "\0").replace("%", "%%")
            order = np.random.default_rng([seed, position]).permutation(len(samples))
            with wds.ShardWriter(
                pattern.replace("\0", "%06d"), images_per_shard, megabytes * 1e6, verbose=0, encoder=False, mtime=0
            ) as writer:
                for key, number in enumerate(order.tolist()):
                    sample = samples[number]
                    record = _record(source, sample, key, on_broken)
                    if record is not None:
                        writer.write(record)
                        images = index.setdefault(Path(writer.fname).name, {"images": []})["images"]
                        images.append([_member(record), sample.label, sample.image_id])
                    if progress is not None:
                        progress(1)
            counts[split] = sum(name.rpartition("-")[0] == split for name in index)
        for name, shard in index.items():
            shard["bytes"] = (draft / name).stat().st_size
        (draft / CLASSES_FILE).write_text("".join(f"{name}\n" for name in source.class_names), encoding="utf-8")
        tree = {"shards": index, "annotated": source.annotated}
        (draft / INDEX_FILE).write_text(json.dumps(tree, separators=(",", ":")), encoding="utf-8")
    return counts


@contextmanager
def _whole_or_nothing(out: Path) -> Iterator[Path]:
    """A folder beside ``out`` that takes its place in the end, and goes if there is none; DataError as above."""
    require_empty(out)
    draft = out.with_name(out.name + _UNFINISHED)
    shutil.rmtree(draft, ignore_errors=True)  # of a writing that was killed
    draft.mkdir(parents=True)
    try:
        yield draft
        if out.is_dir():
            out.rmdir()
        draft.replace(out)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def require_empty(out: Path) -> None:
    """Raise DataError where something is in the folder to write, or it is a file."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DataError(f"{out} is not empty: choose another folder as `out=`")


def require_webdataset() -> Any:
    """The library, which only shards need."""
    try:
        import webdataset
    except ImportError as error:
        raise ConfigError(f"shards need the library webdataset: {how_to_install('shards')}") from error
    return webdataset


def _member(record: dict[str, Any]) -> str:
    suffix = next(key for key in record if key not in ("__key__", "cls", "json", MASK_SUFFIX[1:]))
    return f"{record['__key__']}.{suffix}"


def _record(
    source: DataSource, sample: Sample, key: int, on_broken: Callable[[Sample, str], None] | None
) -> dict[str, Any] | None:
    """The members of one sample, without its boxes where those cannot be read; None for an image that cannot."""
    try:
        with open_file(sample.path) as file:
            content = file.read()
    except OSError as error:
        if on_broken is not None:
            on_broken(sample, f"{sample.path}: {error.strerror or error}")
        return None
    try:
        annotation = source.annotate(sample)
    except DataError as error:
        annotation = None
        if on_broken is not None:
            on_broken(sample, f"its boxes alone, {error}")
    about: dict[str, Any] = {"image_id": sample.image_id, "class": source.class_names[sample.label]}
    record: dict[str, Any] = {"__key__": f"{key:08d}", sample.path.suffix.lower().lstrip("."): content}
    if annotation is not None:
        about["boxes_xyxy"] = annotation.boxes_xyxy.tolist()
        if annotation.mask is not None:
            png = io.BytesIO()
            Image.fromarray(annotation.mask).save(png, "PNG")
            record[MASK_SUFFIX[1:]] = png.getvalue()
    return record | {"cls": str(sample.label).encode(), "json": json.dumps(about).encode()}
