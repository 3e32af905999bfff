"""Maps of images in files, ``.npy`` or PNG, named as the images are: what other tools write for us to read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from cdtr.errors import DataError
from cdtr.image_files.reading import open_bounded
from cdtr.records import FloatArray, Sample

MAX_VALUES = 100_000_000  # of one map; larger ones are refused before they are read
_SUFFIXES = (".npy", ".png")
_NUMBERS = "biuf"  # kinds of NumPy types: truth values, integers and floats
_PNG = b"\x89PNG\r\n\x1a\n"


def find_maps(folder: Path, samples: Sequence[Sample]) -> dict[str, Path]:
    """Find the map file of each image: ``IMAGE_ID.npy`` or ``.png``, with or without the image's own suffix.

    Args:
        folder: Where the files are.
        samples: The images.

    Returns:
        Path by image id.

    Raises:
        DataError: For an image without a map or with two, for two images that share one, and for a folder that holds
            the images themselves.
    """
    found: dict[str, Path] = {}
    missing = []
    owners: dict[Path, str] = {}
    with_full_name = {folder / f"{sample.image_id}{suffix}" for sample in samples for suffix in _SUFFIXES}
    for sample in samples:
        name = Path(sample.image_id)
        candidates = {folder / f"{name}{suffix}" for suffix in _SUFFIXES}
        # a.png.png is the map of a.png, even if there is an image a.png.png.
        candidates |= {folder / name.with_suffix(suffix) for suffix in _SUFFIXES} - with_full_name
        present = sorted(path for path in candidates if path.is_file())
        if len(present) > 1:
            raise DataError(f"{sample.image_id} has two maps, {present[0]} and {present[1]}: keep one")
        if not present:
            missing.append(sample.image_id)
            continue
        (path,) = present
        if path in owners:
            raise DataError(
                f"{path} would be the map of {owners[path]} and of {sample.image_id}: name it "
                f"{path.stem}.SUFFIX{path.suffix}"
            )
        if path.suffix == ".png" and sample.path.exists() and path.samefile(sample.path):
            raise DataError(f"{path} is the image itself: expected a folder with maps of the images")
        owners[path] = sample.image_id
        found[sample.image_id] = path
    if missing:
        raise DataError(
            f"{folder} lacks the maps of {len(missing)} of {len(samples)} images, such as {missing[0]}: expected "
            f"{Path(missing[0]).with_suffix('.npy')} or .png"
        )
    return found


def load_maps(path: Path, n_classes: int | None = None, max_values: int = MAX_VALUES) -> FloatArray:
    """Read a map file; the array of a ``.npy`` is mapped into memory.

    Args:
        path: The file.
        n_classes: Number of classes C; None for a file that must hold a single map.
        max_values: Most values of one map.

    Returns:
        (h, w), or (C, h, w) with a map for each class. Values of ``.npy`` are as they are. Those of a PNG are in
        [0, 1], float32: its grey values by the bit depth, or its transparency if it is a cut-out.

    Raises:
        DataError: For another shape, type or number of classes, and for colours; the message names the file.
    """
    content = _read_png(path, max_values) if path.suffix.lower() == ".png" else _read_npy(path)
    single = n_classes is None
    wanted = "one map (h, w)" + ("" if single else " or one a class (C, h, w)")
    if content.ndim != 2 and (single or content.ndim != 3):
        raise DataError(f"{path} has shape {content.shape}: expected {wanted}")
    if 0 in content.shape:
        raise DataError(f"{path} has shape {content.shape}, so it is empty: expected {wanted}")
    if content.ndim == 3 and len(content) != n_classes:
        raise DataError(f"{path} has {len(content)} maps, the data has {n_classes} classes: expected one a class")
    height, width = content.shape[-2:]
    if height * width > max_values:
        raise DataError(f"{path} has a map of {width} x {height} values, more than {max_values}: scale it down")
    if content.dtype.kind not in _NUMBERS:
        raise DataError(f"{path} holds values of type {content.dtype}: expected numbers")
    return content


def _read_npy(path: Path) -> FloatArray:
    try:
        content = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{path} is no array file that can be read ({reason}): expected numpy.save of a map") from error
    if not isinstance(content, np.ndarray):
        content.close()
        raise DataError(f"{path} is an archive of arrays: expected numpy.save of one map")
    return content


def _read_png(path: Path, max_pixels: int) -> FloatArray:
    try:
        with path.open("rb") as file:
            if file.read(len(_PNG)) != _PNG:
                raise DataError(f"{path} is no PNG: expected a PNG of grey values")
            file.seek(0)
            with open_bounded(file, path, max_pixels) as image:
                image.load()
                return _grey(image, path)
    except DataError:
        raise
    except Exception as error:  # decoders of broken files raise nearly anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path} cannot be decoded ({reason}): expected a PNG of grey values") from error


def _grey(image: Image.Image, path: Path) -> FloatArray:
    """Return the values of a grey image by its bit depth, or the transparency of one that has any, in [0, 1]."""
    if image.mode == "1":
        return np.asarray(image).astype(np.float32)
    if image.mode.startswith("I"):
        return (np.asarray(image).astype(np.float32) / 65535).clip(0, 1)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        transparency = np.asarray(image)[..., 3]
        if transparency.min() < 255:
            return transparency.astype(np.float32) / 255
    channels = np.asarray(image.convert("RGB"))
    if not (channels == channels[..., :1]).all():
        raise DataError(f"{path} has colours: expected a map of grey values, or a cut-out with transparency")
    return channels[..., 0].astype(np.float32) / 255
