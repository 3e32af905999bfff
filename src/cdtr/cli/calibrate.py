"""`cdtr calibrate`"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from cdtr.evaluation import Calibration
    from cdtr.records import DataSource, Sample
    from cdtr.runs import RunFolder

CHOSEN_ON = "held-out training images"
NOT_TO_CHOOSE_ON = ("test", "train")


def command(
    run: Annotated[Path, typer.Argument(help="A trained run folder.")],
    data: Annotated[Path, typer.Option("--data", help="The data set that the run was trained on; it needs boxes.")],
    split: Annotated[
        str | None,
        typer.Option("--split", help="val, train-fullsup, ...; by default the training images that were held out."),
    ] = None,
    device: Annotated[str | None, typer.Option("--device", help="cpu, cuda, ...")] = None,
) -> None:
    """Choose the map threshold on images that are not the test set, and store it in the run.

    One threshold is chosen for every protocol; the run's own is the one that `cdtr localize` uses.

    Example: cdtr calibrate runs/neu --data NEU-DET
    """
    from cdtr.cli._shared import next_steps, open_source
    from cdtr.runs import RunFolder

    folder = RunFolder(run).require_trained()
    found = calibrate_run(folder, open_source(folder, data), device, split)
    print(
        f"threshold {found.threshold:g}: GT-known Loc {found.gt_known_loc:.1f}% on {found.n_images} "
        f"{chosen_on(split)} (protocol {found.protocol})"
    )
    print(f"wrote {folder.calibration_file}")
    next_steps([f"cdtr evaluate {run} --data {data}", f"cdtr localize {run} IMAGES --out boxes --format coco,csv"])


def calibrate_run(
    run: RunFolder, source: DataSource, device: str | None = None, split: str | None = None
) -> Calibration:
    """Choose the thresholds on the run's held-out images, or another split, and write ``calibration.json``."""
    from cdtr.api import as_method, find_device, load_model
    from cdtr.cli._shared import progress_bar, report_broken
    from cdtr.data.files import content_hash
    from cdtr.data.loader import eval_loader
    from cdtr.errors import DataError
    from cdtr.evaluation import PROTOCOLS, calibrate, find_protocol
    from cdtr.runs import write_json

    if not source.annotated:
        raise DataError(
            f"{source.root} has no boxes: calibration needs some for the held-out images; without any, look at a few "
            "overlays of `cdtr localize --threshold T --overlays` and give that T from then on"
        )
    samples, config, where = calibration_samples(run, source, split), run.config(), find_device(device)
    batches = eval_loader(samples, config, on_broken=report_broken)
    own, method = find_protocol(config.evaluation.protocol), as_method(load_model(run.path, where))
    protocols = [own, *(protocol for protocol in PROTOCOLS.values() if protocol != own)]
    with progress_bar(f"calibrating on {chosen_on(split)}", len(samples)) as move:
        found = calibrate(method, batches, source.annotate, protocols, where, move)
    content = {
        "source": chosen_on(split),
        **found[0].to_json(),
        "by_protocol": {one.protocol: {"threshold": one.threshold, "gt_known_loc": one.gt_known_loc} for one in found},
        "contents": sorted({content_hash(sample.path) or "unreadable" for sample in samples} - {"unreadable"}),
    }
    write_json(run.calibration_file, content)
    return found[0]


def calibration_samples(run: RunFolder, source: DataSource, split: str | None) -> Sequence[Sample]:
    """The images to choose on; DataError for the test split and for what the run was fitted to."""
    from cdtr.cli._shared import find_split, held_out_samples
    from cdtr.errors import DataError

    if split is None:
        return held_out_samples(run, source)
    if split in NOT_TO_CHOOSE_ON:
        reason = "a threshold chosen on it would flatter the scores" if split == "test" else "the run was fitted to it"
        raise DataError(f"--split {split}: {reason}; choose a held-out split, or leave --split out")
    return find_split(run, source, split)


def chosen_on(split: str | None) -> str:
    return CHOSEN_ON if split is None else f"images of {split}"
