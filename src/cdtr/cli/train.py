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
    from cdtr.cli._output import TERMINAL, next_steps, steps_after_training
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
    files = (run.weights, run.config_file, run.classes_file, run.calibration_file)
    print(f"wrote {run.path}: {', '.join(file.name for file in files if file.is_file())} and the logs")
    next_steps(*steps_after_training(run, data, out))
