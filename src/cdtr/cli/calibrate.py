"""`cdtr calibrate`"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from cdtr.evaluation import Calibration
    from cdtr.records import DataSource
    from cdtr.runs import RunFolder

CHOSEN_ON = "held-out training images"


def command(
    run: Annotated[Path, typer.Argument(help="A trained run folder.")],
    data: Annotated[Path, typer.Option("--data", help="The data set that the run was trained on; it needs boxes.")],
    device: Annotated[str | None, typer.Option("--device", help="cpu, cuda, ...")] = None,
) -> None:
    """Choose the map threshold on held-out training images, never on the test set, and store it in the run.

    Example: cdtr calibrate runs/neu --data NEU-DET
    """
    from cdtr.cli._shared import next_steps, open_source
    from cdtr.runs import RunFolder

    folder = RunFolder(run).require_trained()
    found = calibrate_run(folder, open_source(folder, data), device)
    print(
        f"threshold {found.threshold:g}: GT-known Loc {found.gt_known_loc:.1f}% on {found.n_images} {CHOSEN_ON} "
        f"(protocol {found.protocol})"
    )
    print(f"wrote {folder.calibration_file}")
    next_steps([f"cdtr evaluate {run} --data {data}", f"cdtr localize {run} IMAGES --out boxes --format coco,csv"])


def calibrate_run(run: RunFolder, source: DataSource, device: str | None = None) -> Calibration:
    """Choose the threshold on the run's held-out images and write ``calibration.json``."""
    from cdtr.api import as_method, find_device, load_model
    from cdtr.cli._shared import held_out_samples, progress_bar, report_broken
    from cdtr.data.loader import eval_loader
    from cdtr.errors import DataError
    from cdtr.evaluation import calibrate, find_protocol
    from cdtr.runs import write_json

    if not source.annotated:
        raise DataError(
            f"{source.root} has no boxes: calibration needs some for the held-out images; without any, look at a few "
            "overlays of `cdtr localize --threshold T --overlays` and give that T from then on"
        )
    held, config, where = held_out_samples(run, source), run.config(), find_device(device)
    batches = eval_loader(held, config, on_broken=report_broken)
    protocol, method = find_protocol(config.evaluation.protocol), as_method(load_model(run.path, where))
    with progress_bar(f"calibrating on {CHOSEN_ON}", len(held)) as move:
        found = calibrate(method, batches, source.annotate, protocol, where, move)
    write_json(run.calibration_file, {"source": CHOSEN_ON, **found.to_json()})
    return found
