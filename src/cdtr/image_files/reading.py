"""Image files of any kind to upright 8-bit RGB; whatever cannot be read is a DataError of one line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, TypeAlias

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from cdtr.cores import core_count
from cdtr.errors import DataError
from cdtr.image_files.jpeg_scans import MAX_SCANS, has_too_many_scans
from cdtr.image_files.pixel_budget import PixelBudget
from cdtr.image_files.tar_members import file_size, in_tar, open_file
from cdtr.records import FloatArray, Sample

IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm", ".pgm"}
)

# Pillow would also try dozens of rare ones, and Ghostscript for EPS.
_TAKEN = ("JPEG", "PNG", "WEBP", "BMP", "DIB", "GIF", "TIFF", "PPM", "AVIF", "JPEG2000")
Image.init()  # not safe from several threads later
FORMATS = tuple(name for name in _TAKEN if name in Image.OPEN)  # older versions of Pillow lack some

Admit: TypeAlias = Callable[[int], None]
_DECODING = PixelBudget(128_000_000)  # at up to 12 bytes a pixel while it is decoded, turned and converted

_ORIENTATION = 0x0112  # EXIF tag; from 5 on the image lies on its side
_MOST_SIZES = 200
_TIFF_WIDTH, _TIFF_LENGTH = 256, 257


class TooManyPixelsError(DataError):
    """An image that is not decoded because of its size."""


def read_image(path: Path, max_pixels: int, admit: Admit | None = None) -> Image.Image:
    """Decode a file to an RGB image, turned upright by its EXIF tag; of several frames the first.

    Transparency is laid on white, 16-bit grey is scaled by its bit depth. Raises DataError for a file that is
    missing, empty, broken, cut short, no image, or of more than ``max_pixels`` pixels or ``MAX_SCANS`` scans (known
    before decoding). admit: called with the number of pixels before they are decoded; it may wait.
    """
    try:
        with open_file(path) as file:
            return decode_image(file, path, max_pixels, admit)
    except DataError:
        raise
    except Exception as error:  # a path that no system takes is a ValueError
        raise _unreadable(path, error, max_pixels) from error


def decode_image(file: IO[bytes], path: Path, max_pixels: int, admit: Admit | None = None) -> Image.Image:
    """``read_image`` of an opened file; ``path`` is what errors call it."""
    try:
        with open_bounded(file, path, max_pixels) as image:
            pixels = image.width * image.height
            if admit is not None:
                admit(pixels)
            with _DECODING.hold(pixels):
                image.load()
                return upright_rgb(image)
    except DataError:
        raise
    except Exception as error:  # decoders of broken files raise nearly anything
        raise _unreadable(path, error, max_pixels) from error


def read_size(path: Path, max_pixels: int) -> tuple[int, int]:
    """Height and width of an image once it is turned upright, from its header; DataError as ``read_image``."""
    try:
        with open_file(path) as file, open_bounded(file, path, max_pixels) as image:
            width, height = _stored_size(image)
            turned = image.getexif().get(_ORIENTATION, 1) >= 5
            return (width, height) if turned else (height, width)
    except DataError:
        raise
    except Exception as error:
        raise _unreadable(path, error, max_pixels) from error


def upright_rgb(image: Image.Image) -> Image.Image:
    """An opened image of any mode as ``read_image`` gives it."""
    return _to_rgb(_upright(image))


def check_images(
    samples: Sequence[Sample], max_pixels: int, threads: int | None = None
) -> tuple[list[Sample], list[tuple[Sample, str]]]:
    """Sort samples into good ones and (sample, reason) of broken ones, in their order, by a look at the headers.

    Fast, so that it can run before every training: damage inside the pixel data shows up only when decoding. Members of
    tar files count as good unseen: they are there to be read in a row.
    """
    with ThreadPoolExecutor(threads or min(16, 4 + core_count())) as pool:
        reasons = list(pool.map(lambda sample: _header_fault(sample.path, max_pixels), samples))
    good = [sample for sample, reason in zip(samples, reasons, strict=True) if reason is None]
    broken = [(sample, reason) for sample, reason in zip(samples, reasons, strict=True) if reason is not None]
    return good, broken


def typical_size(samples: Sequence[Sample], max_pixels: int) -> tuple[int, int] | None:
    """Median height and width of images, of at most 200 of them at even distances, by their headers.

    Members of tar files are not opened for it. None where no size is known.
    """
    sizes = []
    for sample in samples[:: max(len(samples) // _MOST_SIZES, 1)]:
        try:
            if not in_tar(sample.path):
                sizes.append(read_size(sample.path, max_pixels))
        except DataError:
            continue
    if not sizes:
        return None
    height, width = np.median(np.array(sizes), axis=0).round().astype(int).tolist()
    return height, width


def _header_fault(path: Path, max_pixels: int) -> str | None:
    if in_tar(path):
        return None
    try:
        with open_file(path) as file, open_bounded(file, path, max_pixels) as image:
            image.verify()
    except DataError as error:
        return str(error)
    except Exception as error:  # as in read_image
        return str(_unreadable(path, error, max_pixels))
    return None


def open_bounded(file: IO[bytes], path: Path, max_pixels: int) -> Image.Image:
    """An image whose header is read and nothing decoded; DataError for one that asks for too much work.

    Formats whose decoders start another program, or are seldom used and tested, are none: what is read here comes from
    anybody.
    """
    image = Image.open(file, formats=FORMATS)
    width, height = image.size
    if width * height > max_pixels:
        raise TooManyPixelsError(
            f"{path} has {width} x {height} pixels, more than data.max_pixels = {max_pixels}: "
            "scale it down or raise the limit"
        )
    refuse_many_scans(image, file, path)
    return image


def refuse_many_scans(image: Image.Image, file: IO[bytes], path: Path) -> None:
    """DataError for a JPEG that would be decoded over and over."""
    if image.format in ("JPEG", "MPO") and has_too_many_scans(file):
        raise DataError(
            f"{path} is a JPEG of more than {MAX_SCANS} scans, each a pass over all pixels: save it as an ordinary one"
        )


def _stored_size(image: Image.Image) -> tuple[int, int]:
    """Width and height of the pixels in the file; of TIFF, Pillow's may be turned already."""
    if isinstance(image, TiffImageFile):
        return int(image.tag_v2[_TIFF_WIDTH]), int(image.tag_v2[_TIFF_LENGTH])
    return image.size


