"""Pictures in, boxes and heat maps out, whatever runs the network: PyTorch, or ONNX Runtime for an exported file."""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from PIL import Image

from cdtr.api.batching import PIXELS_AT_WORK, batches_of, finished, pixels_of
from cdtr.api.models import MethodEngine, find_device, find_run, load_method, share_cores
from cdtr.api.pictures import ImageLike, OnBroken, each_image, image_name, read_ahead
from cdtr.api.results import LocalizedImage, LocalizedImages
from cdtr.api.thresholds import (
    DEFAULT_THRESHOLD,
    box_quality,
    calibrated_view,
    choose_threshold,
    choose_view,
    given_threshold,
    view_threshold,
)
from cdtr.config import Config
from cdtr.deployment.session import OnnxEngine, is_exported
from cdtr.errors import ConfigError
from cdtr.localization.finder import BoxFinder
from cdtr.localization.quality import BoxQuality
from cdtr.records import Localization
from cdtr.runs import RunFolder

if TYPE_CHECKING:  # exported models run where PyTorch is not installed
    import torch
    from torch import nn

    from cdtr.data.pixels import View
    from cdtr.data.transforms import EvalTransform


class PicturePredictor(Protocol):
    """What localizes RGB pictures in one forward pass."""

    def predict(
        self, images: Sequence[Image.Image], image_ids: Sequence[str], labels: Sequence[int] | None = None
    ) -> list[Localization]: ...


class Engine(Protocol):
    """What runs the network for a localizer.

    max_pixels: larger pictures are refused. batch_size: pictures a forward pass, where the caller does not say.
    workers: forward passes at a time.
    """

    @property
    def class_names(self) -> tuple[str, ...]: ...
    @property
    def max_pixels(self) -> int: ...
    @property
    def batch_size(self) -> int: ...
    @property
    def workers(self) -> int: ...
    def predictor(self, finder: BoxFinder) -> PicturePredictor: ...


