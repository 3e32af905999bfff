"""The runs and the images that a figure of images shows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from PIL import Image

from cdtr.api import as_seen
from cdtr.config import ViewName
from cdtr.data.loader import EvalLoader, eval_loader
from cdtr.data.pixels import View
from cdtr.errors import DataError
from cdtr.evaluation import Protocol
from cdtr.image_files.reading import read_image
from cdtr.records import DataSource, Method, Sample
from cdtr.runs import RunFolder
from cdtr.workflows.reporting import SILENT, Reporter, warn_of_left_out


@dataclass(frozen=True, slots=True)
class RunToShow:
    """A finished run with the row that it stands for.

    Attributes:
        row: the row's name.
        label: its words in the figure.
        seed: of the run.
        folder: the run.
        threshold: the map threshold that it was evaluated with.
        view: what the network saw of an image.
    """

    row: str
    label: str
    seed: int
    folder: RunFolder
    threshold: float
    view: ViewName

    def method(self, module: Method) -> Method:
        """Return a method as it sees the images of ``batches``: the run's own, or another one in its place."""
        return as_seen(module, View.of(self.view, self.folder.config().data))

    def batches(self, samples: Sequence[Sample]) -> EvalLoader:
        """Return the images in batches, in the run's view."""
        return eval_loader(samples, self.folder.config(), view=self.view)


@dataclass(frozen=True, slots=True)
class Chosen:
    """The images of a data set that are shown.

    Attributes:
        samples: the images.
        images: their pixels.
        rule: how they were chosen, in words.
        kinds: the kind of error of each, where it was chosen for one.
    """

    samples: tuple[Sample, ...]
    images: tuple[Image.Image, ...]
    rule: str
    kinds: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Images:
    """The images of a split, from which some are chosen with ``seed``.

    Attributes:
        source: the data set.
        split: the name of the split.
        samples: its images.
        protocol: how they are scored.
        seed: of the choice.
        max_pixels: the largest image that is read.
        reporter: takes notes.
    """

    source: DataSource
    split: str
    samples: Sequence[Sample]
    protocol: Protocol
    seed: int
    max_pixels: int
    reporter: Reporter = SILENT

    @property
    def name(self) -> str:
        """The images in words."""
        return f"{self.split} images with boxes of {self.source.root.name}"

    def draw(self, count: int) -> list[Sample]:
        """Return up to ``count`` readable images with boxes, at random; DataError where there is none."""
        order = np.random.default_rng(self.seed).permutation(len(self.samples))
        drawn = list(islice(self._with_boxes(order.tolist()), count))
        if not drawn:
            raise DataError(f"no image of {self.source.root} has a box")
        return drawn

    def _with_boxes(self, order: Sequence[int]) -> Iterator[Sample]:
        for sample in (self.samples[index] for index in order):
            annotation = self.source.annotate(sample)
            if annotation is None or not (len(annotation.boxes_xyxy) or annotation.mask is not None):
                continue
            try:
                self.read(sample)
            except DataError as error:
                warn_of_left_out(self.reporter)(sample, str(error))
                continue
            yield sample

    def read(self, sample: Sample) -> Image.Image:
        """Return the pixels of an image; DataError where it cannot be read."""
        return read_image(sample.path, self.max_pixels)
