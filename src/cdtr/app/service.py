"""What the addresses share: the run, the worker, the limits, and how an upload becomes a localization."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus

from fastapi import HTTPException, UploadFile
from PIL import Image
from starlette.concurrency import run_in_threadpool

from cdtr.api import Localizer
from cdtr.app.batches import Batch, Batches
from cdtr.app.examples import Examples
from cdtr.app.limits import Limits
from cdtr.app.uploads import image_id, read_upload
from cdtr.app.worker import Worker
from cdtr.errors import CdtrError, ConfigError
from cdtr.formats import find_exporter, format_names
from cdtr.localization.options import LocalizeOptions
from cdtr.records import Localization
from cdtr.text import did_you_mean

_REVIEW = "review"


@dataclass(frozen=True, slots=True)
class LocalizedUpload:
    """An image that was localized; ``image`` is upright RGB."""

    image: Image.Image
    localization: Localization
    note: str | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one image of many: the number of its boxes, or why it was left out."""

    image: str
    boxes: int
    error: str | None


class Service:
    """name: of the run, for titles and for the formats that say what found the boxes."""

    def __init__(self, localizer: Localizer, name: str, limits: Limits, examples: Examples | None, batch_size: int):
        self.localizer = localizer
        self.name = name
        self.limits = limits
        self.examples = examples
        self.worker = Worker(localizer, batch_size)
        self.batches = Batches(limits.batches, limits.batch_idle_s)
        # Decoded images and source-sized maps are what fills the memory: two batches of them at a time.
        self.turns = asyncio.Semaphore(2 * batch_size)

    def formats(self) -> list[str]:
        """The formats that can be asked for; ``review`` needs calibrated scores."""
        return [name for name in format_names() if name != _REVIEW or self.localizer.quality is not None]

    def options(self, threshold: float | None, label: str | None, multi: bool, min_area: float) -> LocalizeOptions:
        """What was asked for; ConfigError for a class that the run has not."""
        names = self.localizer.class_names
        if label is not None and label not in names:
            hint = did_you_mean(label, names, f": expected one of its {len(names)} class names")
            raise ConfigError(f"the run has no class {label!r}{hint}")
        return LocalizeOptions(
            threshold=threshold,
            label=None if label is None else names.index(label),
            multi=multi,
            min_area_share=min_area,
        )

    def threshold(self, options: LocalizeOptions) -> float:
        """Return the map threshold that counts: the one asked for, else the run's own."""
        return self.localizer.threshold if options.threshold is None else options.threshold

    async def localize(self, upload: UploadFile, options: LocalizeOptions) -> LocalizedUpload:
        """Decode and localize an upload; HTTPException for one that is no good image."""
        name = image_id(upload.filename)
        async with self.turns:
            content = await upload.read()
            image, note = await run_in_threadpool(read_upload, content, name, self.limits.pixels)
            found = await asyncio.wrap_future(self.worker.submit(name, image, options))
        return LocalizedUpload(image, found, note)

    def open_batch(self, formats: str, options: LocalizeOptions) -> Batch:
        """A batch that writes formats, names with commas between; ConfigError for one that cannot be written here."""
        exporters = [find_exporter(name) for name in dict.fromkeys(formats.split(","))]
        if self.localizer.quality is None and any(exporter.name == _REVIEW for exporter in exporters):
            raise ConfigError("the run has no calibrated scores of boxes, which the format review needs")
        options = replace(options, masks=any(exporter.needs_masks for exporter in exporters))
        return Batch(exporters, self.localizer.class_names, f"cdtr/{self.name}", options)

    async def add(self, uploads: Sequence[UploadFile], batch: Batch) -> list[Outcome]:
        """Localize uploads and write their boxes in their order; what is no good image is left out with its reason."""
        async with batch.lock:
            if not batch.takes_images:
                raise HTTPException(HTTPStatus.CONFLICT, "the batch is finished: open a new one")
            room = self.limits.images - batch.images
            if len(uploads) > room:
                raise HTTPException(
                    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                    f"{len(uploads)} images where {room} are left of the {self.limits.images} that a batch may hold",
                )
            batch.images += len(uploads)
            outcomes = []
            for some in _groups(uploads, self.worker.batch_size):
                waiting = (self._localize_once(upload, batch) for upload in some)
                for upload, found in zip(some, await asyncio.gather(*waiting), strict=True):
                    outcomes.append(await run_in_threadpool(_write, upload.filename or "", found, batch))
        return outcomes

    async def _localize_once(self, upload: UploadFile, batch: Batch) -> LocalizedUpload | HTTPException:
        try:
            name = image_id(upload.filename)
            if name in batch.taken:
                raise HTTPException(HTTPStatus.UNPROCESSABLE_ENTITY, f"{name} comes twice: the first was taken")
            batch.taken.add(name)
            return await self.localize(upload, batch.options)
        except HTTPException as refusal:
            return refusal
        except CdtrError as error:
            return HTTPException(HTTPStatus.UNPROCESSABLE_ENTITY, str(error))


def _write(name: str, found: LocalizedUpload | HTTPException, batch: Batch) -> Outcome:
    if isinstance(found, HTTPException):
        batch.leave_out(name, found.detail)
        return Outcome(name, 0, found.detail)
    batch.add(found.localization)
    return Outcome(found.localization.image_id, len(found.localization.boxes_xyxy), None)


def _groups(uploads: Sequence[UploadFile], size: int) -> Iterator[Sequence[UploadFile]]:
    for start in range(0, len(uploads), size):
        yield uploads[start : start + size]
