"""From the bytes and the name of an upload to an image and an image id; whatever is wrong is one clear line."""

from __future__ import annotations

from http import HTTPStatus
from io import BytesIO
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import NamedTuple

from fastapi import HTTPException
from PIL import Image, UnidentifiedImageError

from cdtr.errors import DataError
from cdtr.formats import can_be_written
from cdtr.image_files.reading import decode_image

# Formats whose decoders see the most use; Pillow would also try dozens of rare ones.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")

_LONGEST_NAME = 255
_FIRST_FRAME = "the file holds several frames or pages: the first was taken"


class Header(NamedTuple):
    """What the first bytes say: MIME type, pixels, and whether more than one frame or page follows."""

    media_type: str
    size_wh: tuple[int, int]
    several: bool


class Upload(NamedTuple):
    """An upright RGB image, and what its sender should know about it."""

    image: Image.Image
    note: str | None


def image_id(file_name: str | None) -> str:
    """The name of an upload as an image id, a path below its folder; 422 for one that cannot be such."""
    path = PurePosixPath((file_name or "").replace("\\", "/"))
    name = path.as_posix()
    # Whoever unpacks the files of boxes on Windows would write C:/a.txt to that drive.
    leaves = path.is_absolute() or any(part == ".." or PureWindowsPath(part).drive for part in path.parts)
    if not path.name or leaves or len(name) > _LONGEST_NAME:
        raise _refused(
            HTTPStatus.UNPROCESSABLE_ENTITY, f"name {name[:80]!r}: expected a file name, or a path below a folder"
        )
    if not can_be_written(name):
        raise _refused(HTTPStatus.UNPROCESSABLE_ENTITY, f"name {name!a} holds a character that files of boxes cannot")
    return name


def read_upload(content: bytes, name: str, max_pixels: int) -> Upload:
    """Decode an upload. The type is found in the content, whatever the name says; of several frames the first.

    Raises 400 for no bytes, 415 for no image, 413 for too many pixels (before decoding) and 422 for damage.
    """
    header = read_header(content, name, max_pixels)
    try:
        image = decode_image(BytesIO(content), Path(name), max_pixels)
    except DataError as error:
        raise _refused(HTTPStatus.UNPROCESSABLE_ENTITY, str(error)) from error
    return Upload(image, _FIRST_FRAME if header.several else None)


def read_header(content: bytes, name: str, max_pixels: int) -> Header:
    """What an image says of itself; raises as ``read_upload``."""
    if not content:
        raise _refused(HTTPStatus.BAD_REQUEST, f"{name} is empty: expected an image")
    try:
        with Image.open(BytesIO(content), formats=FORMATS) as image:
            width, height = image.size
            kind, several = image.get_format_mimetype() or "", bool(getattr(image, "is_animated", False))
    except UnidentifiedImageError as error:
        names = f"{', '.join(FORMATS[:-1])} or {FORMATS[-1]}"
        raise _refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"{name} holds no image: expected {names}") from error
    except Image.DecompressionBombError as error:
        raise _too_many_pixels(name, "far", max_pixels) from error
    except Exception as error:  # readers of broken headers raise nearly anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise _refused(
            HTTPStatus.UNPROCESSABLE_ENTITY, f"{name} cannot be read ({reason}): send a whole image"
        ) from error
    if width * height > max_pixels:
        raise _too_many_pixels(name, f"{width} x {height} pixels,", max_pixels)
    return Header(kind, (width, height), several)


def _too_many_pixels(name: str, found: str, max_pixels: int) -> HTTPException:
    detail = f"{name} has {found} more than the {max_pixels / 1e6:g} megapixels taken here: scale it down"
    return _refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail)


def _refused(status: HTTPStatus, detail: str) -> HTTPException:
    return HTTPException(status, detail)
