"""An ONNX file with 8-bit weights, by ONNX Runtime's own tools."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from cdtr.deployment.facts import Precision
from cdtr.deployment.graph import quiet
from cdtr.deployment.session import Pixels
from cdtr.errors import ConfigError, how_to_install

_WEIGHED = ["MatMul", "Gemm"]


def quantise(model: Any, calibration: Pixels | None = None) -> dict[Precision, Any]:
    """8-bit variants of an ``onnx.ModelProto`` by their precision's name.

    int8-dynamic: linear layers, whose inputs are measured as they come. int8-static, only with ``calibration`` images
    (N, 3, H, W): convolutions as well, the ranges of all inputs measured on these images beforehand. Products of two
    activations, as in attention, stay in float32.
    """
    try:
        import onnx
        from onnxruntime.quantization import QuantFormat, QuantType, quantize_dynamic, quantize_static
        from onnxruntime.quantization.shape_inference import quant_pre_process
    except ImportError as error:
        raise ConfigError(f"--int8 needs {error.name}: {how_to_install('onnx')}") from error
    with tempfile.TemporaryDirectory() as scratch, quiet():
        plain, prepared, made = (Path(scratch) / f"{name}.onnx" for name in ("plain", "prepared", "made"))
        onnx.save(model, str(plain))
        quant_pre_process(str(plain), str(prepared))
        skipped = _products_of_activations(onnx.load(str(prepared)))
        options: dict[str, Any] = {"per_channel": True, "weight_type": QuantType.QInt8, "nodes_to_exclude": skipped}
        quantize_dynamic(str(prepared), str(made), op_types_to_quantize=_WEIGHED, **options)
        variants: dict[Precision, Any] = {"int8-dynamic": onnx.load(str(made))}
        if calibration is not None:
            quantize_static(
                str(prepared),
                str(made),
                _Reader(calibration),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=[*_WEIGHED, "Conv"],
                activation_type=QuantType.QUInt8,
                **options,
            )
            variants["int8-static"] = onnx.load(str(made))
    return variants


def _products_of_activations(model: Any) -> list[str]:
    weights = {one.name for one in model.graph.initializer}
    return [node.name for node in model.graph.node if node.op_type == "MatMul" and not weights & set(node.input)]


class _Reader:
    """Hands one image after the other to ONNX Runtime's calibration, which asks for ``get_next`` and no base class."""

    def __init__(self, pixels: Pixels) -> None:
        self._images: Iterator[Pixels] = iter(np.split(pixels, len(pixels)))

    def get_next(self) -> dict[str, Pixels] | None:
        images = next(self._images, None)
        return None if images is None else {"images": images}