def _unreadable(path: Path, error: Exception, max_pixels: int) -> DataError:
    if isinstance(error, FileNotFoundError):
        return DataError(f"{path} does not exist: expected an image file")
    if isinstance(error, IsADirectoryError):
        return DataError(f"{path} is a folder: expected an image file")
    if isinstance(error, PermissionError):
        return DataError(f"{path} may not be read: check its permissions")
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return TooManyPixelsError(
            f"{path} has more pixels than Pillow decodes (data.max_pixels = {max_pixels}): scale the image down"
        )
    if isinstance(error, UnidentifiedImageError):
        if file_size(path) == 0:
            return DataError(f"{path} is empty: expected an image, replace or delete the file")
        return DataError(f"{path} is no image that Pillow knows: replace or delete the file")
    reason = " ".join(str(error).split()) or type(error).__name__
    return DataError(f"{path} cannot be decoded ({reason}): replace or delete the file")


def _upright(image: Image.Image) -> Image.Image:
    """Always a copy, because the file behind the image is about to be closed."""
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # a damaged EXIF block is no reason to lose a good image
        return image.copy()


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image).astype(np.float64)
        grey = _scale_floats(values) if image.mode == "F" else _scale_integers(values)
        return Image.fromarray(np.round(grey).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(white, layer).convert("RGB")
    return image.convert("RGB") if image.mode != "RGB" else image


def _scale_integers(values: FloatArray) -> FloatArray:
    """16 bits to [0, 255]; only values that need more bits are taken as 31 bits. Negative values become 0."""
    full = 65535.0 if values.max() <= 65535 else float(2**31 - 1)
    return np.clip(values, 0, full) * (255 / full)


def _scale_floats(values: FloatArray) -> FloatArray:
    """To [0, 255]: from [0, 1] or from [0, 255] if the values fit there, else from their own range; NaN becomes 0."""
    finite = np.isfinite(values)
    if not finite.any():
        return np.zeros_like(values)
    low, high = float(values[finite].min()), float(values[finite].max())
    if low >= 0 and high <= 255:
        low, high = 0.0, 1.0 if high <= 1 else 255.0
    # Infinities go to the end of the range on their side.
    values = np.nan_to_num(values, nan=low, posinf=high, neginf=low)
    return (values - low) * (255 / (high - low)) if high > low else np.zeros_like(values)
