"""Command line of `cdtr calibrate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cdtr.cli._options import BoxesOption, DeviceOption, JsonOption, ViewOption


def command(
    run: Annotated[str, typer.Argument(help="A trained run folder, or a hub id.")],
    data: Annotated[Path, typer.Option("--data", help="The data set that the run was trained on.")],
    split: Annotated[
        str | None,
        typer.Option("--split", help="val, train-fullsup, ...; by default the training images that were held out."),
    ] = None,
    boxes: BoxesOption = None,
    label_free: Annotated[
        bool, typer.Option("--label-free", help="Choose the threshold from the maps alone, without boxes.")
    ] = False,
    mirror: Annotated[
        bool,
        typer.Option("--mirror", help="Let scores of boxes see the mirrored image; localizing takes twice as long."),
    ] = False,
    view: ViewOption = None,
    device: DeviceOption = None,
    json_file: JsonOption = None,
) -> None:
    """Choose the map threshold on images that are not the test set, and store it in the run.

    One threshold is chosen for every protocol; the run's own is the one that `cdtr localize` uses. The boxes found
    with it get scores, fitted on the same images: the probability that their IoU is at least 0.5. Data without boxes
    takes --label-free, which gives a threshold and no scores. The view that the threshold is
    chosen under is stored with it. The calibration of a hub id lies in the hub's cache.

    Example: cdtr calibrate runs/neu --data NEU-DET
    """
    from cdtr.cli._output import write_results
    from cdtr.cli._shared import LOCALIZE_REST, TERMINAL, next_steps, require_outputs, shell
    from cdtr.evaluation.calibration import LABEL_FREE
    from cdtr.workflows.calibrate import calibrate
    from cdtr.workflows.opening import find_test_split

    require_outputs(json_file)
    done = calibrate(
        run,
        data,
        split=split,
        boxes=boxes,
        label_free=label_free,
        mirror=mirror,
        view=view,
        device=device,
        reporter=TERMINAL,
    )
    found, quality = done.calibration, done.box_scores
    chosen = LABEL_FREE if found.gt_known_loc is None else f"GT-known Loc {found.gt_known_loc:.1f}%"
    print(
        f"threshold {found.threshold:.3g}: {chosen}, on {found.n_images} {done.chosen_on} (protocol {found.protocol})"
    )
    if quality is not None:
        print(f"scores of boxes: fitted on {quality.n_images} boxes, {100 * quality.hit_rate:.1f}% of them hits")
    print(f"wrote {done.run.calibration_file}")
    write_results(json_file, {"run": run, **(done.run.calibration() or {})})
    test = [shell("cdtr", "evaluate", run, "--data", data)] if find_test_split(done.source, split) else []
    report = shell("cdtr", "report", run, "--data", data)
    next_steps([*test, report, shell("cdtr", "localize", run) + LOCALIZE_REST])
