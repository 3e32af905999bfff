"""A traced method as an ONNX file, its facts in the metadata."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.export import ExportedProgram

from cdtr.deployment.facts import METADATA_KEY, Facts
from cdtr.deployment.program import DYNAMIC_SHAPES
from cdtr.errors import ConfigError, import_extra
from cdtr.text import one_line


def onnx_model(program: ExportedProgram) -> Any:
    """Translate a program to an ``onnx.ModelProto`` with the input ``images``, the outputs ``logits`` and ``maps``.

    Raises:
        ConfigError: the program has an operation that ONNX lacks, or a library is missing.
    """
    for library in ("onnx", "onnxscript"):
        import_extra(library, "an export to ONNX", "onnx")
    with quiet():
        try:
            exported = torch.onnx.export(
                program,
                dynamo=True,
                input_names=["images"],
                output_names=["logits", "maps"],
                dynamic_shapes=DYNAMIC_SHAPES,
                verbose=False,
            )
        except Exception as error:  # the exporter's errors are private classes around any other
            raise ConfigError(
                f"this method cannot be exported to ONNX: {one_line(error.__cause__ or error)}"
            ) from error
    if exported is None:
        raise ConfigError("this method cannot be exported to ONNX: the exporter returned nothing")
    model = exported.model_proto
    _forget_places(model.graph)
    for function in model.functions:
        _forget_places(function)
    return model


def model_bytes(model: Any, facts: Facts) -> bytes:
    """Return the model as the bytes of a file, with the facts in its metadata."""
    from importlib.metadata import version

    del model.metadata_props[:]
    model.metadata_props.add(key=METADATA_KEY, value=facts.to_json())
    model.producer_name, model.producer_version = "cdtr", version("cdtr")
    model.doc_string = f"{facts.run.method} of {facts.run.name}: see the metadata {METADATA_KEY!r} (JSON)"
    content: bytes = model.SerializeToString()
    return content


def _forget_places(graph: Any) -> None:
    """Remove where in the code each node was made: paths of this machine, and half of a small file."""
    for part in (graph.node, graph.value_info, getattr(graph, "initializer", ()), getattr(graph, "input", ())):
        for one in part:
            if hasattr(one, "metadata_props"):
                del one.metadata_props[:]
            if hasattr(one, "doc_string"):
                one.doc_string = ""


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the warnings and logs of these libraries; errors are still raised."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
