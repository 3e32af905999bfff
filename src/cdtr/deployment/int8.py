"""An ONNX file whose linear layers have 8-bit weights, by ONNX Runtime's own tool, and what it gains and costs."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from cdtr.deployment.agreement import Agreement, measure_agreement
from cdtr.deployment.compared_images import ComparedImages, run_all
from cdtr.deployment.facts import FLOAT32, Facts, Precision
from cdtr.deployment.graph import model_bytes, quiet
from cdtr.deployment.session import session_runner
from cdtr.errors import import_extra
from cdtr.model.cost import interleaved_seconds

INT8: Precision = "int8-dynamic"
TIMED_BATCH = 8
_LINEAR_LAYERS = ["MatMul", "Gemm"]


@dataclass(frozen=True, slots=True)
class Int8Gain:
    """An int8 file against the float32 file that it was made of.

    Attributes:
        agreement: of its boxes with those of float32.
        float32_ms: milliseconds of CPU time an image with one thread, in batches of up to ``TIMED_BATCH``.
        int8_ms: the same for int8.
        speedup: how many times as fast int8 is, the median over rounds.
    """

    agreement: Agreement
    float32_ms: float
    int8_ms: float
    speedup: float


def int8_bytes(model: Any, facts: Facts) -> bytes:
    """Quantise an ``onnx.ModelProto`` dynamically and return the bytes of its file.

    The weights of linear layers get 8 bits, and their inputs are scaled as they come. Products of two activations, as
    in attention, stay in float32.

    Raises:
        ConfigError: a library is missing.
    """
    onnx: Any = import_extra("onnx", "`int8=True`", "onnx")
    tools: Any = import_extra("onnxruntime.quantization", "`int8=True`", "onnx")
    shapes: Any = import_extra("onnxruntime.quantization.shape_inference", "`int8=True`", "onnx")
    with tempfile.TemporaryDirectory() as scratch, quiet():
        plain, prepared, made = (str(Path(scratch) / f"{name}.onnx") for name in ("plain", "prepared", "made"))
        onnx.save(model, plain)
        shapes.quant_pre_process(plain, prepared)
        tools.quantize_dynamic(
            prepared,
            made,
            op_types_to_quantize=_LINEAR_LAYERS,
            per_channel=True,
            weight_type=tools.QuantType.QInt8,
            nodes_to_exclude=_products_of_activations(onnx.load(prepared)),
        )
        return model_bytes(onnx.load(made), facts.model_copy(update={"precision": INT8}))


def measure_int8(plain: bytes, int8: bytes, images: ComparedImages, threshold: float, rounds: int = 15) -> Int8Gain:
    """Compare the bytes of an int8 file with those of its float32 file, in boxes at a map threshold and in time."""
    runners = {FLOAT32: session_runner(plain, threads=1), INT8: session_runner(int8, threads=1)}
    outputs = {name: run_all(runner, images) for name, runner in runners.items()}
    pixels = images.pixels[:TIMED_BATCH]
    calls: dict[str, Callable[[], object]] = {name: partial(runner, pixels) for name, runner in runners.items()}
    seconds = {name: np.array(found) for name, found in interleaved_seconds(calls, 2, rounds, time.thread_time).items()}
    ms = {name: 1000 * float(np.median(found)) / len(pixels) for name, found in seconds.items()}
    return Int8Gain(
        agreement=measure_agreement(outputs[FLOAT32], outputs[INT8], images, threshold),
        float32_ms=ms[FLOAT32],
        int8_ms=ms[INT8],
        speedup=float(np.median(seconds[FLOAT32] / seconds[INT8])),
    )


def _products_of_activations(model: Any) -> list[str]:
    weights = {one.name for one in model.graph.initializer}
    return [node.name for node in model.graph.node if node.op_type == "MatMul" and not weights & set(node.input)]
