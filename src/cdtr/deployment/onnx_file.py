"""An ONNX file looked through before ONNX Runtime opens it: its weights must lie in the file itself.

A tensor may name another file instead, by any path. ONNX Runtime 1.20 reads it wherever it lies, later versions within
the folder; `cdtr export` writes none. The format is Protocol Buffers: numbered fields, of which those that lead to
tensors are followed here, so that this needs no other package.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from cdtr.errors import CheckpointError

TENSOR: Final = "TensorProto"
# Of each message the fields, by number, that are or hold tensors. test_onnx_file.py compares them with onnx's own.
HOLDS: Final[dict[str, dict[int, str]]] = {
    "ModelProto": {7: "GraphProto", 20: "TrainingInfoProto", 25: "FunctionProto"},
    "TrainingInfoProto": {1: "GraphProto", 2: "GraphProto"},
    "GraphProto": {1: "NodeProto", 5: TENSOR, 15: "SparseTensorProto"},
    "NodeProto": {5: "AttributeProto"},
    "AttributeProto": {
        **{5: TENSOR, 6: "GraphProto", 10: TENSOR, 11: "GraphProto"},
        **{22: "SparseTensorProto", 23: "SparseTensorProto"},
    },
    "SparseTensorProto": {1: TENSOR, 2: TENSOR},
    "FunctionProto": {7: "NodeProto", 11: "AttributeProto"},
    TENSOR: {},
}
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14  # of a tensor
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # kinds of fields
_MOST_FIELDS = 2_000_000  # a large transformer has some ten thousand
_DEEPEST = 50  # graphs within graphs


def refuse_external_data(path: Path) -> None:
    """CheckpointError for a file that keeps tensors in other files, and for one that is no ONNX file."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            external = _has_external_data(content)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read as ONNX ({error}): export the run again") from error
    if external:
        raise CheckpointError(
            f"{path} keeps weights in other files (ONNX's external data), which are never opened: export the run again"
        )


def _has_external_data(content: mmap.mmap) -> bool:
    left: list[tuple[str, int, int, int]] = [("ModelProto", 0, len(content), 0)]
    seen = 0
    while left:
        message, start, end, depth = left.pop()
        if depth > _DEEPEST:
            raise ValueError("it is nested too deep")
        for number, value, stop in _fields(content, start, end):
            seen += 1
            if seen > _MOST_FIELDS:
                raise ValueError("it has too many parts")
            if message == TENSOR and (number == _EXTERNAL_DATA or (number == _DATA_LOCATION and value != 0)):
                return True
            kind = HOLDS[message].get(number)
            if kind is not None:
                if stop is None:
                    raise ValueError("it is damaged")
                left.append((kind, value, stop, depth + 1))
    return False


def _fields(content: mmap.mmap, at: int, end: int) -> Iterator[tuple[int, int, int | None]]:
    """Of each field its number, and its value, or where its bytes start and end."""
    while at < end:
        key, at = _varint(content, at, end)
        number, kind = key >> 3, key & 7
        if kind == _VARINT:
            value, at = _varint(content, at, end)
            yield number, value, None
        elif kind == _BYTES:
            length, at = _varint(content, at, end)
            if at + length > end:
                raise ValueError("it is cut short")
            yield number, at, at + length
            at += length
        elif kind in (_FIXED64, _FIXED32):
            at += 8 if kind == _FIXED64 else 4
            yield number, 0, None
        else:
            raise ValueError("it is damaged")
    if at != end:
        raise ValueError("it is cut short")


def _varint(content: mmap.mmap, at: int, end: int) -> tuple[int, int]:
    """A number of seven bits a byte, and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= end:
            raise ValueError("it is cut short")
        byte = content[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return value, at
    raise ValueError("it is damaged")
