"""The images of a folder that a visitor may walk through."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

from cdtr.errors import DataError
from cdtr.formats import can_be_written
from cdtr.image_files.paths import find_images
from cdtr.image_files.reading import read_image

MOST = 500
_THUMBNAIL = 160


class Examples:
    """Images below a folder in natural order, the first ``MOST`` of them, asked for by number: no path comes in.

    DataError for a folder that is missing or holds no image.
    """

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise DataError(f"no folder {folder}: expected a folder of images as `examples=`")
        found = [path for path in find_images(folder, folder, follow=False) if can_be_written(path.name)][:MOST]
        if not found:
            raise DataError(f"{folder} holds no image: expected files such as .jpg or .png at any depth")
        self._paths = {path.relative_to(folder).as_posix(): path for path in found}
        self.names = list(self._paths)

    def content(self, number: int) -> bytes:
        """The file as it is."""
        return self._path(number).read_bytes()

    def thumbnail(self, number: int, max_pixels: int) -> bytes:
        """A small JPEG; DataError for a file that is no image."""
        image = read_image(self._path(number), max_pixels)
        image.thumbnail((_THUMBNAIL, _THUMBNAIL))
        buffer = BytesIO()
        image.save(buffer, "JPEG", quality=85)
        return buffer.getvalue()

    def _path(self, number: int) -> Path:
        if not 0 <= number < len(self.names):
            raise DataError(f"no example {number}: expected a number below {len(self.names)}")
        return self._paths[self.names[number]]
