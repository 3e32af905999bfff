"""Feature maps of a frozen CNN, computed once for each image and kept on disk.

A frozen network returns the same feature maps in every epoch, so they are computed once for each image and its mirror
image, and kept where the next training on the same images finds them. Crops and shifts would need maps of their own:
with ``data.augment`` other than ``flip`` and ``none`` the network runs in every step, as without this file.
"""

from __future__ import annotations

import hashlib
import math
import os
import secrets
import shutil
import time
import zlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor

from cdtr.config import Config, DataConfig
from cdtr.data.batches import OnBroken
from cdtr.data.loader import eval_loader
from cdtr.data.transforms import EvalTransform
from cdtr.errors import DataError
from cdtr.files import full_disk_named, hash_file
from cdtr.image_files.reading import read_image
from cdtr.model.cnn import CnnFeatures
from cdtr.model.cnn_backbone import CnnBackbone
from cdtr.records import Batch, Sample
from cdtr.training.log import Say, TimeLeft

FOLDER_VARIABLE = "CDTR_CACHE"  # names the folder of cached files; by default cdtr in XDG_CACHE_HOME or ~/.cache
_FORMAT = b"cdtr features 1"
_KEPT_S = 30 * 24 * 3600.0  # seconds that the features of a network and size are kept after their last use
_UNFINISHED = ".tmp"  # ends the names of files that are being written
_BETWEEN_LINES_S = 15.0  # seconds between two lines on how far it is
_ABANDONED_S = 24 * 3600.0  # seconds after which an unfinished file is one of a killed process
_LARGEST = 255  # of a stored value, a byte
_BATCH = 16  # images whose features are computed at once
_OVERHEAD = 1_000_000  # bytes that a packed file may have beyond its content, where nothing can be packed
_SPARSE = 1  # zlib's fastest level: last feature maps are mostly zeros


class FeatureStore:
    """Feature maps of images and mirrored images on disk, one file for each content of an image file.

    Values are stored in steps of 1/255 of the range of each channel in each image. A file that is missing or damaged
    when it is read is computed again.

    Args:
        cnn: The frozen network.
        data: How images are read and resized.
        folder: Where the files lie; None for the user's cache.

    Attributes:
        broken: Why by id of the images that have no features, as they cannot be read, in all processes.
    """

    def __init__(self, cnn: CnnFeatures | CnnBackbone, data: DataConfig, folder: Path | None = None) -> None:
        self.cnn, self.data = cnn, data
        root = (folder or _cache_folder()) / "features"
        self.folder = root / _identity(cnn, data)
        self._names: dict[str, str] = {}
        self.broken: dict[str, str] = {}
        _drop_unused(root, self.folder)

    def fill(
        self,
        samples: Sequence[Sample],
        config: Config,
        accelerator: Accelerator,
        say: Say,
        on_broken: OnBroken | None = None,
    ) -> None:
        """Compute what is missing; several processes share the work. Images that break go to ``on_broken``.

        Raises:
            DataError: The folder cannot be written, or the disk is full.
        """
        self._names |= {sample.image_id: hash_file(sample.path) for sample in samples}
        missing = [sample for sample in samples if not self._file(sample).is_file()]
        if missing:
            say(f"computing the features of {len(missing)} images, once; kept in {self.folder}")
        started = time.monotonic()
        # Shared out before looking at files, which other processes write meanwhile.
        own = samples[accelerator.process_index :: accelerator.num_processes]
        absent = [sample for sample in own if not self._file(sample).is_file()]
        loader = eval_loader(absent, in_small_batches(config), on_broken=on_broken)
        left, done, said = TimeLeft(len(absent)), 0, started
        for batch in loader:
            self._compute(batch.samples, batch.images)
            done += len(batch.samples)
            if time.monotonic() > said + _BETWEEN_LINES_S and done < len(absent):
                said = time.monotonic()
                say(f"features of {done}/{len(absent)} images, {left.after(done)}")
        self.broken = dict(gather_object(list(loader.broken.items())))
        accelerator.wait_for_everyone()
        if missing:
            used = sum(self._file(sample).stat().st_size for sample in samples if self._file(sample).is_file())
            say(f"features of {len(samples)} images: {used / 1e6:.0f} MB, {time.monotonic() - started:.0f} s")

    def levels(self, samples: Sequence[Sample], mirrored: Sequence[bool], device: torch.device) -> list[Tensor]:
        """The feature maps of some images, (B, C_i, h_i, w_i) each, as ``CnnFeatures.levels`` returns them."""
        views = [self._read(sample, flip) for sample, flip in zip(samples, mirrored, strict=True)]
        return [torch.from_numpy(np.stack(maps)).to(device) for maps in zip(*views, strict=True)]

    def attach(self, batch: Batch) -> Batch:
        """Add the feature maps to a batch whose images are whole, or mirrored as it says."""
        mirrored = batch.mirrored or (False,) * len(batch.samples)
        return replace(batch, levels=tuple(self.levels(batch.samples, mirrored, batch.labels.device)))

    def _compute(self, samples: Sequence[Sample], images: Tensor) -> None:
        """Write the feature maps of images (B, 3, H, W) and their mirror images."""
        images = images.to(next(self.cnn.network.parameters()).device)
        with torch.no_grad():
            views = [self.cnn.levels(view) for view in (images, images.flip(-1))]
        for index, sample in enumerate(samples):
            self._write(self._file(sample), [[level[index] for level in view] for view in views])

    def _file(self, sample: Sample) -> Path:
        name = self._names[sample.image_id]
        return self.folder / name[:2] / name

    def _write(self, path: Path, views: Sequence[Sequence[Tensor]]) -> None:
        packed = zlib.compress(b"".join(_packed(level) for view in views for level in view), _SPARSE)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Several machines may share the folder, so that a number of a process is not enough.
            temporary = path.with_name(f"{path.name}.{secrets.token_hex(8)}{_UNFINISHED}")
            try:
                with full_disk_named(path):
                    temporary.write_bytes(packed)
                temporary.replace(path)
            finally:
                temporary.unlink(missing_ok=True)
        except OSError as error:
            raise DataError(
                f"the features of images cannot be kept in {self.folder} ({error.strerror or error}): set "
                f"{FOLDER_VARIABLE} to a folder that can be written and has space, or backbone.cnn.cache to false"
            ) from error

    def _read(self, sample: Sample, mirrored: bool) -> list[np.ndarray[Any, Any]]:
        sizes = [4 * shape[0] * 2 + math.prod(shape) for shape in self.cnn.level_shapes]
        raw = _content(self._file(sample), 2 * sum(sizes))
        if raw is None:
            image = EvalTransform(self.data)(read_image(sample.path, self.data.max_pixels))
            self._compute([sample], image[None])
            raw = _content(self._file(sample), 2 * sum(sizes))
        if raw is None:
            raise DataError(
                f"the features of {sample.image_id}, kept in {self._file(sample)}, cannot be read: set "
                f"{FOLDER_VARIABLE} to another folder, or backbone.cnn.cache to false"
            )
        start = sum(sizes) if mirrored else 0
        found = []
        for shape, size in zip(self.cnn.level_shapes, sizes, strict=True):
            found.append(_unpacked(raw[start : start + size], shape))
            start += size
        return found


