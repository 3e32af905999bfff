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
    with pytest.raises(CheckpointError, match=rf"has no {name}: is it the --out of `cdtr train`\?"):
        run.require_trained()
    run.state.mkdir()
    with pytest.raises(CheckpointError, match=rf"has no {name}: training has not finished, go on with .*--resume"):
        run.require_trained()


def test_no_run_folder(tmp_path):
    with pytest.raises(CheckpointError, match=r"no run folder .*gone: expected the --out"):
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
