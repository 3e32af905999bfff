"""The one thread in which the model runs: what waits with equal settings goes through one forward pass."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from PIL import Image

from cdtr.api import Localizer
from cdtr.localization.options import LocalizeOptions
from cdtr.records import Localization

# A source-sized map takes several times the memory of its image, so large images are taken one by one.
_BATCH_PIXELS = 16_000_000


@dataclass(frozen=True, slots=True)
class _Job:
    image_id: str
    image: Image.Image
    options: LocalizeOptions
    result: Future[Localization] = field(default_factory=Future)


class Worker:
    """Takes images from any thread. Nothing waits to fill a batch: the next one is what came during the last."""

    def __init__(self, localizer: Localizer, batch_size: int = 8) -> None:
        self.localizer = localizer
        self.batch_size = batch_size
        self._waiting: deque[_Job] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="model", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def submit(self, image_id: str, image: Image.Image, options: LocalizeOptions) -> Future[Localization]:
        """Put an RGB image in the queue; the future has the localization, or the error that it met."""
        job = _Job(image_id, image, options)
        with self._changed:
            if self._closed:
                job.result.cancel()
            else:
                self._waiting.append(job)
                self._changed.notify()
        return job.result

    def close(self) -> None:
        """Finish the batch in work; what waits is cancelled."""
        with self._changed:
            self._closed = True
            while self._waiting:
                self._waiting.popleft().result.cancel()
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while jobs := self._take():
            wanted = [job for job in jobs if job.result.set_running_or_notify_cancel()]
            if not self._localize(wanted):
                for job in wanted:  # one by one, so that one image's failure is not another's
                    self._localize([job], last=True)

    def _take(self) -> list[_Job]:
        """The next batch, the longest waiting first; none at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            taken: list[_Job] = []
            pixels = 0
            for job in tuple(self._waiting):
                pixels += job.image.width * job.image.height
                full = len(taken) == self.batch_size or pixels > _BATCH_PIXELS
                if taken and (full or job.options != taken[0].options):
                    break
                taken.append(self._waiting.popleft())
            return taken

    def _localize(self, jobs: Sequence[_Job], last: bool = False) -> bool:
        """Whether the batch went through; of the ``last`` try an error becomes the result."""
        if not jobs:
            return True
        try:
            items = [(job.image_id, job.image) for job in jobs]
            found = self.localizer.stream(items, batch_size=len(jobs), options=jobs[0].options)
            results = [localization for _, localization in found]
        except Exception as error:
            for job in jobs if last else ():
                job.result.set_exception(error)
            return False
        for job, result in zip(jobs, results, strict=True):
            job.result.set_result(result)
        return True
