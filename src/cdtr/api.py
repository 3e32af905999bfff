"""The Python interface: a trained model by its folder or hub id, and a localizer that takes pictures."""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import nn

from cdtr.config import Config
from cdtr.data.images import read_image, upright_rgb
from cdtr.data.transforms import EvalTransform
from cdtr.errors import CheckpointError, ConfigError, DataError
from cdtr.evaluation import Protocol
from cdtr.hub import download_run, is_hub_id, push_to_hub, save_pretrained
from cdtr.localization.predictor import Predictor
from cdtr.localization.quality import BoxQuality
from cdtr.model.methods import build_method
from cdtr.model.weights import check_fit, read_state_dict
from cdtr.records import Localization, Method
from cdtr.runs import RunFolder

# Zhou et al. 2016 cut class activation maps at 20% of their maximum, and much of the literature kept that.
DEFAULT_THRESHOLD = 0.2

ImageLike: TypeAlias = str | Path | Image.Image | npt.NDArray[np.uint8]
OnBroken: TypeAlias = Callable[[str, str], None]


def load_model(path_or_hub_id: str | Path, device: torch.device | str = "cpu") -> nn.Module:
    """The trained method of a run folder or a hub id ``owner/name``, in eval mode.

    The module answers ``ModelOutput`` to normalised images (B, 3, H, W). CLIP, which only training needs, is not
    loaded. Raises CheckpointError for a folder or weights that are missing or do not fit.
    """
    return _load_method(find_run(path_or_hub_id), find_device(device))


def find_run(path_or_hub_id: str | Path) -> RunFolder:
    """The run folder at a path, or a hub id's files, downloaded or from the cache."""
    path = Path(path_or_hub_id)
    # A name beside an existing folder is a mistyped path, which should not wait for the network.
    may_be_hub_id = is_hub_id(str(path_or_hub_id)) and not path.parent.is_dir()
    if path.exists() or not may_be_hub_id:
        return RunFolder(path).require_trained()
    return RunFolder(download_run(str(path_or_hub_id))).require_trained()


def find_device(device: torch.device | str | None) -> torch.device:
    """The device of that name; None takes CUDA where there is one. ConfigError for one that cannot be had."""
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(device)
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"no device {str(device)!r} here ({reason}): use cpu, or cuda where there is one") from error
    return found


def choose_threshold(run: RunFolder, given: float | None = None) -> tuple[float | None, str | None]:
    """The map threshold and where it is from: given, the calibration, the configuration, in that order, or None."""
    if given is not None:
        return _checked_threshold(given, "the threshold", ConfigError), "given"
    calibration = run.calibration()
    if calibration is not None:
        threshold = _checked_threshold(calibration.get("threshold"), str(run.calibration_file), CheckpointError)
        return threshold, _calibrated_on(calibration)
    configured = run.config().evaluation.threshold
    return configured, None if configured is None else "evaluation.threshold of the configuration"


def protocol_threshold(
    run: RunFolder, protocol: Protocol, data_name: str, given: float | None = None
) -> tuple[float | None, str | None]:
    """The map threshold under a protocol and where it is from.

    Given, published with the protocol for that data set, calibrated for the protocol, configured, in that order; None
    where there is none. A threshold of one protocol says nothing under another, so the run's configured one counts for
    the run's own protocol alone.
    """
    if given is None and data_name in protocol.published:
        return protocol.published[data_name], f"published with protocol {protocol.name} for {data_name}"
    own = protocol.name == run.config().evaluation.protocol
    calibration = run.calibration()
    if given is not None or own or calibration is None:
        return choose_threshold(run, given) if given is not None or own else (None, None)
    try:
        value = calibration["by_protocol"][protocol.name]["threshold"]
    except (KeyError, TypeError):
        return None, None
    threshold = _checked_threshold(value, f"{run.calibration_file} ({protocol.name})", CheckpointError)
    return threshold, _calibrated_on(calibration)


def box_quality(run: RunFolder) -> BoxQuality | None:
    """What scores the run's boxes; None for a run that was not calibrated with boxes."""
    stored = (run.calibration() or {}).get("box_scores")
    return None if stored is None else BoxQuality.from_json(stored, len(run.class_names()))


