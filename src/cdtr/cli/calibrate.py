"""Command line of `cdtr calibrate`."""

from pathlib import Path
from typing import Annotated

from cdtr.cli._options import BoxesOption, DeviceOption, JsonOption, RunArgument, ViewOption, option


def command(
    run: RunArgument,
    data: Annotated[Path, option("The data set that the run was trained on.")],
    split: Annotated[
        str | None, option("val, train-fullsup, ...; by default the training images that were held out.")
    ] = None,
    boxes: BoxesOption = None,
    label_free: Annotated[bool, option("Choose the threshold from the maps alone, without boxes.")] = False,
    mirror: Annotated[bool, option("Let box scores see the mirrored image; localizing takes twice as long.")] = False,
    view: ViewOption = None,
    device: DeviceOption = None,
    json_file: JsonOption = None,
) -> None:
    """Choose the map threshold on images that are not the test set, and store it in the run.

    One threshold is chosen for every protocol; the run's own is the one that `cdtr localize` uses. The boxes found
    with it get scores, fitted on the same images: the probability that their IoU is at least 0.5. Data without boxes
    takes --label-free, which gives a threshold and no scores. The view that the threshold is chosen under is stored
    with it. The calibration of a hub id lies in the hub's cache.

    Example: cdtr calibrate runs/neu --data NEU-DET
    """
    from cdtr.cli._output import TERMINAL, localize_step, next_steps, write_results
    from cdtr.evaluation.calibration import LABEL_FREE
    from cdtr.localization.quality import CLASS_SCORES
    from cdtr.workflows.calibrate import calibrate
    from cdtr.workflows.opening import find_test_split

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
    images = f"{found.n_images} {done.chosen_on} (protocol {found.protocol})"
    print(f"threshold {found.threshold:.3g}: {chosen}, on {images}")
    if quality is not None:
        print(f"scores of boxes: fitted on {quality.n_images} boxes, {100 * quality.hit_rate:.1f}% of them hits")
    elif found.gt_known_loc is None:
        print(CLASS_SCORES)
    else:
        print("scores of boxes stay class probabilities: too few boxes were found to fit more")
    print(f"wrote {done.run.calibration_file}")
    write_results(json_file, {"run": run, **(done.run.calibration() or {})})
    evaluate = [("evaluate", run, "--data", data)] if find_test_split(done.source, split) else []
    next_steps(*evaluate, ("report", run, "--data", data), localize_step(run))
