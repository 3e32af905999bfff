"""Localize images with a trained model, in PyTorch or, for an exported file, in ONNX Runtime."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator
from contextlib import closing
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from PIL import Image

from cdtr.api.batching import PIXELS_AT_WORK, ImageBatch, batches_of, exceeds_pixels, few_tiles
from cdtr.api.input_images import ImageLike, OnBroken, each_image, image_name, read_ahead
from cdtr.api.loading import open_exported, open_run
from cdtr.api.results import LocalizedImage, LocalizedImages
from cdtr.api.thresholds import DEFAULT_THRESHOLD, choose_threshold
from cdtr.config import Config
from cdtr.deployment.session import is_exported
from cdtr.errors import ConfigError
from cdtr.localization.large_images import localize_any
from cdtr.localization.options import DEFAULT_OPTIONS, LocalizeOptions, OptionChanges
from cdtr.localization.postprocess import MapPostProcessor
from cdtr.localization.prediction import LocalizationModel
from cdtr.localization.presence import EmptyClasses
from cdtr.localization.quality import BoxQuality
from cdtr.localization.tile_grid import TileScale, Tiling
from cdtr.parallel import map_in_order
from cdtr.records import Localization
from cdtr.runs import RunFolder

if TYPE_CHECKING:  # exported models run where PyTorch is not installed
    import torch

    from cdtr.api.run_model import RunModel
    from cdtr.data.pixels import View
    from cdtr.data.transforms import EvalTransform
    from cdtr.records import Method


class Localizer:
    """A trained model that localizes images. Make one with ``from_pretrained``.

    Args:
        model: predicts the maps of images.
        threshold: share of a map's maximum that a box's region exceeds, in [0, 1).
        quality: scores the boxes; None for a run that was not calibrated with boxes.
        scale: chooses the tiles of large images; None for a model that cannot be asked for tiles.
        empty: the classes without an object, which get no box; None where every class has one.

    Example:
        >>> localizer = cdtr.Localizer.from_pretrained("runs/neu")  # doctest: +SKIP
        >>> localizer(["a.jpg", "b.png"])[0].boxes_xyxy  # doctest: +SKIP
        array([[ 24.,  20., 115.,  72.]], dtype=float32)
    """

    def __init__(
        self,
        model: LocalizationModel,
        threshold: float,
        quality: BoxQuality | None = None,
        scale: TileScale | None = None,
        empty: EmptyClasses | None = None,
    ) -> None:
        self.model = model
        self.scale = scale
        self.threshold = threshold
        self.quality = quality
        self.empty = empty

    def __repr__(self) -> str:
        names = ", ".join(self.class_names[:3]) + (", ..." if len(self.class_names) > 3 else "")
        where = f"{self.run.path}, " if self.run is not None else ""
        return f"Localizer({where}{len(self.class_names)} classes ({names}), threshold {self.threshold:.3g})"

    @classmethod
    def from_pretrained(
        cls,
        run: str | PathLike[str],
        map_location: torch.device | str | None = None,
        threshold: float | None = None,
        half: bool = False,
        workers: int = 1,
        view: str | None = None,
    ) -> Localizer:
        """Load a trained model.

        Args:
            run: a run, its folder, a hub id ``owner/name``, or an exported ``.onnx`` file, which needs no PyTorch.
            map_location: the device; by default CUDA where there is one.
            threshold: map threshold in [0, 1); by default the calibrated one.
            half: compute in 16 bits, float16 on CUDA and bfloat16 on a CPU. An exported file has its own precision.
            workers: batches at a time on a CPU, each with its share of the cores, which localizes many images faster
                than one batch on all of them. PyTorch's threads are set to that share in the whole process.
            view: what the network sees of an image, ``whole``, ``mirrored``, ``crop`` or ``tiled``; by default as the
                run was calibrated. An exported file has its own view.

        Raises:
            CheckpointError: the run or the file is missing, broken or does not fit.
            ConfigError: an argument has no such value, or does not go with an exported file.
        """
        run = os.fspath(run)
        if workers < 1:
            raise ConfigError(f"{workers} workers: expected 1 or more")
        found = (open_exported if is_exported(run) else open_run)(run, map_location, threshold, half, workers, view)
        chosen = found.threshold
        if chosen is None:
            chosen = DEFAULT_THRESHOLD
            warnings.warn(
                f"{run} has no calibrated threshold, {DEFAULT_THRESHOLD} of the map's maximum is taken: "
                "run `cdtr calibrate`, with `label_free=True` where there are no boxes, or give `threshold=`",
                stacklevel=2,
            )
        return cls(found.model, chosen, found.quality, found.scale, found.empty)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes in the order of labels and probabilities."""
        return self.model.class_names

    @property
    def method(self) -> Method:
        """The PyTorch module of a run; ConfigError for an exported file."""
        return self._run_model().method

    @property
    def config(self) -> Config:
        """The settings of a run; ConfigError for an exported file."""
        return self._run_model().config

    @property
    def device(self) -> torch.device:
        """The device of a run's module; ConfigError for an exported file."""
        return self._run_model().device

    @property
    def view(self) -> View:
        """What a run's network sees of an image; ConfigError for an exported file."""
        from cdtr.data.pixels import View

        model = self._run_model()
        return View.of(model.view, model.config.data)

    @property
    def transform(self) -> EvalTransform:
        """The input transform of ``method``: an RGB PIL image to a normalised tensor (3, H, W).

        For the view ``tiled`` it shows the whole image at the size of one tile. ConfigError for an exported file.
        """
        from cdtr.data.transforms import EvalTransform

        model = self._run_model()
        return EvalTransform(model.config.data, "whole" if model.view == "tiled" else model.view)

    @property
    def run(self) -> RunFolder | None:
        """The run folder that the model was loaded from, if any."""
        return self._run_model().run if hasattr(self.model, "method") else None

    def _run_model(self) -> RunModel:
        # By its attribute: to import the class would import PyTorch, which an exported file does without.
        if not hasattr(self.model, "method"):
            raise ConfigError("an exported file has no settings and no PyTorch module: load the run it was made of")
        model: RunModel = self.model  # type: ignore[assignment]
        return model

    def save_pretrained(self, folder: str | Path) -> Path:
        """Write the run, its threshold and a model card to a folder, as on the hub; return the folder."""
        from cdtr.hub import save_pretrained

        run = self._own_run()
        return save_pretrained(run, Path(folder), choose_threshold(run))

    def push_to_hub(self, repo_id: str, private: bool = False, token: str | None = None) -> str:
        """Upload the run and a model card to ``owner/name`` on the Hugging Face hub; return the address."""
        from cdtr.hub import push_to_hub

        run = self._own_run()
        return push_to_hub(run, repo_id, choose_threshold(run), private, token)

    def _own_run(self) -> RunFolder:
        run = self._run_model().run
        if run is None:
            raise ConfigError("this localizer was not loaded from a run: make one with Localizer.from_pretrained")
        return run

    def __call__(
        self,
        images: ImageLike | Iterable[ImageLike],
        *,
        batch_size: int | None = None,
        options: LocalizeOptions = DEFAULT_OPTIONS,
        **changes: Unpack[OptionChanges],
    ) -> LocalizedImages:
        """Localize one image or many, of any size, RGB.

        Args:
            images: paths, folders, PIL images, uint8 arrays (H, W, 3), tensors (3, H, W) of uint8 or of floats in
                [0, 1], batches of arrays or tensors, or any iterable of such.
            batch_size: images in one forward pass; by default as the model says.
            options: how to localize.
            changes: single fields of ``LocalizeOptions``, such as ``multi=True``.

        Returns:
            A ``Localization`` for each image, in their order.

        Raises:
            DataError: an image cannot be read.
        """
        sources: list[ImageLike] = []

        def items() -> Iterator[tuple[str, ImageLike]]:
            for index, image in enumerate(each_image(images)):
                sources.append(image)
                yield image_name(image, index), image

        found = self.stream(items(), batch_size=batch_size, options=options, **changes)
        return LocalizedImages(LocalizedImage.of(one, sources[index]) for index, (_, one) in enumerate(found))

    def stream(
        self,
        items: Iterable[tuple[str, ImageLike]],
        *,
        batch_size: int | None = None,
        on_broken: OnBroken | None = None,
        options: LocalizeOptions = DEFAULT_OPTIONS,
        **changes: Unpack[OptionChanges],
    ) -> Iterator[tuple[Image.Image, Localization]]:
        """Localize any number of images batch by batch, and yield each with its RGB image.

        Threads decode ahead, and the next batches are computed while the caller uses this one. Memory is that of two
        batches a worker, of at most 64 megapixels in work and 128 decoded or finished, or of a single larger image.

        Args:
            items: (image id, image) pairs.
            batch_size: images in one forward pass; by default as the model says.
            on_broken: takes the id of an image that cannot be read, and the reason; None raises DataError.
            options: how to localize.
            changes: single fields of ``LocalizeOptions``.
        """
        size = self.model.batch_size if batch_size is None else batch_size
        if size < 1:
            raise ConfigError(f"batch size {size}: expected 1 or more")
        chosen = options.updated(**changes)
        threshold = self.threshold if chosen.threshold is None else chosen.threshold
        processor = MapPostProcessor(self.class_names, threshold, chosen, self.quality, self.empty)
        workers, tiling = self.model.workers, self.tiling(chosen.tiles, size)

        def localize(batch: ImageBatch) -> list[tuple[Image.Image, Localization]]:
            labels = None if chosen.label is None else [chosen.label] * len(batch.ids)
            found = localize_any(self.model, processor, tiling, batch.images, batch.ids, labels)
            return list(zip(batch.images, found, strict=True))

        read = few_tiles(read_ahead(items, self.model.max_pixels, size * workers), tiling)
        batches = batches_of(read, size, on_broken, PIXELS_AT_WORK // workers)
        localized = map_in_order(localize, batches, workers, ahead=workers, too_much=exceeds_pixels)
        with closing(localized):
            for pairs in localized:
                yield from pairs

    def tiling(self, tiles: int | str | None, at_a_time: int = 8) -> Tiling | None:
        """Return how large images are cut, as ``LocalizeOptions.tiles`` says; None where they are not.

        Raises:
            ConfigError: they cannot be cut like that.
        """
        if tiles is None:
            return None
        if self.scale is None:
            raise ConfigError("maps of your own are of whole images: leave `tiles=` out")
        return self.scale.tiling(tiles, at_a_time)
