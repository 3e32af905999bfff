"""Run folders: writing without leaving half a file, and reading with one clear line."""

import hashlib
import json
import os
from pathlib import Path

import pytest

from cdtr.config import Config
from cdtr.errors import CheckpointError, ConfigError
from cdtr.runs import RunFolder, hash_names, write_atomic, write_json


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(
    ("content", "stored"), [("ä\n", b"\xc3\xa4\n"), (b"\x00\xff", b"\x00\xff")], ids=["text", "bytes"]
)
def test_write_atomic_writes_and_leaves_no_temporary_file(tmp_path, content, stored):
    target = tmp_path / "new" / "file.txt"
    write_atomic(target, "older and longer content")
    write_atomic(target, content)
    assert target.read_bytes() == stored
    assert names_in(target.parent) == ["file.txt"]


@pytest.mark.parametrize("step", ["fsync", "replace"], ids=["disk-full", "rename-fails"])
def test_a_failed_write_keeps_the_old_content_and_no_temporary_file(tmp_path, monkeypatch, step):
    target = tmp_path / "file.txt"
    write_atomic(target, "old")

    def fail(*_args):
        raise OSError("no space left on device")

    monkeypatch.setattr(*((os, "fsync", fail) if step == "fsync" else (Path, "replace", fail)))
    with pytest.raises(OSError, match="no space left"):
        write_atomic(target, "new")
    assert target.read_text() == "old"
    assert names_in(tmp_path) == ["file.txt"]


def test_the_target_holds_old_or_new_content_at_every_moment(tmp_path, monkeypatch):
    target, seen = tmp_path / "file.txt", []
    write_atomic(target, "old")
    monkeypatch.setattr(os, "fsync", lambda _fd: seen.append(target.read_text()))
    write_atomic(target, "new")
    assert seen == ["old", "new"], "the file before the rename, the folder after it"
    assert target.read_text() == "new"


def test_write_json_is_readable_by_people(tmp_path):
    write_json(tmp_path / "a.json", {"name": "Ørsted", "values": [1, None]})
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert json.loads(text) == {"name": "Ørsted", "values": [1, None]}
    assert "Ørsted" in text
    assert text.endswith("}\n")


def test_hash_names_depends_on_the_names_and_not_on_their_order():
    assert hash_names(["b", "a"]) == hash_names(iter(["a", "b"])) == hashlib.sha256(b"a\nb").hexdigest()
    assert hash_names(["a"]) != hash_names(["a", "b"]) != hash_names(["ab"])


def make_run(path):
    run = RunFolder(path)
    write_atomic(run.config_file, Config(seed=4).to_yaml())
    write_atomic(run.classes_file, "ant\nØrsted bee\n")
    write_atomic(run.weights, b"")
    return run


def test_a_finished_run_reads_back(tmp_path):
    run = make_run(tmp_path / "run")
    assert run.require_trained() is run
    assert run.config() == Config(seed=4)
    assert run.class_names() == ("ant", "Ørsted bee")
    assert run.calibration() is None
    write_json(run.calibration_file, {"threshold": 0.3})
    assert run.calibration() == {"threshold": 0.3}


@pytest.mark.parametrize("name", ["config.yaml", "classes.txt", "model.safetensors"])
def test_an_unfinished_run_says_what_is_missing(tmp_path, name):
    run = make_run(tmp_path / "run")
    (run.path / name).unlink()
    with pytest.raises(CheckpointError, match=rf"has no {name}: is it the `out=` of `cdtr train`\?"):
        run.require_trained()
    run.state.mkdir()
    with pytest.raises(CheckpointError, match=rf"has no {name}: training has not finished, go on with .*--resume"):
        run.require_trained()


def test_no_run_folder(tmp_path):
    with pytest.raises(CheckpointError, match=r"no run folder .*gone: expected the `out=`"):
        RunFolder(tmp_path / "gone").require_trained()


@pytest.mark.parametrize("text", ["", "{", "[1]", "\ufeff{}x"], ids=["empty", "broken", "list", "rubbish"])
def test_broken_json_is_one_clear_line(tmp_path, text):
    run = make_run(tmp_path / "run")
    run.calibration_file.write_text(text, encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"calibration\.json .*: run `cdtr calibrate` again"):
        run.calibration()


def test_a_missing_manifest_and_a_damaged_config_are_told(tmp_path):
    run = make_run(tmp_path / "run")
    with pytest.raises(CheckpointError, match=r"manifest\.json cannot be read"):
        run.manifest()
    run.config_file.write_text("seed: [", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"config\.yaml is not YAML"):
        run.config()


