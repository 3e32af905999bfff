"""An exported file at work: ONNX Runtime behind the same protocol as a method in PyTorch, and without PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from cdtr.cores import threads_each
from cdtr.deployment.facts import METADATA_KEY, Facts
from cdtr.deployment.onnx_file import refuse_external_data
from cdtr.errors import CheckpointError, ConfigError, how_to_install
from cdtr.localization.finder import BoxFinder, check_pictures
from cdtr.localization.maps import check_outputs
from cdtr.records import FloatArray, Localization

SUFFIX = ".onnx"
_BATCH_SIZE = 8

Pixels = npt.NDArray[np.float32]


class Outputs(NamedTuple):
    """logits: (B, C). maps: (B, C, h, w), not normalised. Both float32."""

    logits: FloatArray
    maps: FloatArray


def is_exported(path: str | Path) -> bool:
    """Whether a name is that of an exported file, to be told from a run folder and a hub id."""
    return Path(path).suffix.lower() == SUFFIX and not Path(path).is_dir()


class OnnxEngine:
    """An exported file, opened. device: cpu, cuda or cuda:N; by default CUDA where ONNX Runtime has it.

    workers: forward passes at a time on a CPU, each with its share of the cores. CheckpointError for a file that is
    missing, broken or not of ``cdtr export``; ConfigError where ONNX Runtime or the device is missing.
    """

    batch_size = _BATCH_SIZE

    def __init__(self, path: Path, device: str | None = None, workers: int = 1) -> None:
        if not path.is_file():
            raise CheckpointError(f"no file {path}: expected the --onnx of `cdtr export`")
        refuse_external_data(path)
        self.session = open_session(path, device, threads=None if workers == 1 else threads_each(workers))
        self.workers = workers if self.session.get_providers() == ["CPUExecutionProvider"] else 1
        self.facts = _facts(self.session, str(path))
        _check_shapes(self.session, self.facts, str(path))

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.facts.class_names

    @property
    def max_pixels(self) -> int:
        return self.facts.input.max_pixels

    def predictor(self, finder: BoxFinder) -> OnnxPredictor:
        return OnnxPredictor(self, finder)

    def pixels(self, images: Sequence[Image.Image]) -> Pixels:
        """RGB pictures as the network takes them, (B, 3, H, W)."""
        facts, view = self.facts.input, self.facts.input.as_view()
        return np.stack([view.pixels(image, facts.mean, facts.std) for image in images])

    def run(self, pixels: Pixels) -> Outputs:
        """What the network answers for normalised images (B, 3, H, W)."""
        return _run(self.session, pixels)


class OnnxPredictor:
    """An exported file with the rules that turn its maps into boxes."""

    def __init__(self, engine: OnnxEngine, finder: BoxFinder) -> None:
        self.engine = engine
        self.finder = finder

    def predict(
        self, images: Sequence[Image.Image], image_ids: Sequence[str], labels: Sequence[int] | None = None
    ) -> list[Localization]:
        """Localize RGB pictures in one forward pass; with ``labels``, the object of that class in each picture."""
        check_pictures(images, image_ids, labels)
        if not images:
            return []
        pixels = self.engine.pixels(images)
        found = self.engine.run(pixels)
        check_outputs(found.logits, found.maps)
        choice = self.finder.choose(found.logits, labels)
        rows = np.arange(len(images))[:, None]
        mirrored = None
        if self.finder.mirrored:
            turned = self.engine.run(np.ascontiguousarray(pixels[..., ::-1])).maps
            mirrored = turned[rows, choice.classes][..., ::-1]
        view = self.engine.facts.input.as_view()
        fields = [view.field((image.height, image.width)) for image in images]
        return self.finder.find(images, image_ids, choice, found.maps[rows, choice.classes], mirrored, fields)


def open_session(model: Path | bytes, device: str | None = "cpu", threads: int | None = None) -> Any:
    """An ``onnxruntime.InferenceSession`` of a file or its bytes; errors as ``OnnxEngine``."""
    try:
        import onnxruntime
    except ImportError as error:
        raise ConfigError(f"exported models need ONNX Runtime: {how_to_install('onnx')}") from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors alone
    if threads is not None:
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = threads
    providers = _providers(onnxruntime.get_available_providers(), device)
    try:
        return onnxruntime.InferenceSession(
            model if isinstance(model, bytes) else str(model), options, providers=providers
        )
    except Exception as error:  # the classes of its errors are private, and differ between its versions
        what = "the model" if isinstance(model, bytes) else str(model)
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(f"{what} cannot be opened by ONNX Runtime ({reason}): export the run again") from error


def session_runner(model: bytes, threads: int | None = None) -> Callable[[Pixels], Outputs]:
    """An ONNX file's bytes as a function of pixels (B, 3, H, W), on the CPU."""
    return partial(_run, open_session(model, "cpu", threads))


def _run(session: Any, pixels: Pixels) -> Outputs:
    return Outputs(*session.run(["logits", "maps"], {"images": pixels}))


def _providers(available: Sequence[str], device: str | None) -> list[Any]:
    has_cuda = "CUDAExecutionProvider" in available
    kind, _, number = ("cuda" if has_cuda else "cpu", "", "") if device is None else device.partition(":")
    if kind == "cpu" and not number:
        return ["CPUExecutionProvider"]
    if kind != "cuda" or not has_cuda or not (number.isdecimal() or not number):
        raise ConfigError(
            f"no device {device!r} for exported models here: use cpu, or cuda where onnxruntime-gpu is installed"
        )
    return [("CUDAExecutionProvider", {"device_id": number or "0"}), "CPUExecutionProvider"]


def _facts(session: Any, origin: str) -> Facts:
    text = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
    if text is None:
        raise CheckpointError(f"{origin} has no metadata of cdtr: expected a file of `cdtr export RUN --onnx FILE`")
    return Facts.from_json(text, origin)


def _check_shapes(session: Any, facts: Facts, origin: str) -> None:
    """CheckpointError where the graph is not the one that the metadata speak of."""
    inputs = {one.name: one.shape for one in session.get_inputs()}
    outputs = {one.name: one.shape for one in session.get_outputs()}
    size, classes = [3, *facts.input.size_hw], len(facts.class_names)
    fits = list(inputs) == ["images"] and inputs["images"][1:] == size
    fits = fits and all(len(outputs.get(name, ())) > 1 and outputs[name][1] == classes for name in ("logits", "maps"))
    if not fits:
        raise CheckpointError(
            f"{origin} has inputs {inputs} and outputs {outputs}, its metadata speak of images {size} and {classes} "
            "classes: export the run again"
        )
