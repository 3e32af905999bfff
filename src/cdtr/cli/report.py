"""`cdtr report`"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cdtr.cli._options import BoxesOption, DeviceOption, SplitOption

if TYPE_CHECKING:
    from torch import nn

    from cdtr.api import Localizer
    from cdtr.evaluation import AttentionNoise, Evaluation
    from cdtr.localization.torch_model import TorchModel
    from cdtr.records import DataSource, Sample
    from cdtr.reports.report import Measured
    from cdtr.runs import RunFolder

IMAGES = 4
NOISE_IMAGES = 1000  # whose attention is looked at before and after training


def command(
    run: Annotated[str, typer.Argument(help="A trained run folder, or a hub id.")],
    data: Annotated[
        Path | None, typer.Option("--data", help="The data set; by default where it lay when the run was trained.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="The HTML file to write; by default report.html in the run folder.")
    ] = None,
    split: SplitOption = None,
    boxes: BoxesOption = None,
    images: Annotated[int, typer.Option("--images", min=1, help="Pictures in each gallery.")] = IMAGES,
    device: DeviceOption = None,
) -> None:
    """Write a page about a run: what was trained on what, scores, faults, training curves, and pictures of its maps.

    One HTML file that needs no other and no connection. Without boxes, or without the images, it has what there is.

    Example: cdtr report runs/neu --data NEU-DET --out neu.html
    """
    from cdtr.api import find_run
    from cdtr.cli._shared import note
    from cdtr.errors import ConfigError
    from cdtr.reports.report import write_report

    folder = find_run(run)
    page = out or (folder.path if Path(run).is_dir() else Path()) / "report.html"  # a run from the hub lies in a cache
    if page.is_dir():
        raise ConfigError(f"{page} is a folder: name the file to write, such as {page / 'report.html'}")
    measured, absent = measure_run(folder, data, split, boxes, images, device)
    if measured is None:
        note(f"no images: {absent}")
    write_report(folder, run, count_parameters(folder), measured, absent, page)
    print(f"wrote {page}: open it in a browser")


def measure_run(
    run: RunFolder, data: Path | None, split: str | None, boxes: str | None, images: int, device: str | None
) -> tuple[Measured | None, str]:
    """What the images add, or None and why they cannot be had; where ``data`` is given, that is an error."""
    from cdtr.cli._shared import TERMINAL
    from cdtr.cli.evaluate import choose_split
    from cdtr.errors import DataError
    from cdtr.workflows.opening import open_source

    root = data or (run.known_manifest().get("data") or {}).get("root")
    if root is None:
        return None, "the run does not say where its data lies; name it with --data."
    if data is None and not Path(root).is_dir():
        return None, f"its data is no longer in {root}; name it with --data."
    try:
        source = open_source(run, Path(root), boxes, split, TERMINAL)
        name, samples = choose_split(run, source, split)
        evaluation = evaluate_for_report(run, source, samples, device)
    except DataError as error:
        if data is not None or split is not None:
            raise
        return None, f"{error}."
    return examine(run, source, name, samples, evaluation, images, device), ""


def evaluate_for_report(
    run: RunFolder, source: DataSource, samples: Sequence[Sample], device: str | None
) -> Evaluation:
    """The run's own protocol at its threshold, at a common default where it has none; a leak is marked, no error."""
    from cdtr.api import DEFAULT_THRESHOLD, protocol_threshold
    from cdtr.cli.evaluate import evaluate_run
    from cdtr.evaluation import find_protocol
    from cdtr.reports.report import NOT_CALIBRATED

    rules = find_protocol(run.config().evaluation.protocol)
    threshold, _ = protocol_threshold(run, rules, source.name)
    given = DEFAULT_THRESHOLD if threshold is None else None
    (found,) = evaluate_run(run, source, samples, [rules], given, device, allow_leak=True)
    return found if given is None else replace(found, threshold_source=NOT_CALIBRATED)


def examine(
    run: RunFolder,
    source: DataSource,
    split: str,
    samples: Sequence[Sample],
    evaluation: Evaluation,
    images: int = IMAGES,
    device: str | None = None,
) -> Measured:
    """What a report needs of evaluated images beside the numbers: the methods after and before, and their attention."""
    from cdtr.api import Localizer
    from cdtr.reports.report import Measured

    localizer = Localizer.from_pretrained(run.path, device, evaluation.threshold)
    start, start_note = rebuild_start(run)
    noise = look_at_attention(localizer, start, source, samples, evaluation)
    after, before = make_predictor(localizer), None if start is None else make_predictor(localizer, start)
    return Measured(source, split, samples, evaluation, after, localizer.threshold, images, noise, before, start_note)


def make_predictor(localizer: Localizer, module: nn.Module | None = None) -> TorchModel:
    """Return the localizer's model, or the same with another method in its place."""
    from cdtr.api.run_model import RunModel

    method = localizer.method if module is None else module
    return RunModel(method, localizer.config, localizer.class_names, localizer.device, view=localizer.view.name)


def look_at_attention(
    localizer: Localizer,
    start: nn.Module | None,
    source: DataSource,
    samples: Sequence[Sample],
    evaluation: Evaluation,
) -> AttentionNoise | None:
    """How much of it lies outside the true boxes, after training and before; of up to ``NOISE_IMAGES`` images."""
    from cdtr.api import as_seen
    from cdtr.cli._shared import progress_bar
    from cdtr.data.loader import eval_loader
    from cdtr.evaluation import measure_noise
    from cdtr.reports.gallery import choose_random

    with_boxes = {row.image_id for row in evaluation.rows if row.attention_ratio is not None}
    known = [sample for sample in samples if sample.image_id in with_boxes]
    if not known:
        return None
    chosen = choose_random(known, NOISE_IMAGES, localizer.config.seed)
    view = localizer.view
    before = None if start is None else as_seen(start, view)
    batches = eval_loader(chosen, localizer.config, view=view.name)
    with progress_bar("attention after and before training", len(chosen) * (1 if start is None else 2)) as move:
        return measure_noise(as_seen(localizer.method, view), before, batches, source.annotate, localizer.device, move)


def rebuild_start(run: RunFolder) -> tuple[nn.Module | None, str]:
    """The method as its training started with it, and what that is; or None, and why it cannot be had."""
    from cdtr.errors import CdtrError
    from cdtr.model.methods import initial_method
    from cdtr.reports.facts import start_of
    from cdtr.runs import hash_file, library_versions

    manifest, config = run.known_manifest(), run.config()
    if manifest.get("imported"):
        return None, "not known, as the weights were imported"
    started = manifest.get("started_from")
    if started and (not Path(started["file"]).is_file() or hash_file(Path(started["file"])) != started["sha256"]):
        return None, f"not known, as the weights that it started from are no longer in {started['file']}"
    try:
        method = initial_method(config, len(run.class_names()))
    except CdtrError as error:
        return None, f"not known, as the start cannot be built again ({error})"
    note = f"{start_of(run)}, built again with the run's seed ({config.seed})"
    then, now = manifest.get("versions") or {}, library_versions()
    changed = [
        f"{name} {then[name]}, now {now[name]}" for name in ("torch", "timm") if then.get(name, now[name]) != now[name]
    ]
    if changed:
        note += f"; it may differ, as the run was trained with {' and '.join(changed)}"
    return method, note


def count_parameters(run: RunFolder) -> int:
    from cdtr.api import load_model

    return sum(parameter.numel() for parameter in load_model(run.path).parameters())