class Localizer:
    """A trained model as its user meets it. Make one with ``from_pretrained``.

    engine: what runs the network. threshold: share of a map's maximum that the object reaches. quality: what scores the
    boxes, if the run was calibrated with boxes.
    """

    def __init__(self, engine: Engine, threshold: float, quality: BoxQuality | None = None) -> None:
        self.engine = engine
        self.threshold = threshold
        self.quality = quality

    def __repr__(self) -> str:
        names = ", ".join(self.class_names[:3]) + (", ..." if len(self.class_names) > 3 else "")
        where = f"{self.run.path}, " if self.run is not None else ""
        return f"Localizer({where}{len(self.class_names)} classes ({names}), threshold {self.threshold:.3g})"

    @classmethod
    def from_pretrained(
        cls,
        run: str | Path,
        map_location: torch.device | str | None = None,
        threshold: float | None = None,
        half: bool = False,
        workers: int = 1,
        view: str | None = None,
    ) -> Localizer:
        """Load a run folder, a hub id or an exported ``.onnx`` file, which does without PyTorch.

        map_location: the device, by default CUDA where there is one. A threshold given here goes before the run's
        calibration. half: compute in 16 bits, float16 on CUDA and bfloat16 on a CPU, where that is faster; an exported
        file has the precision that it was exported in. workers: batches at a time on a CPU, each
        with its share of the cores, which gets through many images faster than one batch on all of them; PyTorch's
        threads are set to that share in the whole process. view: what the network sees of an image, ``whole``, ``crop``
        or ``tiled``; by default as the run was calibrated. An exported file has the view that it was exported with.
        """
        if workers < 1:
            raise ConfigError(f"{workers} workers: expected 1 or more")
        engine: Engine
        if is_exported(run):
            if half:
                raise ConfigError(f"{run} has the precision that it was exported in: leave half out")
            if view is not None:
                raise ConfigError(f"{run} has the view that it was exported with: leave view out")
            engine = OnnxEngine(Path(run), None if map_location is None else str(map_location), workers=workers)
            chosen = engine.facts.threshold if threshold is None else given_threshold(threshold)
            quality = engine.facts.box_quality()
        else:
            found = find_device(map_location)
            folder = find_run(run)
            seen = choose_view(folder, view)
            stored = view_threshold(folder, threshold, seen)
            chosen = None if stored is None else stored.value
            names = folder.class_names()
            method, config = load_method(folder, found), folder.config()
            engine = MethodEngine(method, config, names, found, folder, half, share_cores(workers, found), seen)
            quality = box_quality(folder) if calibrated_view(folder) == seen else None
        if chosen is None:
            chosen = DEFAULT_THRESHOLD
            warnings.warn(
                f"{run} has no calibrated threshold, {DEFAULT_THRESHOLD} of the map's maximum is taken: "
                "run `cdtr calibrate`, or give a threshold",
                stacklevel=2,
            )
        return cls(engine, chosen, quality)

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.engine.class_names

    @property
    def method(self) -> nn.Module:
        """The module of a run; ConfigError for an exported file."""
        return self._in_pytorch().method

    @property
    def config(self) -> Config:
        """The settings of a run; ConfigError for an exported file."""
        return self._in_pytorch().config

    @property
    def device(self) -> torch.device:
        """Where a run's module is; ConfigError for an exported file."""
        return self._in_pytorch().device

    @property
    def view(self) -> View:
        """What a run's network sees of an image; ConfigError for an exported file."""
        from cdtr.data.pixels import View

        engine = self._in_pytorch()
        return View.of(engine.view, engine.config.data)

    @property
    def transform(self) -> EvalTransform:
        """What ``method`` takes of an RGB picture: ``transform(picture)`` is (3, H, W), normalised; not for an exported
        file, which raises ConfigError. Of the view ``tiled`` it is the whole picture at the size of one tile.
        """
        from cdtr.data.transforms import EvalTransform

        engine = self._in_pytorch()
        return EvalTransform(engine.config.data, "whole" if engine.view == "tiled" else engine.view)

    @property
    def run(self) -> RunFolder | None:
        """The run folder it was loaded from, if any."""
        return self.engine.run if isinstance(self.engine, MethodEngine) else None

    def _in_pytorch(self) -> MethodEngine:
        if not isinstance(self.engine, MethodEngine):
            raise ConfigError("an exported file has no settings and no PyTorch module: load the run it was made of")
        return self.engine

    def save_pretrained(self, folder: str | Path) -> Path:
        """Write the run, its threshold and a model card to a folder, as the hub would have it; answers the folder."""
        from cdtr.hub import save_pretrained

        run = self._own_run()
        return save_pretrained(run, Path(folder), choose_threshold(run))

    def push_to_hub(self, repo_id: str, private: bool = False, token: str | None = None) -> str:
        """Upload the run and a model card to ``owner/name`` on the Hugging Face hub; answers the address."""
        from cdtr.hub import push_to_hub

        run = self._own_run()
        return push_to_hub(run, repo_id, choose_threshold(run), private, token)

    def _own_run(self) -> RunFolder:
        run = self._in_pytorch().run
        if run is None:
            raise ConfigError("this localizer was not loaded from a run: make one with Localizer.from_pretrained")
        return run

    def __call__(
        self,
        images: ImageLike | Iterable[ImageLike],
        top_k: int = 1,
        multi: bool = False,
        batch_size: int | None = None,
        min_area_share: float = 0.01,
        min_score: float = 0.0,
        masks: bool = False,
    ) -> LocalizedImages:
        """Localize one image or many, of any size, RGB: paths, folders, PIL images, uint8 arrays (H, W, 3), tensors
        (3, H, W) of uint8 or of floats from 0 to 1, batches of arrays or tensors, or anything that yields such.

        Searches the maps of the ``top_k`` most probable classes; with ``multi`` every region above the threshold that
        covers ``min_area_share`` of the image's pixels gets a box, not only the largest; boxes of a score below
        ``min_score`` are left out, where the run has calibrated scores; with ``masks`` the region of each box is
        answered as well. Raises DataError for an image that cannot be read.
        """
        sources: list[ImageLike] = []

        def items() -> Iterator[tuple[str, ImageLike]]:
            for index, image in enumerate(each_image(images)):
                sources.append(image)
                yield image_name(image, index), image

        found = self.stream(items(), top_k, multi, batch_size, None, min_area_share, min_score, masks)
        return LocalizedImages(LocalizedImage.of(answer, sources[index]) for index, (_, answer) in enumerate(found))

    def stream(
        self,
        items: Iterable[tuple[str, ImageLike]],
        top_k: int = 1,
        multi: bool = False,
        batch_size: int | None = None,
        on_broken: OnBroken | None = None,
        min_area_share: float = 0.01,
        min_score: float = 0.0,
        masks: bool = False,
        label: int | None = None,
        threshold: float | None = None,
    ) -> Iterator[tuple[Image.Image, Localization]]:
        """Localize (image id, image) pairs batch by batch: any number of images, the memory of two batches a worker,
        and no more than of 64 megapixels at work and 128 read or answered, or of some single larger images.

        Threads decode ahead, and the next batches are computed while the caller uses this one. An image that cannot be
        read goes to ``on_broken`` with the reason and is left out; without that function it raises DataError. With
        ``label`` the map of that class is searched in every image instead of the most probable ones'; ``threshold``
        goes before the localizer's.
        """
        size = self.engine.batch_size if batch_size is None else batch_size
        if size < 1:
            raise ConfigError(f"batch size {size}: expected 1 or more")
        cut = self.threshold if threshold is None else threshold
        finder = BoxFinder(self.class_names, cut, multi, min_area_share, top_k, self.quality, min_score, masks)
        predictor = self.engine.predictor(finder)
        workers = self.engine.workers
        read = read_ahead(items, self.engine.max_pixels, size * workers)
        batches = batches_of(read, size, on_broken, PIXELS_AT_WORK // workers)
        running: deque[tuple[list[Image.Image], Future[list[Localization]]]] = deque()
        with ThreadPoolExecutor(workers) as pool:  # it computes the next batches while the caller has this one
            for ids, pictures in batches:
                labels = None if label is None else [label] * len(ids)
                while running and pixels_of(pictures, *(one for one, _ in running)) > 2 * PIXELS_AT_WORK:
                    yield from finished(*running.popleft())
                running.append((pictures, pool.submit(predictor.predict, pictures, ids, labels)))
                if len(running) > workers:
                    yield from finished(*running.popleft())
            while running:
                yield from finished(*running.popleft())
