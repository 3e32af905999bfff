"""To the hub and back. The hub itself is a stub that keeps what was uploaded; the cache is the real client's."""

from __future__ import annotations

import json
from inspect import signature
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml
from huggingface_hub import HfApi, ModelCard

import cdtr
from cdtr.api.run_model import RunModel
from cdtr.config import load_config
from cdtr.errors import CheckpointError, ConfigError
from cdtr.hub import CARD, FILES, check_repo_id, save_pretrained, without_paths
from cdtr.runs import RunFolder
from cdtr.threshold import Threshold, ThresholdSource
from oracles.untrained_run import write_untrained_run

SETTINGS = (
    "data.input_size=[32, 32]",
    "data.boxes=/home/maria/boxes.json",
    "backbone.overrides={patch_size: 8, embed_dim: 32, depth: 2, num_heads: 2}",
    "backbone.weights=/home/maria/deit.pth",
    "ocm.k=2",
    "sba.enabled=false",
    "sba.model=/home/maria/clips/0",
    "sba.pretrained=/home/maria/clip.pt",
    "pretrain.teacher_weights=/home/maria/teacher.pth",
    "backbone.cnn.weights=/home/maria/cnn.pth",
    "data.prior_maps=/home/maria/runs/two/targets",
    "refine.first=/home/maria/runs/one",
)


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    run = write_untrained_run(tmp_path / "runs" / "steel", load_config("small", SETTINGS), ("cat", "dog", "emu"))
    run.calibration_file.write_text(json.dumps({"threshold": 0.35, "n_images": 12, "source": "held-out images"}))
    broken = {"a.jpg": "/home/maria/photos/a.jpg cannot be read"}
    manifest = {"versions": {"cdtr": "0.1.0"}, "broken_images": broken, "requested_config": run.config_file.read_text()}
    manifest |= {"data": {"format": "folder", "root": "/home/maria/photos"}}
    manifest["started_from"] = {"file": "/home/maria/deit.pth", "sha256": "0", "notes": {}, "input_size": [32, 32]}
    manifest["prior_maps"] = {"folder": "/home/maria/runs/two/targets", "images": 12, "sha256": "0"}
    again = {"train.lr": 0.001, "data.boxes": "C:\\Users\\maria\\boxes.csv", "data.unboxed_classes": ["dog"]}
    manifest["resumed_with"] = [{"step": 4, "settings": again}, {"step": 6, "settings": {"data.boxes": "none"}}]
    run.manifest_file.write_text(json.dumps(manifest))
    (run.path / "state").mkdir()
    (run.path / "state" / "optimiser.pkl").write_bytes(b"stays here")
    (run.path / "tensorboard.log").write_text("stays here")
    return run


class Hub:
    """Stands in for ``HfApi``; a call that the real one would not take is a TypeError."""

    def __init__(self, root: Path, public: bool = False) -> None:
        self.root, self.public, self.calls = root, public, []

    def __call__(self, token: str | None = None) -> Hub:
        self.token = token
        return self

    def create_repo(self, repo_id: str, private: bool, exist_ok: bool, repo_type: str) -> str:
        signature(HfApi.create_repo).bind(self, repo_id, private=private, exist_ok=exist_ok, repo_type=repo_type)
        self.calls.append(("create", repo_id, private, exist_ok, repo_type))
        return f"https://hub/{repo_id}"

    def repo_info(self, repo_id: str, repo_type: str) -> SimpleNamespace:
        signature(HfApi.repo_info).bind(self, repo_id, repo_type=repo_type)
        return SimpleNamespace(private=not self.public)

    def upload_folder(self, **asked: Any) -> None:
        signature(HfApi.upload_folder).bind(self, **asked)
        self.calls.append(("upload", asked["repo_id"], asked["commit_message"]))
        target = self.root / asked["repo_id"]
        target.mkdir(parents=True)
        for file in Path(asked["folder_path"]).iterdir():
            if file.name in asked["allow_patterns"]:
                (target / file.name).write_bytes(file.read_bytes())


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    hub = Hub(tmp_path / "hub")
    monkeypatch.setattr("huggingface_hub.HfApi", hub)

    def download(hub_id: str, allow_patterns: list[str]) -> str:
        assert all(name.endswith((".safetensors", ".yaml", ".json", ".txt")) for name in allow_patterns)
        return str(hub.root / hub_id)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    return hub


