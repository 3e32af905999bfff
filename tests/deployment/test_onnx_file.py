"""Tensors that lie in other files are found wherever a graph may hold one, and ordinary files pass."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, helper

import cdtr
from cdtr.deployment.onnx_file import HOLDS, TENSOR, refuse_external_data
from cdtr.errors import CheckpointError


def test_all_ways_to_a_tensor_are_followed() -> None:
    """Against onnx's own description of its format: a field that a later version adds shows up here."""
    todo, seen = [ModelProto.DESCRIPTOR], set()
    leads: dict[str, dict[int, str]] = {}
    while todo:
        message = todo.pop()
        if message.name in seen:
            continue
        seen.add(message.name)
        below = {one.number: one.message_type for one in message.fields if one.message_type is not None}
        leads[message.name] = {number: kind.name for number, kind in below.items()}
        todo.extend(below.values())

    def reaches(name: str, passed: frozenset[str] = frozenset()) -> bool:
        return name == TENSOR or any(
            reaches(kind, passed | {name}) for kind in leads[name].values() if kind not in passed | {name}
        )

    expected = {name: {n: kind for n, kind in of.items() if reaches(kind)} for name, of in leads.items()}
    expected = {name: of for name, of in expected.items() if of or name == TENSOR}
    assert {**expected, TENSOR: {}} == {**HOLDS, TENSOR: {}}
    assert TensorProto.DESCRIPTOR.fields_by_name["external_data"].number == 13
    assert TensorProto.DESCRIPTOR.fields_by_name["data_location"].number == 14


def tensor(outside: bool = True) -> TensorProto:
    made = helper.make_tensor("w", 1, [2], [1.0, 2.0])
    if outside:
        made.ClearField("float_data")
        made.data_location = TensorProto.EXTERNAL
        made.external_data.add(key="location", value="/etc/passwd")
    return made


def node(**attributes: object) -> NodeProto:
    return helper.make_node("Constant", [], ["y"], **attributes)


def graph_of(*nodes: NodeProto, initializers: tuple[TensorProto, ...] = ()) -> GraphProto:
    return helper.make_graph(list(nodes), "g", [], [], list(initializers))


def sparse(value: TensorProto) -> onnx.SparseTensorProto:
    return helper.make_sparse_tensor(value, helper.make_tensor("i", 7, [2], [0, 1]), [4])


def with_list(kind: int, field: str, values: list[object]) -> NodeProto:
    made, attribute = node(), AttributeProto(name="a", type=kind)
    getattr(attribute, field).extend(values)
    made.attribute.append(attribute)
    return made


def of_graph(graph: GraphProto) -> ModelProto:
    return helper.make_model(graph)


def in_a_function(value: TensorProto) -> ModelProto:
    model = of_graph(graph_of())
    model.functions.append(helper.make_function("d", "f", [], ["y"], [node(value=value)], []))
    return model


def in_training(value: TensorProto) -> ModelProto:
    model = of_graph(graph_of())
    model.training_info.add().algorithm.CopyFrom(graph_of(initializers=(value,)))
    return model


def in_sparse_initializer(value: TensorProto) -> ModelProto:
    graph = graph_of()
    graph.sparse_initializer.append(sparse(value))
    return of_graph(graph)


PLACES: dict[str, Callable[[TensorProto], ModelProto]] = {
    "initializer": lambda value: of_graph(graph_of(initializers=(value,))),
    "sparse-initializer": in_sparse_initializer,
    "constant": lambda value: of_graph(graph_of(node(value=value))),
    "tensors": lambda value: of_graph(graph_of(with_list(AttributeProto.TENSORS, "tensors", [value]))),
    "sparse": lambda value: of_graph(graph_of(node(sparse_value=sparse(value)))),
    "subgraph": lambda value: of_graph(graph_of(node(then_branch=graph_of(node(value=value))))),
    "graphs": lambda value: of_graph(
        graph_of(with_list(AttributeProto.GRAPHS, "graphs", [graph_of(initializers=(value,))]))
    ),
    "function": in_a_function,
    "training": in_training,
}


@pytest.mark.parametrize("place", PLACES)
def test_external_data_is_refused_before_the_file_is_opened(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(PLACES[place](tensor(outside=False)).SerializeToString())
    refuse_external_data(path)
    path.write_bytes(PLACES[place](tensor()).SerializeToString())
    monkeypatch.setattr("onnxruntime.InferenceSession", lambda *_args, **_options: pytest.fail("it was opened"))
    with pytest.raises(CheckpointError, match=r"m\.onnx keeps weights in other files") as caught:
        cdtr.Localizer.from_pretrained(path)
    assert "\n" not in str(caught.value)


def test_a_location_alone_counts_too(tmp_path: Path) -> None:
    made = tensor(outside=False)
    made.external_data.add(key="location", value="../w")
    path = tmp_path / "m.onnx"
    path.write_bytes(PLACES["initializer"](made).SerializeToString())
    with pytest.raises(CheckpointError, match="other files"):
        refuse_external_data(path)


def test_files_of_export_pass(exported: Path) -> None:
    refuse_external_data(exported)


def test_damaged_files_are_refused_or_pass_and_nothing_else(exported: Path, tmp_path: Path) -> None:
    content, path = exported.read_bytes(), tmp_path / "m.onnx"
    for number in range(60):
        chance = random.Random(number)
        changed = bytearray(content[: chance.choice((len(content), chance.randrange(len(content))))])
        for _ in range(chance.randint(1, 5) if changed else 0):
            changed[chance.randrange(min(len(changed), 4000))] = chance.randrange(256)
        path.write_bytes(changed)
        try:
            refuse_external_data(path)
        except CheckpointError as error:
            assert "m.onnx" in str(error)  # noqa: PT017
    for nothing in (b"", b"\xff" * 40, b"\x3a\xff\xff\xff\xff\x7f"):
        path.write_bytes(nothing)
        with pytest.raises(CheckpointError, match=r"m\.onnx cannot be read as ONNX"):
            refuse_external_data(path)
