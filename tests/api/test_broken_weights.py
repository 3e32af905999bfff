"""Weights and normalisations that make no numbers: every way to an answer says so, none says "no box"."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import helper
from PIL import Image
from safetensors.torch import load_file, save_file

import cdtr
from cdtr.cli import main
from cdtr.config import load_config
from cdtr.deployment.facts import METADATA_KEY, run_facts
from cdtr.errors import CheckpointError
from cdtr.threshold import Threshold
from oracles.untrained_run import write_untrained_run

SETTINGS = (
    "data.input_size=[32, 32]",
    "data.resize=[32, 32]",
    "data.workers=0",
    "backbone.overrides={patch_size: 8, embed_dim: 32, depth: 1, num_heads: 2}",
    "ocm.k=1",
    "sba.enabled=false",
    "guide.enabled=false",
    "ocm.prior=none",
    "evaluation.view=whole",
)


@pytest.fixture
def run(tmp_path):
    return write_untrained_run(tmp_path / "run", load_config("small", SETTINGS), ("cat", "dog"))


@pytest.fixture
def data(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / "data" / name).mkdir(parents=True)
        Image.new("RGB", (40, 40), "red").save(tmp_path / "data" / name / "a.png")
    return tmp_path / "data"


def answer(capsys, *words):
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    return ended.value.code, capsys.readouterr().err


BROKEN = [
    pytest.param(lambda t: t * float("nan"), "is not finite", id="nan"),
    pytest.param(lambda t: t * 0 + float("inf"), "is not finite", id="infinite"),
    pytest.param(lambda t: t.to(torch.int64), r"holds torch\.int64, the model wants torch\.float32", id="integers"),
    pytest.param(lambda t: t.to(torch.complex64), "complex64", id="complex"),
    pytest.param(lambda t: t + 3e38, "are not finite", id="overflows-in-the-network"),
]


@pytest.mark.parametrize(("damage", "message"), BROKEN)
def test_broken_weights_are_one_line_on_every_path(run, data, tmp_path, capsys, damage, message):
    state = load_file(run.weights)
    name = next(name for name, one in state.items() if "patch_embed" in name and one.is_floating_point())
    save_file({**state, name: damage(state[name])}, run.weights)
    with pytest.raises(CheckpointError, match=message):
        cdtr.Localizer.from_pretrained(run.path, "cpu", threshold=0.5)(Image.new("RGB", (40, 40), "red"))
    for words in (
        ("localize", run.path, data, "--out", tmp_path / "out", "--threshold", "0.5", "--device", "cpu"),
        ("evaluate", run.path, "--data", data, "--split", "train", "--threshold", "0.5", "--device", "cpu"),
    ):
        code, said = answer(capsys, *words)
        assert code == 2, said
        assert "not finite" in said or "holds torch" in said
        assert "fault of cdtr" not in said


def test_a_std_of_zero_is_refused_by_the_settings(run, data, tmp_path, capsys):
    text = run.config_file.read_text()
    run.config_file.write_text(text.replace("- 0.229\n", "- 0.0\n"))
    code, said = answer(capsys, "localize", run.path, data, "--out", tmp_path / "out")
    assert code == 2, said
    assert "data.std.0 = 0.0" in said


def exported(path: Path, run, scores: float, changes=None) -> Path:
    """A file as `cdtr export` writes it, whose network answers ``scores`` plus the pixels' mean."""
    value = helper.make_tensor_value_info
    nodes = [
        helper.make_node("Constant", [], ["shift"], value=helper.make_tensor("s", 1, [1], [scores])),
        helper.make_node("Slice", ["images", "zero", "two", "channels"], ["slice"]),
        helper.make_node("Add", ["slice", "shift"], ["maps"]),
        helper.make_node("ReduceMean", ["maps", "hw"], ["logits"], keepdims=0),
    ]
    lists = {"zero": [0], "two": [2], "channels": [1], "hw": [2, 3]}
    constants = [helper.make_tensor(name, 7, [len(values)], values) for name, values in lists.items()]
    graph = helper.make_graph(
        nodes,
        "g",
        [value("images", 1, ["b", 3, 32, 32])],
        [value("logits", 1, ["b", 2]), value("maps", 1, ["b", 2, 32, 32])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    facts = run_facts(run, Threshold(0.5)).model_dump(mode="json")
    for key, content in (changes or {}).items():
        facts["input"][key] = content
    helper.set_model_props(model, {METADATA_KEY: json.dumps(facts)})
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("scores", [float("nan"), float("inf"), 3.4e38], ids=["nan", "infinite", "overflows"])
def test_an_exported_file_that_answers_no_numbers_is_refused(run, data, tmp_path, capsys, scores):
    path = exported(tmp_path / "m.onnx", run, scores)
    code, said = answer(capsys, "localize", path, data, "--out", tmp_path / "out")
    assert code == 2, said
    assert "not finite" in said


@pytest.mark.parametrize(
    "changes",
    [{"mean": [1e30, 0, 0]}, {"std": [0, 1, 1]}, {"std": [1e-30, 1, 1]}, {"max_pixels": 10**15}, {"scale": 0.0}],
    ids=["mean", "std-0", "small-std", "pixels", "scale"],
)
def test_absurd_metadata_of_an_exported_file_is_refused(run, data, tmp_path, capsys, changes):
    path = exported(tmp_path / "m.onnx", run, 0.0, changes)
    code, said = answer(capsys, "localize", path, data, "--out", tmp_path / "out")
    assert code == 2, said
    assert "m.onnx: metadata input" in said


def test_the_same_files_undamaged_answer(run, data, tmp_path, capsys):
    path = exported(tmp_path / "m.onnx", run, 0.0)
    for model in (run.path, path):
        out = tmp_path / f"out-{model.name}"
        words = ("localize", model, data, "--out", out, "--threshold", "0.5", "--format", "csv")
        code, said = answer(capsys, *words)
        assert code == 0, said
    assert np.isfinite(cdtr.Localizer.from_pretrained(run.path, "cpu", 0.5)(data)[0].scores).all()