def picture() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (40, 60, 3), dtype=np.uint8)


def assert_same_answers(one: cdtr.Localizer, other: cdtr.Localizer) -> None:
    first, second = one(picture())[0], other(picture())[0]
    np.testing.assert_array_equal(first.map, second.map)
    np.testing.assert_array_equal(first.boxes_xyxy, second.boxes_xyxy)
    assert one.threshold == other.threshold
    assert one.class_names == other.class_names


def test_saved_folder_gives_the_same_answers_and_can_be_saved_again(run: RunFolder, tmp_path: Path) -> None:
    localizer = cdtr.Localizer.from_pretrained(run.path)
    folder = localizer.save_pretrained(tmp_path / "share" / "steel")
    assert sorted(path.name for path in folder.iterdir()) == sorted({*FILES, CARD} - {"scores.json"})
    assert_same_answers(localizer, cdtr.Localizer.from_pretrained(folder))
    run.calibration_file.unlink()
    save_pretrained(run, folder, None)
    assert not (folder / "calibration.json").exists(), "what the run no longer has must not stay"
    assert "0.35 of the map's maximum" not in (folder / CARD).read_text()


def test_no_path_of_this_machine_leaves_it(run: RunFolder, tmp_path: Path) -> None:
    folder = save_pretrained(run, tmp_path / "out", Threshold(0.35, ThresholdSource.CALIBRATED, "9 images"))
    for file in folder.iterdir():
        assert b"maria" not in file.read_bytes(), file.name
        assert b"/home" not in file.read_bytes(), file.name
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert config["backbone"]["weights"] == "deit.pth"
    assert config["sba"]["model"] == "0"
    assert config["sba"]["pretrained"] == "clip.pt"
    assert config["data"]["boxes"] == "boxes.json"
    assert config["pretrain"]["teacher_weights"] == "teacher.pth"
    manifest = json.loads((folder / "manifest.json").read_text())
    assert yaml.safe_load(manifest["requested_config"]) == config
    assert manifest["started_from"] == {"file": "deit.pth", "sha256": "0", "notes": {}, "input_size": [32, 32]}
    assert [again["settings"] for again in manifest["resumed_with"]] == [
        {"train.lr": 0.001, "data.boxes": "boxes.csv", "data.unboxed_classes": ["dog"]},
        {"data.boxes": "none"},
    ]


@pytest.mark.parametrize(("boxes", "teacher"), [("auto", "package"), ("none", "hub")])
def test_words_in_the_place_of_a_path_stay(boxes: str, teacher: str) -> None:
    config = load_config("small", [f"data.boxes={boxes}", f"pretrain.teacher_weights={teacher}"])
    assert without_paths(config) == config


def test_models_of_the_hub_keep_their_name(run: RunFolder, tmp_path: Path) -> None:
    config = run.config().updated(sba={"model": "hf-hub:laion/CLIP-ViT-B-32"}, backbone={"weights": "hub"})
    run.config_file.write_text(config.to_yaml())
    stored = RunFolder(save_pretrained(run, tmp_path / "out", None)).config()
    assert stored.sba.model == "hf-hub:laion/CLIP-ViT-B-32"
    assert stored.backbone.weights == "hub"


