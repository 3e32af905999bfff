"""Files of boxes of many images, written as the images come and handed out as one download."""

from __future__ import annotations

import asyncio
import secrets
import shutil
import tempfile
import time
import zipfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from cdtr.formats import LEFT_OUT, Add, Exporter, Target, write_left_out
from cdtr.image_files.written import mark_written
from cdtr.localization.options import LocalizeOptions
from cdtr.records import Localization


class Batch:
    """Images that come in any number of requests and end up in the files of some formats.

    Only boxes and masks are written, to a temporary folder that ``close`` removes. lock: held by whoever adds, so that
    images stay in the order of their requests. images: how many came, left out or not. taken: their names.
    """

    def __init__(
        self, exporters: Sequence[Exporter], class_names: tuple[str, ...], source: str, options: LocalizeOptions
    ):
        self.options = options
        self.lock = asyncio.Lock()
        self.images = 0
        self.taken: set[str] = set()
        self.left_out: list[tuple[str, str]] = []
        self.used = time.monotonic()
        self.finished: Path | None = None
        self.takes_images = True
        self._folder = Path(tempfile.mkdtemp(prefix="cdtr-serve-"))
        self._files = self._folder / "files"
        self._files.mkdir()
        self._writers = ExitStack()
        self._adders: list[Add] = []
        try:
            for exporter in exporters:
                target = Target(self._files / exporter.file_name, class_names, None, source)
                self._adders.append(self._writers.enter_context(exporter.open(target)))
        except BaseException:
            self.close()
            raise

    def add(self, localization: Localization) -> None:
        """Write one image's boxes into every format."""
        for add in self._adders:
            add(localization)

    def leave_out(self, name: str, reason: str) -> None:
        """Note an image that could not be read; the download lists them."""
        self.left_out.append((name, reason))

    def finish(self) -> Path:
        """Finish the files. The one file, if there is only one, else a zip of all."""
        self.takes_images = False
        if self.finished is None:
            self._writers.close()
            if self.left_out:
                write_left_out(self._files / LEFT_OUT, self.left_out)
            self.finished = self._only_file() or self._zip()
        return self.finished

    def close(self) -> None:
        """Remove everything; unfinished files are given up."""
        self.takes_images = False
        self._writers.pop_all().__exit__(_GivenUpError, _GivenUpError(), None)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _only_file(self) -> Path | None:
        found = list(self._files.iterdir())
        return found[0] if len(found) == 1 and found[0].is_file() else None

    def _zip(self) -> Path:
        path = self._folder / "boxes.zip"
        mark_written(self._files, [file.name for file in self._files.iterdir()])  # who unpacks it into the data
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
            for file in sorted(self._files.rglob("*")):
                packed.write(file, file.relative_to(self._files).as_posix())
        return path


class _GivenUpError(Exception):
    """Tells writers that their files are not wanted."""


class Batches:
    """The open batches by their unguessable names, at most ``most``; those idle for ``idle_s`` seconds are removed."""

    def __init__(self, most: int, idle_s: float) -> None:
        self.most = most
        self.idle_s = idle_s
        self._open: dict[str, Batch] = {}

    def has_room(self) -> bool:
        """Whether another batch may be opened; idle ones are removed first."""
        self.remove_idle()
        return len(self._open) < self.most

    def keep(self, batch: Batch) -> str:
        """Keep a batch and return its new, unguessable name."""
        name = secrets.token_urlsafe(16)
        self._open[name] = batch
        return name

    def find(self, name: str) -> Batch | None:
        """Return a batch by its name and note the use; None if it is unknown."""
        batch = self._open.get(name)
        if batch is not None:
            batch.used = time.monotonic()
        return batch

    def take(self, name: str) -> Batch | None:
        """The batch, which nobody finds any more and whoever takes it closes."""
        return self._open.pop(name, None)

    def remove_idle(self) -> None:
        """Close the batches that nobody used for ``idle_s`` seconds."""
        old = time.monotonic() - self.idle_s
        # One in work is not idle, however long its images take.
        idle = [name for name, batch in self._open.items() if batch.used < old and not batch.lock.locked()]
        for name in idle:
            self._open.pop(name).close()

    def close(self) -> None:
        """Close all batches."""
        while self._open:
            self._open.popitem()[1].close()