@pytest.mark.parametrize("name", ["config.yaml", "classes.txt"])
def test_a_text_file_that_is_not_utf8_is_told(name, tmp_path):
    run = make_run(tmp_path / "run")
    (run.path / name).write_bytes(b"caf\xe9")
    with pytest.raises(CheckpointError, match=rf"{name} is not UTF-8 \(byte 3\)"):
        _ = run.config(), run.class_names()


@pytest.mark.parametrize("name", ["Ørsted bee", " led by a blank", "軍艦鳥", "a\u00a0b", "👩‍🔬"])
def test_class_names_are_read_by_the_rule_they_were_written_by(tmp_path, name):
    run = make_run(tmp_path / "run")
    write_atomic(run.classes_file, f"ant\n{name}\n")
    assert run.class_names() == ("ant", name)
    run.classes_file.write_bytes(f"ant\r\n{name}\r\n".encode())
    assert run.class_names() == ("ant", name), "saved again by an editor of Windows"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("a\u2028b\nc\n", r"line 1: 'a\\u2028b' is no name of a class"),
        ("a\n\nc\n", "line 2: '' is no name"),
        ("a\nb\rc\n", r"line 2: 'b\\rc' is no name"),
        ("a\x1b[2J\nc\n", r"line 1: 'a\\x1b\[2J' is no name"),
        ("", "names no class"),
    ],
    ids=["line separator", "blank", "lone return", "escape sequence", "empty"],
)
def test_class_names_that_cannot_be_told_apart_are_refused(tmp_path, text, fault):
    run = make_run(tmp_path / "run")
    run.classes_file.write_bytes(text.encode())
    with pytest.raises(CheckpointError, match=fault):
        run.class_names()


WRONG = {
    "manifest.json": [
        ('{"splits": {"fit": {"images": "52"}}}', "splits.fit.images is '52'"),
        ('{"splits": NaN}', "splits is nan"),
        ('{"versions": true}', "versions is True"),
        ('{"data": "\\ud800"}', "cannot be read"),
        ("[" * 100_000, "cannot be read"),
        ('{"a": ' + "[" * 100 + "]" * 100 + "}", "nested deeper than"),
    ],
    "calibration.json": [('{"threshold": 1}', "threshold is 1"), ('{"contents": [[]]}', r"contents\.0 is \[\]")],
    "scores.json": [
        ('{"scores": [{"protocol": {"v": "wsol"}}]}', r"scores\.0\.protocol is"),
        ('{"scores": [{"baselines": {"full_image": {"top1_loc": []}}}]}', r"full_image\.top1_loc is \[\]"),
        ('{"scores": "\\ud800"}', "cannot be read"),
    ],
}


@pytest.mark.parametrize(("name", "text", "fault"), [(name, *case) for name, cases in WRONG.items() for case in cases])
def test_values_of_another_kind_are_named(tmp_path, name, text, fault):
    run = make_run(tmp_path / "run")
    (run.path / name).write_text(text)
    read = {"manifest.json": run.manifest, "calibration.json": run.calibration, "scores.json": run.scores}[name]
    with pytest.raises(CheckpointError, match=fault) as found:
        read()
    assert str(run.path / name) in str(found.value)
    assert len(str(found.value).splitlines()) == 1


def test_what_a_caller_cannot_do_without_is_named(tmp_path):
    run = make_run(tmp_path / "run")
    write_json(run.manifest_file, {"splits": {"fit": {"images": 3}}})
    assert run.manifest("splits.fit.images")["splits"]["fit"] == {"images": 3}
    with pytest.raises(CheckpointError, match=r"manifest\.json has no splits\.held_out: restore it"):
        run.manifest("splits.fit", "splits.held_out")
    assert RunFolder(tmp_path / "none").known_manifest() == {}


def test_a_log_of_something_else_is_named_by_line_and_one_cut_short_is_not(tmp_path):
    run = make_run(tmp_path / "run")
    line = '{"kind": "step", "step": 1, "epoch": 0, "terms": {"total": 1.5}, "lambdas": null}'
    run.metrics_file.write_text(f'{line}\n{line[:-9]}\n{{"kind": "epo')
    (record,) = run.log("step")
    assert record["terms"] == {"total": 1.5}
    assert record["lambdas"] == {}
    assert record["held_out"] == {}
    run.metrics_file.write_text(f"{line}\nnull\n")
    with pytest.raises(CheckpointError, match=r"metrics\.jsonl, line 2 holds no JSON object"):
        run.log("step")
    run.metrics_file.write_text(line.replace("1.5", '"x"'))
    with pytest.raises(CheckpointError, match=r"metrics\.jsonl, line 1: terms\.total is 'x'"):
        run.log("epoch")