def test_push_and_load(run: RunFolder, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    localizer = cdtr.Localizer.from_pretrained(run.path)
    assert localizer.push_to_hub("maria/steel", private=True, token="secret") == "https://hub/maria/steel"
    assert hub.token == "secret"
    assert hub.calls == [("create", "maria/steel", True, True, "model"), ("upload", "maria/steel", "Upload cdtr run")]
    uploaded = {path.name for path in (hub.root / "maria" / "steel").iterdir()}
    assert uploaded == {*FILES, CARD} - {"scores.json"}
    card = ModelCard.load(hub.root / "maria" / "steel" / CARD)
    assert card.data.library_name == "cdtr"
    assert "0.35 of the map's maximum: calibrated on 12 held-out images" in card.text
    assert_same_answers(localizer, cdtr.Localizer.from_pretrained("maria/steel"))


def test_private_never_goes_to_a_public_place(run: RunFolder, hub: Hub) -> None:
    hub.public = True
    with pytest.raises(ConfigError, match="there already and public, so nothing was uploaded"):
        cdtr.Localizer.from_pretrained(run.path).push_to_hub("maria/steel", private=True)
    assert [call[0] for call in hub.calls] == ["create"]


def test_a_hub_that_says_no_is_one_clear_line(run: RunFolder, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError("401 Unauthorized\nsecond line")

    monkeypatch.setattr(hub, "create_repo", refuse)
    with pytest.raises(CheckpointError, match=r"maria/steel cannot be uploaded \(PermissionError: 401 Unauth.*hf auth"):
        cdtr.Localizer.from_pretrained(run.path).push_to_hub("maria/steel")


@pytest.mark.parametrize("name", ["steel", "a/b/c", "maria/st eel", "maria/-steel", "../steel", ""])
def test_bad_names_are_refused_before_anything_is_asked(name: str) -> None:
    with pytest.raises(ConfigError, match="is no name of the hub"):
        check_repo_id(name)


def test_folders_with_other_files_are_left_alone(run: RunFolder, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for folder, message in ((tmp_path / "mine", r"thesis\.tex"), (tmp_path / "file", "is a file"), (run.path, "other")):
        with pytest.raises(ConfigError, match=message):
            save_pretrained(run, folder, None)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.tex"]


def test_a_localizer_without_a_run_cannot_be_saved(run: RunFolder, tmp_path: Path) -> None:
    whole = cdtr.Localizer.from_pretrained(run.path)
    bare = cdtr.Localizer(RunModel(whole.method, whole.config, whole.class_names, whole.device), 0.3)
    with pytest.raises(ConfigError, match="was not loaded from a run"):
        bare.save_pretrained(tmp_path / "out")


def test_the_clients_own_cache_is_read_without_a_connection(
    run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    snapshot = cache / "models--maria--steel" / "snapshots" / ("0" * 40)
    save_pretrained(run, snapshot, Threshold(0.35, ThresholdSource.CALIBRATED, "9 images"))
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("0" * 40)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.chdir(tmp_path)
    assert cdtr.Localizer.from_pretrained("maria/steel").threshold == 0.35
    with pytest.raises(CheckpointError, match="cannot be had from the hub"):
        cdtr.Localizer.from_pretrained("maria/other")


def test_scores_of_one_split_and_protocol_replace_each_other(run: RunFolder) -> None:
    first = {"data": "neu_det", "split": "val", "protocol": "wsol", "metrics": {"top1_cls": 1.0}}
    run.add_scores([first, {**first, "protocol": "cdtr"}])
    run.add_scores([{**first, "metrics": {"top1_cls": 2.0}}])
    assert [(s["protocol"], s["metrics"]["top1_cls"]) for s in run.scores()] == [("wsol", 2.0), ("cdtr", 1.0)]
    run.scores_file.write_text("[1]")
    with pytest.raises(CheckpointError, match=r"scores\.json"):
        run.scores()
    run.scores_file.write_text('{"scores": 3}')
    with pytest.raises(CheckpointError, match=r"scores\.json: scores is 3: .*remove it and run `cdtr evaluate` again"):
        run.scores()
