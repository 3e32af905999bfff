"""Upload a run with a model card to the Hugging Face hub, or write the folder that would be uploaded."""

from __future__ import annotations

import os
from pathlib import Path

from cdtr.api import choose_threshold, load_model
from cdtr.hub import check_repo_id, push_to_hub, save_pretrained
from cdtr.runs import RunFolder
from cdtr.threshold import Threshold
from cdtr.workflows.reporting import SILENT, Reporter


def push(run: str | os.PathLike[str], repo_id: str, *, private: bool = False, reporter: Reporter = SILENT) -> str:
    """Upload a run.

    Args:
        run: a trained run folder.
        repo_id: the name on the hub, ``owner/name``.
        private: for the owner and those whom the owner names only.
        reporter: takes notes.

    Returns:
        The address of the model.

    Raises:
        ConfigError: the name is not one of the hub's.
        CheckpointError: the run is not finished or does not fit this version, or the hub says no.
    """
    folder, threshold = _check(run, repo_id, reporter)
    reporter.note(f"uploading {folder.weights.stat().st_size / 1e6:.1f} MB to {repo_id}")
    return push_to_hub(folder, repo_id, threshold, private)


def write_hub_folder(
    run: str | os.PathLike[str], repo_id: str, out: Path | None = None, *, reporter: Reporter = SILENT
) -> Path:
    """Write the folder that ``push`` would upload.

    Args:
        run: a trained run folder.
        repo_id: the name on the hub, ``owner/name``.
        out: the folder to write; by default the run's name with ``-hub`` behind it.
        reporter: takes notes.

    Returns:
        The folder.

    Raises:
        ConfigError: the name is not one of the hub's.
        CheckpointError: the run is not finished or does not fit this version.
    """
    folder, threshold = _check(run, repo_id, reporter)
    whole = folder.path.resolve()
    out = out or whole.with_name(f"{whole.name}-hub")
    save_pretrained(folder, out, threshold, repo_id)
    return out


def _check(run: str | os.PathLike[str], repo_id: str, reporter: Reporter) -> tuple[RunFolder, Threshold | None]:
    """Return a run that may be published, and its threshold."""
    check_repo_id(repo_id)
    folder = RunFolder(Path(run)).require_trained()
    load_model(folder.path)  # what does not fit should not be published
    threshold = choose_threshold(folder)
    if threshold is None:
        reporter.note(
            f"{folder.path} has no threshold: run `cdtr calibrate` first (`label_free=True` needs no box), and whoever "
            "loads it need not guess one"
        )
    return folder, threshold