class Localizer:
    """Pictures in, boxes and heat maps out.

    method: see ``load_model``. config: of its run. threshold: share of a map's maximum that the object reaches.
    quality: what scores the boxes, if the run was calibrated with boxes. run: the folder it was loaded from.
    """

    def __init__(
        self,
        method: nn.Module,
        config: Config,
        class_names: Sequence[str],
        threshold: float,
        device: torch.device,
        quality: BoxQuality | None = None,
        run: RunFolder | None = None,
    ) -> None:
        self.method = method
        self.config = config
        self.class_names = tuple(class_names)
        self.threshold = threshold
        self.device = device
        self.quality = quality
        self.run = run

    @classmethod
    def from_pretrained(
        cls, run: str | Path, device: torch.device | str | None = None, threshold: float | None = None
    ) -> Localizer:
        """Load a run folder or a hub id. A threshold given here goes before the run's calibration."""
        folder, found = find_run(run), find_device(device)
        chosen, _ = choose_threshold(folder, threshold)
        method = _load_method(folder, found)
        if chosen is None:
            chosen = DEFAULT_THRESHOLD
            warnings.warn(
                f"{run} has no calibrated threshold, {DEFAULT_THRESHOLD} of the map's maximum is taken: "
                "run `cdtr calibrate`, or give a threshold",
                stacklevel=2,
            )
        return cls(method, folder.config(), folder.class_names(), chosen, found, box_quality(folder), folder)

    def save_pretrained(self, folder: str | Path) -> Path:
        """Write the run, its threshold and a model card to a folder, as the hub would have it; answers the folder."""
        run = self._own_run()
        return save_pretrained(run, Path(folder), choose_threshold(run))

    def push_to_hub(self, repo_id: str, private: bool = False, token: str | None = None) -> str:
        """Upload the run and a model card to ``owner/name`` on the Hugging Face hub; answers the address."""
        run = self._own_run()
        return push_to_hub(run, repo_id, choose_threshold(run), private, token)

    def _own_run(self) -> RunFolder:
        if self.run is None:
            raise ConfigError("this localizer was not loaded from a run: make one with Localizer.from_pretrained")
        return self.run

    def __call__(
        self,
        images: ImageLike | Sequence[ImageLike],
        top_k: int = 1,
        multi: bool = False,
        batch_size: int | None = None,
        min_area_share: float = 0.01,
        min_score: float = 0.0,
        masks: bool = False,
    ) -> list[Localization]:
        """Localize paths, PIL images or uint8 arrays (H, W, 3) in RGB, one or several of them, of any size.

        Searches the maps of the ``top_k`` most probable classes; with ``multi`` every region above the threshold that
        covers ``min_area_share`` of the image's pixels gets a box, not only the largest; boxes of a score below
        ``min_score`` are left out, where the run has calibrated scores; with ``masks`` the region of each box is
        answered as well. Raises DataError for an image that cannot be read.
        """
        many: list[Any] = list(images) if isinstance(images, list | tuple) else [images]
        items = [(_image_id(image, index), image) for index, image in enumerate(many)]
        found = self.stream(items, top_k, multi, batch_size, None, min_area_share, min_score, masks)
        return [localization for _, localization in found]

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
        """Localize (image id, image) pairs one batch at a time: any number of images, the memory of a few batches.

        Threads decode ahead. An image that cannot be read goes to ``on_broken`` with the reason and is left out;
        without that function it raises DataError. With ``label`` the map of that class is searched in every image
        instead of the most probable ones'; ``threshold`` goes before the localizer's.
        """
        size = self.config.evaluation.batch_size if batch_size is None else batch_size
        if size < 1:
            raise ConfigError(f"batch size {size}: expected 1 or more")
        method: Any = self.method
        transform = EvalTransform(self.config.data)
        predictor = Predictor(
            method,
            transform,
            self.class_names,
            self.threshold if threshold is None else threshold,
            self.device,
            multi,
            min_area_share,
            top_k,
            self.quality,
            min_score,
            masks,
        )
        pictures: list[Image.Image] = []
        ids: list[str] = []

        def localize() -> Iterator[tuple[Image.Image, Localization]]:
            labels = None if label is None else [label] * len(ids)
            return zip(pictures, predictor.predict(pictures, ids, labels), strict=True)

        for image_id, picture in _read_ahead(items, self.config.data.max_pixels, size):
            if isinstance(picture, DataError):
                if on_broken is None:
                    raise picture
                on_broken(image_id, str(picture))
                continue
            pictures.append(picture)
            ids.append(image_id)
            if len(ids) == size:
                yield from localize()
                pictures, ids = [], []
        yield from localize()


def as_method(module: nn.Module) -> Method:
    """The module under the protocol that it fulfils, for the layers that ask for it."""
    method: Any = module
    checked: Method = method
    return checked


def _load_method(run: RunFolder, device: torch.device) -> nn.Module:
    # The guide only teaches, so a trained method is built without it, and runs from before a change of it can be read.
    config = run.config().updated(guide={"enabled": False}, ocm={"prior": "none"})
    method = build_method(config, len(run.class_names()), sba=None, load_weights=False)
    state = read_state_dict(run.weights)
    check_fit(state, method, run.weights)
    method.load_state_dict(state, strict=False)
    return method.to(device).eval()


def _calibrated_on(calibration: Mapping[str, Any]) -> str:
    return f"calibrated on {calibration.get('n_images')} {calibration.get('source', 'images')}"


def _checked_threshold(value: Any, origin: str, kind: type[CheckpointError] | type[ConfigError]) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
        raise kind(f"{origin} is {value!r}: expected a number from 0 up to, not including, 1")
    return float(value)


def _image_id(image: ImageLike, index: int) -> str:
    return Path(image).as_posix() if isinstance(image, str | Path) else f"image-{index}"


def _read(image: ImageLike, max_pixels: int) -> Image.Image:
    if isinstance(image, str | Path):
        return read_image(Path(image), max_pixels)
    if isinstance(image, Image.Image):
        return upright_rgb(image)
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        found = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise DataError(f"expected a path, a PIL image or a uint8 array (H, W, 3), found {found}: convert it first")
    return Image.fromarray(np.ascontiguousarray(image))


def _read_ahead(
    items: Iterable[tuple[str, ImageLike]], max_pixels: int, ahead: int
) -> Iterator[tuple[str, Image.Image | DataError]]:
    """Decode in threads, in order, never more than a batch ahead of the one in work."""

    def read(image: ImageLike) -> Image.Image | DataError:
        try:
            return _read(image, max_pixels)
        except DataError as error:
            return error

    pending: deque[tuple[str, Future[Image.Image | DataError]]] = deque()
    with ThreadPoolExecutor(min(4, ahead)) as pool:
        for image_id, image in items:
            pending.append((image_id, pool.submit(read, image)))
            if len(pending) > ahead:
                done_id, done = pending.popleft()
                yield done_id, done.result()
        while pending:
            done_id, done = pending.popleft()
            yield done_id, done.result()
