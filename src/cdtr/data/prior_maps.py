"""Maps of another tool as the object prior of training images: found by image id, checked, and read one at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from cdtr.config import Config, uses_prior_maps
from cdtr.cores import core_count
from cdtr.errors import DataError
from cdtr.image_files.maps import find_maps, load_maps
from cdtr.records import Sample


@dataclass(frozen=True, slots=True)
class CheckedMaps:
    """What a look at all prior maps found.

    Attributes:
        folder: Where they are.
        images: How many there are.
        constant: Ids of the images whose map has a single value and so says nothing.
        sha256: Of all ids and scaled maps, to notice other maps when a run is resumed.
    """

    folder: str
    images: int
    constant: tuple[str, ...]
    sha256: str


class PriorMaps:
    """The maps of some images, read when they are needed.

    Args:
        folder: Where the files are, ``.npy`` or PNG.
        samples: The images that need a map.
        max_pixels: Larger maps are refused.

    Raises:
        DataError: There is no such folder, or as ``find_maps``.
    """

    def __init__(self, folder: Path, samples: Sequence[Sample], max_pixels: int) -> None:
        if not folder.is_dir():
            raise DataError(f"no folder {folder}: expected the maps of data.prior_maps, .npy or .png by image id")
        self.folder = folder
        self._files: Mapping[str, Path] = find_maps(folder, samples)
        self._max_pixels = max_pixels

    @classmethod
    def of(cls, config: Config, samples: Sequence[Sample]) -> PriorMaps | None:
        """Return the maps that a configuration asks for; None where its prior is another one."""
        if not uses_prior_maps(config) or config.data.prior_maps is None:
            return None
        return cls(Path(config.data.prior_maps).expanduser(), samples, config.data.max_pixels)

    def read(self, sample: Sample) -> Image.Image:
        """Read the map of an image.

        Returns:
            Mode ``F``, of the whole image, scaled from its minimum and maximum to [0, 1]; a constant map becomes zeros.

        Raises:
            DataError: The file cannot be read, or holds something else than one map of finite numbers.
        """
        path = self._files[sample.image_id]
        values = np.array(load_maps(path, None, self._max_pixels), dtype=np.float64)
        if not np.isfinite(values).all():
            raise DataError(f"{path} holds NaN or infinity: expected finite numbers")
        values /= max(float(np.abs(values).max()), 1.0)  # the span of the largest doubles would be infinite
        values -= values.min()
        values /= values.max() or 1.0
        return Image.fromarray(values.astype(np.float32))

    def check(self) -> CheckedMaps:
        """Read every map once.

        Raises:
            DataError: A map cannot be used, or all are constant.
        """
        names = sorted(self._files)
        with ThreadPoolExecutor(min(16, 4 + core_count())) as pool:
            found = list(pool.map(self._constant_and_hash, names))
        constant = tuple(name for name, (is_constant, _) in zip(names, found, strict=True) if is_constant)
        if len(constant) == len(names):
            raise DataError(f"every map in {self.folder} is constant: expected higher values on the objects")
        total = hashlib.sha256()
        for name, (_, content) in zip(names, found, strict=True):
            total.update(f"{name}\n{content}\n".encode())
        return CheckedMaps(str(self.folder), len(names), constant, total.hexdigest())

    def _constant_and_hash(self, name: str) -> tuple[bool, str]:
        values = np.asarray(self.read(Sample(name, self._files[name], 0)))
        content = hashlib.sha256(repr(values.shape).encode() + values.tobytes()).hexdigest()
        return not values.any(), content
