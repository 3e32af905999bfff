"""Command line of `cdtr train`."""

import json
from pathlib import Path
from typing import Annotated

from cdtr.cli._options import ConfigOption, DataArgument, ResumeOption, RunOutOption, SetOption, option


def command(
    data: DataArgument,
    out: RunOutOption,
    config: ConfigOption = None,
    overrides: SetOption = None,
    resume: ResumeOption = False,
    deduplicate: Annotated[bool, option("Do not train on images that are also in val or test.")] = False,
    empty: Annotated[list[str] | None, option("A class without an object, as good; may be repeated.")] = None,
    prior_maps: Annotated[
        Path | None, option("Maps of another tool as the object prior, .npy or PNG by image id.")
    ] = None,
    taught_with: Annotated[str | None, option("What that tool learned from: labels, masks, boxes, nothing.")] = None,
) -> None:
    """Train on images sorted by class and write a run folder.

    Example: cdtr train photos/ --out runs/photos --set train.epochs=20
    """
    from cdtr.cli._output import TERMINAL, localize_step, next_steps
    from cdtr.workflows.opening import HELD_OUT, find_test_split
    from cdtr.workflows.train import is_main_process, train

    changes = [*(overrides or []), *(["data.deduplicate=true"] if deduplicate else [])]
    if prior_maps is not None:
        changes += ["ocm.prior=maps", f"data.prior_maps={json.dumps(str(prior_maps))}"]
    changes += [f"data.empty_classes={json.dumps(empty)}"] if empty else []
    if taught_with is not None:
        changes.append(f"data.prior_maps_taught_with={json.dumps(taught_with)}")
    run = train(data, out, config, overrides=changes, resume=resume, reporter=TERMINAL)
    if not is_main_process():
        return
    print(f"wrote {run.path}: {run.weights.name}, {run.config_file.name}, {run.classes_file.name} and the logs")
    split = run.calibration_split
    how = ["--split", str(split)] if split != HELD_OUT else [] if run.source.annotated else ["--label-free"]
    calibrate = [("calibrate", run.path, "--data", data, *how)] if split else []
    # Held-out images give a threshold, so only a split of its own measures what comes after it.
    evaluate = [("evaluate", out, "--data", data)] if find_test_split(run.source) else []
    next_steps(*calibrate, *evaluate, localize_step(out, "--overlays"))
