"""Command line of `cdtr push`."""

from pathlib import Path
from typing import Annotated

from cdtr.cli._options import argument, option


def command(
    run: Annotated[Path, argument("A trained run folder.")],
    repo_id: Annotated[str, argument("The name on the hub, owner/name.")],
    private: Annotated[bool, option("For you and those you name only.")] = False,
    dry_run: Annotated[bool, option("Upload nothing; write the folder that would be uploaded.")] = False,
    out: Annotated[Path | None, option("With --dry-run, the folder to write; by default RUN-hub.")] = None,
) -> None:
    """Upload a run with a model card to the Hugging Face hub.

    Weights (safetensors), settings, class names, calibration, manifest and scores go there, no pickle, no image and no
    path of this machine. Log in first with `hf auth login`, or set HF_TOKEN. `cdtr evaluate` before it puts scores into
    the card. Every command that takes a run takes owner/name afterwards.

    Example: cdtr push runs/neu maria/steel-defects --private
    """
    from cdtr.cli._output import TERMINAL, localize_step, next_steps
    from cdtr.errors import ConfigError
    from cdtr.workflows.push import push, write_hub_folder

    if out is not None and not dry_run:
        raise ConfigError("--out is for --dry-run, which writes a folder instead of uploading: give both or none")
    if dry_run:
        folder = write_hub_folder(run, repo_id, out, reporter=TERMINAL)
        names = ", ".join(sorted(path.name for path in folder.iterdir()))
        print(f"wrote {folder}: {names}\nnothing was uploaded to {repo_id}")
        return
    print(f"wrote {push(run, repo_id, private=private, reporter=TERMINAL)}")
    next_steps(localize_step(repo_id))
