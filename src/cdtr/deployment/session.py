"""An exported file as a localization model, in ONNX Runtime and without PyTorch."""

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
from cdtr.errors import CheckpointError, ConfigError, import_extra
from cdtr.localization.maps import check_outputs
from cdtr.localization.prediction import RawPrediction, SelectClasses
from cdtr.records import FloatArray
from cdtr.text import one_line

SUFFIX = ".onnx"
_BATCH_SIZE = 8

Pixels = npt.NDArray[np.float32]


class Outputs(NamedTuple):
    """Outputs of a network: logits (B, C) and maps (B, C, h, w), not normalised, both float32."""

    logits: FloatArray
    maps: FloatArray


def is_exported(path: str | Path) -> bool:
    """Whether a name is that of an exported file rather than of a run folder or on the hub."""
    return Path(path).suffix.lower() == SUFFIX and not Path(path).is_dir()


class OnnxModel:
    """An exported file behind the protocol ``LocalizationModel``.

    Args:
        path: a file of ``cdtr export``.
        device: cpu, cuda or cuda:N; by default CUDA where ONNX Runtime has it.
        workers: forward passes at a time on a CPU, each with its share of the cores.

    Raises:
        CheckpointError: the file is missing, broken or not of ``cdtr export``.
        ConfigError: ONNX Runtime or the device is missing.
    """

    batch_size = _BATCH_SIZE

    def __init__(self, path: Path, device: str | None = None, workers: int = 1) -> None:
        if not path.is_file():
            raise CheckpointError(f"no file {path}: expected the `onnx=` of `cdtr export`")
        refuse_external_data(path)
        self.session = open_session(path, device, threads=None if workers == 1 else threads_each(workers))
        self.workers = workers if self.session.get_providers() == ["CPUExecutionProvider"] else 1
        self.facts = _facts(self.session, str(path))
        self._view = self.facts.input.as_view()
        _check_shapes(self.session, self.facts, str(path))

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes in the order of the logits."""
        return self.facts.class_names

    @property
    def max_pixels(self) -> int:
        """Larger images are refused."""
        return self.facts.input.max_pixels

    def predict(
        self, images: Sequence[Image.Image], image_ids: Sequence[str], select: SelectClasses, mirrored: bool = False
    ) -> RawPrediction:
        """Predict the maps of RGB images; see ``LocalizationModel``."""
        mean, std = self.facts.input.mean, self.facts.input.std
        pixels = np.stack([self._view.pixels(image, mean, std) for image in images])
        found = self.run(pixels)
        check_outputs(found.logits, found.maps)
        selection, rows = select(found.logits), np.arange(len(images))[:, None]
        of_mirrored: FloatArray | None = None
        if mirrored:
            of_mirrored = self.run(np.ascontiguousarray(pixels[..., ::-1])).maps
            of_mirrored = of_mirrored[rows, selection.classes][..., ::-1]
        return RawPrediction(
            selection,
            list(found.maps[rows, selection.classes]),
            None if of_mirrored is None else list(of_mirrored),
            [self._view.field((image.height, image.width)) for image in images],
        )

    def run(self, pixels: Pixels) -> Outputs:
        """Run the network on normalised images (B, 3, H, W)."""
        return _run(self.session, pixels)


def open_session(model: Path | bytes, device: str | None = "cpu", threads: int | None = None) -> Any:
    """Open a file, or its bytes, as an ``onnxruntime.InferenceSession``; errors as ``OnnxModel``."""
    onnxruntime: Any = import_extra("onnxruntime", "an exported model", "onnx")
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
        raise CheckpointError(
            f"{what} cannot be opened by ONNX Runtime ({one_line(error)}): export the run again"
        ) from error


def session_runner(model: bytes, threads: int | None = None) -> Callable[[Pixels], Outputs]:
    """Return a function of pixels (B, 3, H, W) that runs an ONNX file's bytes on the CPU."""
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
    """Raise CheckpointError where inputs or outputs do not fit the metadata."""
    inputs = {one.name: one.shape for one in session.get_inputs()}
    outputs = {one.name: one.shape for one in session.get_outputs()}
    size, classes = [3, *facts.input.size_hw], len(facts.class_names)
    fits = list(inputs) == ["images"] and inputs["images"][1:] == size
    fits = fits and all(len(outputs.get(name, ())) > 1 and outputs[name][1] == classes for name in ("logits", "maps"))
    if not fits:
        raise CheckpointError(
            f"{origin} has inputs {inputs} and outputs {outputs}, its metadata say images {size} and {classes} "
            "classes: export the run again"
        )
