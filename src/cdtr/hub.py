"""Runs on the Hugging Face hub: what is uploaded and downloaded is weights, text and nothing that runs."""

from __future__ import annotations

import re
import tempfile
from operator import attrgetter
from pathlib import Path
from typing import Any

from cdtr.config import Config, parse_config
from cdtr.errors import CheckpointError, ConfigError
from cdtr.reports.model_card import model_card
from cdtr.runs import RunFolder, write_atomic, write_json
from cdtr.text import first_line
from cdtr.threshold import Threshold

CARD = "README.md"
# The only names that leave or enter: safetensors, YAML, JSON and text. The card is for readers and stays on the hub.
FILES = ("model.safetensors", "config.yaml", "classes.txt", "calibration.json", "manifest.json", "scores.json")
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
# Names of the user's files, with places of this machine in the reasons.
_STAYS_HERE = ("broken_images",)
# Settings that may be a path; where they are a word or a name instead, that is its own last part.
_PATHS = (
    *("data.boxes", "data.prior_maps", "backbone.weights", "backbone.cnn.weights", "pretrain.teacher_weights"),
    *("sba.model", "sba.pretrained", "refine.first"),
)


def is_hub_id(text: str) -> bool:
    """Whether the text has the form ``owner/name``."""
    return _HUB_ID.fullmatch(text) is not None


def download_run(hub_id: str) -> Path:
    """The folder with a run's files, downloaded or from the cache; CheckpointError where they cannot be had."""
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(hub_id, allow_patterns=list(FILES)))
    except Exception as error:  # the client's errors share no class between its versions
        raise CheckpointError(
            f"{hub_id} is no run folder here, and cannot be had from the hub ({type(error).__name__}): "
            "check the path or the id, and the connection"
        ) from error


def save_pretrained(run: RunFolder, folder: Path, threshold: Threshold | None, repo_id: str | None = None) -> Path:
    """Write what the hub gets of a run to a folder: its files and a model card, without paths of this machine.

    threshold: the run's, and where it is from. Files of an earlier call are replaced; ConfigError for a folder that
    holds anything else.
    """
    run.require_trained()
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is a file: choose a folder")
    strange = (
        sorted(entry.name for entry in folder.iterdir() if entry.name not in (*FILES, CARD)) if folder.is_dir() else []
    )
    if strange or folder.resolve() == run.path.resolve():
        raise ConfigError(f"{folder} holds other files ({', '.join(strange[:3]) or 'the run'}): choose an empty folder")
    card = model_card(run, threshold, repo_id or folder.name, repo_id)
    for name in (run.calibration_file.name, run.manifest_file.name, run.scores_file.name):
        (folder / name).unlink(missing_ok=True)
    write_atomic(folder / run.config_file.name, without_paths(run.config()).to_yaml())
    write_atomic(folder / run.classes_file.name, run.classes_file.read_bytes())
    if run.manifest_file.is_file():
        write_json(folder / run.manifest_file.name, _public_manifest(run))
    for file in (run.calibration_file, run.scores_file, run.weights):
        if file.is_file():
            write_atomic(folder / file.name, file.read_bytes())
    write_atomic(folder / CARD, card)
    return folder


def push_to_hub(
    run: RunFolder, repo_id: str, threshold: Threshold | None, private: bool = False, token: str | None = None
) -> str:
    """Upload a run and its model card to ``owner/name``, which is created if needed; returns the address.

    Raises ConfigError for a bad name, and for ``private`` where the repository is there and public; CheckpointError
    where the hub says no.
    """
    from huggingface_hub import HfApi

    check_repo_id(repo_id)
    api = HfApi(token=token)
    with tempfile.TemporaryDirectory() as scratch:
        folder = save_pretrained(run, Path(scratch) / "run", threshold, repo_id)
        try:
            url = api.create_repo(repo_id, private=private, exist_ok=True, repo_type="model")
            public = private and not api.repo_info(repo_id, repo_type="model").private
            if not public:
                names = [*FILES, CARD]
                message = f"Upload {run.config().method} run"
                api.upload_folder(repo_id=repo_id, folder_path=folder, allow_patterns=names, commit_message=message)
        except Exception as error:  # the client's errors share no class between its versions
            reason = first_line(error)
            raise CheckpointError(
                f"{repo_id} cannot be uploaded ({type(error).__name__}: {reason}): log in with `hf auth login` or set "
                "HF_TOKEN, and check the name and the connection"
            ) from error
    if public:
        raise ConfigError(f"{repo_id} is there already and public, so nothing was uploaded: choose another name")
    return str(url)


def check_repo_id(repo_id: str) -> None:
    """ConfigError unless the hub takes the name."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise ConfigError(f"{repo_id!r} is no name of the hub ({first_line(error)})") from error
    if not is_hub_id(repo_id):
        raise ConfigError(f"{repo_id!r} is no name of the hub: expected owner/name, such as maria/steel")


def without_paths(config: Config) -> Config:
    """The settings with the last part of every path: where files lay on this machine is nobody's business."""
    changes: dict[str, Any] = {}
    for key in _PATHS:
        *sections, name = key.split(".")
        tree = changes
        for section in sections:
            tree = tree.setdefault(section, {})
        path = attrgetter(key)(config)
        tree[name] = None if path is None else _last_part(path)
    return config.updated(**changes)


def _last_part(text: str) -> str:
    if text.startswith("hf-hub:"):  # how open_clip names a model of the hub
        return text
    return re.split(r"[/\\]", text.rstrip("/\\"))[-1]


def _public_manifest(run: RunFolder) -> dict[str, Any]:
    manifest = {key: value for key, value in run.manifest().items() if key not in _STAYS_HERE}
    if isinstance(manifest.get("data"), dict):
        manifest["data"] = {key: value for key, value in manifest["data"].items() if key != "root"}
    if isinstance(manifest.get("requested_config"), str):
        requested = parse_config(manifest["requested_config"], str(run.manifest_file))
        manifest["requested_config"] = without_paths(requested).to_yaml()
    if isinstance(manifest.get("started_from"), dict):
        started = manifest["started_from"]
        manifest["started_from"] = {**started, "file": _last_part(str(started.get("file", "")))}
    if isinstance(manifest.get("prior_maps"), dict):
        maps = manifest["prior_maps"]
        manifest["prior_maps"] = {**maps, "folder": _last_part(str(maps.get("folder", "")))}
    if isinstance(manifest.get("resumed_with"), list):
        manifest["resumed_with"] = [_public_resumption(again) for again in manifest["resumed_with"]]
    return manifest


def _public_resumption(again: dict[str, Any]) -> dict[str, Any]:
    settings = {key: _last_part(str(value)) if key in _PATHS else value for key, value in again["settings"].items()}
    return {**again, "settings": settings}
