"""`cdtr evaluate`"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from cdtr.evaluation import Evaluation
    from cdtr.records import DataSource, Sample
    from cdtr.runs import RunFolder

HELD_OUT = "held-out"


def command(
    run: Annotated[Path, typer.Argument(help="A trained run folder.")],
    data: Annotated[Path, typer.Option("--data", help="The data set; without boxes, only classes are measured.")],
    split: Annotated[
        str | None,
        typer.Option("--split", help="test, val, train or held-out; by default the first of test, val, held-out."),
    ] = None,
    protocol: Annotated[str | None, typer.Option("--protocol", help="By default the run's, wsol.")] = None,
    threshold: Annotated[
        float | None, typer.Option("--threshold", help="Of the map, from 0 to 1; by default the calibrated one.")
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the numbers to this file.")] = None,
    device: Annotated[str | None, typer.Option("--device", help="cpu, cuda, ...")] = None,
) -> None:
    """Measure boxes and classes in percent, beside what boxes that never look at the image would score.

    Example: cdtr evaluate runs/neu --data NEU-DET --json neu.json
    """
    from rich.console import Console

    from cdtr.cli._shared import open_source
    from cdtr.reports.tables import metrics_table, summary_lines
    from cdtr.runs import RunFolder, write_json

    folder = RunFolder(run).require_trained()
    source = open_source(folder, data)
    name, samples = choose_split(folder, source, split)
    result = evaluate_run(folder, source, samples, protocol, threshold, device)
    print(f"{run} on {name} of {data}")
    Console().print(metrics_table(result))
    for line in summary_lines(result):
        print(line)
    if json_file is not None:
        write_json(json_file, {"split": name, **result.to_json(folder.class_names())})
        print(f"wrote {json_file}")


def choose_split(run: RunFolder, source: DataSource, split: str | None) -> tuple[str, Sequence[Sample]]:
    """The named split's images; by default those furthest from training."""
    from cdtr.cli._shared import held_out_samples
    from cdtr.errors import DataError

    if split is None:
        split = next((name for name in ("test", "val") if source.splits.get(name)), HELD_OUT)
    if split == HELD_OUT:
        return split, held_out_samples(run, source)
    samples = source.splits.get(split)
    if not samples:
        raise DataError(
            f"{source.root} has no split {split!r}: choose one of "
            f"{', '.join([*(name for name, found in source.splits.items() if found), HELD_OUT])}"
        )
    return split, samples


def evaluate_run(
    run: RunFolder,
    source: DataSource,
    samples: Sequence[Sample],
    protocol: str | None = None,
    threshold: float | None = None,
    device: str | None = None,
) -> Evaluation:
    """Measure a run on some images of a data set, with the threshold given or calibrated."""
    from cdtr.api import as_method, choose_threshold, find_device, load_model
    from cdtr.cli._shared import progress_bar, report_broken
    from cdtr.data.loader import eval_loader
    from cdtr.evaluation import evaluate, find_protocol

    config, where = run.config(), find_device(device)
    rules = find_protocol(protocol or config.evaluation.protocol)
    chosen, origin = choose_threshold(run, threshold)
    if threshold is None:
        refuse_overlap(run, source, samples)
    method = as_method(load_model(run.path, where))
    batches = eval_loader(samples, config, on_broken=report_broken)
    with progress_bar("evaluating images", len(samples)) as move:
        return evaluate(method, batches, source.annotate, rules, chosen, where, move, threshold_source=origin)


def refuse_overlap(run: RunFolder, source: DataSource, samples: Sequence[Sample]) -> None:
    """Raise DataError when the threshold was chosen on images that are to be measured now."""
    from cdtr.errors import DataError
    from cdtr.runs import hash_names

    calibration = run.calibration()
    if calibration is None:
        return
    # The threshold comes from training images, so an evaluated image that is none of them cannot have been used.
    training = {sample.image_id for sample in source.splits.get("train", ())}
    same = hash_names(sample.image_id for sample in samples) == calibration.get("images_sha256")
    if same or any(sample.image_id in training for sample in samples):
        raise DataError(
            f"the threshold of {run.path} was chosen on {calibration.get('source', 'images')}, and these images are of "
            "the training set too: evaluate another split, or give --threshold"
        )