def in_small_batches(config: Config) -> Config:
    """The same settings with smaller batches, over which a CPU computes features faster."""
    return config.updated(evaluation={"batch_size": _BATCH})


def _content(path: Path, size: int) -> bytes | None:
    """What a kept file has packed; None if it is missing or damaged, or has another size, in bytes."""
    unpacking = zlib.decompressobj()
    try:
        with path.open("rb") as file:
            raw = unpacking.decompress(file.read(size + _OVERHEAD), size + 1)
    except (OSError, zlib.error):
        return None
    return raw if len(raw) == size and unpacking.eof else None


def _packed(level: Tensor) -> bytes:
    """Lowest value and step of each channel (C, h, w) as float32, then the values as bytes."""
    values = level.float().cpu().numpy()
    lowest = values.min(axis=(1, 2))
    step = np.maximum((values.max(axis=(1, 2)) - lowest) / _LARGEST, 1e-12)
    whole = np.rint((values - lowest[:, None, None]) / step[:, None, None]).astype(np.uint8)
    return b"".join((lowest.astype("<f4").tobytes(), step.astype("<f4").tobytes(), whole.tobytes()))


def _unpacked(raw: bytes, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    channels = shape[0]
    lowest, step = np.frombuffer(raw, "<f4", 2 * channels).reshape(2, channels, 1, 1)
    whole = np.frombuffer(raw, np.uint8, offset=8 * channels).reshape(shape)
    found: np.ndarray[Any, Any] = whole * step + lowest
    return found.astype(np.float32)


def _identity(cnn: CnnFeatures | CnnBackbone, data: DataConfig) -> str:
    """A name for all that decides an image's features: the network, its weights and maps, and how images are read.

    Networks with the same weights differ: ``efficientnet_lite2`` pads other sides than ``tf_efficientnet_lite2``.
    """
    network: Any = cnn.network
    found = hashlib.sha256(_FORMAT + repr(network).encode())
    for name, tensor in sorted(network.state_dict().items()):
        found.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    found.update(repr((cnn.reductions, cnn.level_shapes, data.input_size, data.mean, data.std)).encode())
    found.update(repr([network.pretrained_cfg[key] for key in ("mean", "std")]).encode())
    return found.hexdigest()[:24]


def _cache_folder() -> Path:
    named = os.environ.get(FOLDER_VARIABLE)
    if named:
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cdtr"


def _drop_unused(root: Path, own: Path) -> None:
    """Delete the features of networks and sizes that nobody has used for a month, and what killed processes left.

    ``own`` is marked as used. A folder that is there and cannot be written stays as it is: it may hold all that is
    needed.
    """
    try:
        own.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(
            f"{own} cannot be made for the features of images ({error.strerror or error}): set {FOLDER_VARIABLE} to "
            "a folder that can be written, or backbone.cnn.cache to false"
        ) from error
    now = time.time()
    with suppress(OSError):
        os.utime(own)
    with suppress(OSError):
        for folder in root.iterdir():
            if folder != own and folder.is_dir() and now - folder.stat().st_mtime > _KEPT_S:
                shutil.rmtree(folder, ignore_errors=True)
    for unfinished in root.glob(f"*/*/*{_UNFINISHED}"):
        with suppress(OSError):
            if now - unfinished.stat().st_mtime > _ABANDONED_S:
                unfinished.unlink()
