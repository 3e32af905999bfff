from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdtr.deployment.facts import FORMAT, Facts, run_facts
from cdtr.errors import CheckpointError
from cdtr.localization.presence import EmptyClasses
from cdtr.runs import RunFolder, hash_file

LETTERS = st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp"))
NAMES = st.lists(st.text(LETTERS, min_size=1), min_size=1, max_size=4)


def test_facts_of_a_run(run: RunFolder, facts: Facts) -> None:
    assert facts.class_names == ("cat", "dog", "emu")
    assert facts.input.size_hw == (32, 48)
    assert facts.input.mean == (0.485, 0.456, 0.406)
    assert facts.run.weights_sha256 == hash_file(run.weights)
    assert facts.run.name == "run"
    assert facts.run.method == "cdtr"
    assert facts.threshold == 0.4
    assert facts.threshold_source == "given"
    assert facts.box_quality() is None
    assert run_facts(run, None).threshold is None


def test_classes_without_an_object_are_a_newer_format(run: RunFolder, tmp_path: Path) -> None:
    other = RunFolder(shutil.copytree(run.path, tmp_path / "run"))
    other.config_file.write_text(run.config().updated(data={"empty_classes": ["dog"]}).to_yaml())
    other.calibration_file.write_text(json.dumps({"threshold": 0.4, "view": "whole", "has_object": {"threshold": 0.3}}))
    found = run_facts(other, None)
    assert found.format == 3
    assert found.empty() == EmptyClasses((1,), 0.3)
    assert Facts.from_json(found.to_json(), "x") == found
    assert run_facts(other, None, "tiled").empty() == EmptyClasses((1,)), "the calibration was of another view"
    plain = run_facts(run, None)
    assert plain.format == 1
    assert plain.empty() is None


@given(NAMES)
def test_facts_come_back(facts: Facts, names: list[str]) -> None:
    changed = facts.model_copy(update={"class_names": tuple(names)})
    assert Facts.from_json(changed.to_json(), "x") == changed


def test_what_a_later_version_adds_is_left_aside(facts: Facts) -> None:
    tree = {**json.loads(facts.to_json()), "colour_space": "sRGB"}
    assert Facts.from_json(json.dumps(tree), "x") == facts


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": FORMAT + 1}, "x.onnx has format 4, this version of cdtr reads up to 3"),
        ({"class_names": []}, "metadata class_names"),
        ({"class_names": ["cat", "\x1b[2Jdog"]}, r"metadata class_names\.1"),
        ({"class_names": ["cat\u2028dog"]}, r"metadata class_names\.0"),
        ({"threshold": 1.0}, "metadata threshold"),
        ({"threshold": "high"}, "metadata threshold"),
        ({"precision": "int4"}, "metadata precision"),
        ({"input": None}, "metadata input"),
        ({"box_scores": {"features": []}}, "stored scores of boxes cannot be used"),
        ({"empty_classes": ["cow"]}, "x.onnx: data.empty_classes has 'cow', no class of the file"),
        ({"empty_classes": ["cat", "dog", "emu"]}, "x.onnx: data.empty_classes names all 3 classes"),
        ({"empty_classes": "cat"}, "metadata empty_classes"),
        ({"object_threshold": 1.5}, "metadata object_threshold"),
    ],
)
def test_broken_facts_get_one_line(facts: Facts, changes: dict[str, Any], message: str) -> None:
    tree = {**json.loads(facts.to_json()), **changes}
    with pytest.raises(CheckpointError, match=message):
        Facts.from_json(json.dumps(tree), "x.onnx")


@pytest.mark.parametrize("text", ["", "{", "[]", "7", "nonsense", "[" * 100_000])
def test_what_is_no_object_gets_one_line(text: str) -> None:
    with pytest.raises(CheckpointError, match=r"x\.onnx: metadata"):
        Facts.from_json(text, "x.onnx")


@pytest.mark.parametrize("std", [[0, 1, 1], [-1, 1, 1], [1, 1]])
def test_colours_that_cannot_be_divided_by(facts: Facts, std: list[float]) -> None:
    tree = json.loads(facts.to_json())
    tree["input"]["std"] = std
    with pytest.raises(CheckpointError, match="metadata input"):
        Facts.from_json(json.dumps(tree), "x.onnx")
