from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cdtr.errors import DataError
from cdtr.json_tree import entries, field, load_json, numbers, parse_json


@pytest.mark.parametrize("text", ["", "[" * 200_000, '{"images": ['], ids=["empty", "deep", "cut"])
def test_broken_files_are_named(text: str, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(DataError, match=r"x\.json cannot be read as COCO JSON"):
        load_json(path, "COCO JSON")


def test_a_byte_order_mark_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('\ufeff{"a": 1}', encoding="utf-8")
    assert load_json(tmp_path / "x.json", "JSON") == {"a": 1}


@pytest.mark.parametrize(
    ("entry", "found"), [({}, "None"), ([1], "None"), ({"id": True}, "True"), ({"id": 1.5}, "1.5"), (None, "None")]
)
def test_a_value_of_another_kind_is_named(entry: Any, found: str) -> None:
    with pytest.raises(DataError, match=rf"images\[3\]: id is {found}, expected a whole number or a text"):
        field(entry, "id", (int, str), "images[3]")


def test_values_of_the_kind_are_answered() -> None:
    assert field({"id": 0}, "id", int, "") == 0
    assert entries({"boxes": []}, "boxes", "") == []
    assert numbers(["1", 2, 2.5], "") == [1, 2, 2.5]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None, "left", True, 10**400, [1]], ids=str)
def test_what_is_no_finite_number_is_refused(value: Any) -> None:
    with pytest.raises(DataError, match=r"bbox: .*expected finite numbers"):
        numbers([1, value], "bbox")


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, "[" * 100 + "]" * 100, '{"a":' * 65 + "0" + "}" * 65, '{"a":' * 100_000, '[{"a":' * 50_000],
    ids=["open", "closed", "just-too-deep", "objects", "both"],
)
def test_what_is_nested_too_deep_is_a_value_error(text):
    with pytest.raises(ValueError, match=r"nested deeper than 64 levels|Expecting"):
        parse_json(text)


def test_what_is_nested_as_deep_as_allowed_is_read():
    deepest = "[" * 64 + "]" * 64
    assert json.dumps(parse_json(deepest)) == deepest
    assert parse_json('{"a": [1, {"b": null}]}') == {"a": [1, {"b": None}]}
    assert parse_json("3") == 3
