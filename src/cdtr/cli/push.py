"""Command line of `cdtr push`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    run: Annotated[Path, typer.Argument(help="A trained run folder.")],
    repo_id: Annotated[str, typer.Argument(help="The name on the hub, owner/name.")],
    private: Annotated[bool, typer.Option("--private", help="For you and those you name only.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Upload nothing; write the folder that would be uploaded.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option("--out", help="With --dry-run, the folder to write; by default RUN-hub.")
    ] = None,
) -> None:
    """Upload a run with a model card to the Hugging Face hub.

    Weights (safetensors), settings, class names, calibration, manifest and scores go there, no pickle, no image and no
    path of this machine. Log in first with `hf auth login`, or set HF_TOKEN. `cdtr evaluate` before it puts scores into
    the card. Every command that takes a run takes owner/name afterwards.

    Example: cdtr push runs/neu maria/steel-defects --private
    """
    from cdtr.api import choose_threshold, load_model
    from cdtr.cli._shared import LOCALIZE_REST, next_steps, note, shell
    from cdtr.errors import ConfigError
    from cdtr.hub import check_repo_id, push_to_hub, save_pretrained
    from cdtr.runs import RunFolder

    if out is not None and not dry_run:
        raise ConfigError("--out is for --dry-run, which writes a folder instead of uploading: give both or none")
    check_repo_id(repo_id)
    folder = RunFolder(run).require_trained()
    load_model(folder.path)  # what does not fit should not be published
    threshold = choose_threshold(folder)
    if threshold is None:
        note(f"{run} has no threshold: run `cdtr calibrate` first, and whoever loads it need not guess one")
    if dry_run:
        whole = folder.path.resolve()
        target = out or whole.with_name(f"{whole.name}-hub")
        save_pretrained(folder, target, threshold, repo_id)
        names = ", ".join(sorted(path.name for path in target.iterdir()))
        print(f"wrote {target}: {names}\nnothing was uploaded to {repo_id}")
        return
    note(f"uploading {folder.weights.stat().st_size / 1e6:.1f} MB to {repo_id}")
    print(f"wrote {push_to_hub(folder, repo_id, threshold, private)}")
    next_steps([shell("cdtr", "localize", repo_id) + LOCALIZE_REST])
