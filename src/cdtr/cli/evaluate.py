"""`cdtr evaluate`"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cdtr.cli._options import (
    BoxesOption,
    DeviceOption,
    FiguresOption,
    JsonOption,
    SplitOption,
    ThresholdOption,
    ViewOption,
)

if TYPE_CHECKING:
    from cdtr.evaluation import Evaluation, Protocol
    from cdtr.localization.quality import BoxQuality
    from cdtr.records import DataSource, Sample
    from cdtr.runs import RunFolder

ALL = "all"
_ANOTHER_SPLIT = "evaluate another split, give --threshold, or mark the result as an oracle's with --allow-leak"


def command(
    run: Annotated[str, typer.Argument(help="A trained run folder, or a hub id.")],
    data: Annotated[Path, typer.Option("--data", help="The data set; without boxes, only classes are measured.")],
    split: SplitOption = None,
    boxes: BoxesOption = None,
    protocol: Annotated[
        str | None, typer.Option("--protocol", help="wsol, tscam, sat, cdtr or all; by default the run's.")
    ] = None,
    threshold: ThresholdOption = None,
    view: ViewOption = None,
    allow_leak: Annotated[
        bool, typer.Option("--allow-leak", help="Score images that the threshold was chosen on; marked as oracle.")
    ] = False,
    json_file: JsonOption = None,
    per_class: Annotated[bool, typer.Option("--per-class", help="A table of the classes, the worst first.")] = False,
    figures: FiguresOption = None,
    device: DeviceOption = None,
) -> None:
    """Measure boxes and classes in percent, beside what boxes that never look at the image would score.

    The numbers are also kept in the run folder (scores.json), for the model card of `cdtr push`, unless --threshold,
    --view or --allow-leak was given.

    Example: cdtr evaluate runs/neu --data NEU-DET --json neu.json
    """
    from cdtr.api import find_run
    from cdtr.cli._shared import TERMINAL, require_outputs, tell_reading
    from cdtr.evaluation import PROTOCOLS, find_protocol
    from cdtr.workflows.opening import open_source, process_state

    require_outputs(json_file, figures)
    folder = find_run(run)
    names = list(PROTOCOLS) if protocol == ALL else [protocol or folder.config().evaluation.protocol]
    rules = [find_protocol(name) for name in names]
    source = open_source(folder, data, boxes, split, TERMINAL)
    name, samples = choose_split(folder, source, split)
    results = evaluate_run(folder, source, samples, rules, threshold, device, allow_leak, view=view)
    if not process_state().is_main_process:
        return
    tell_reading(source)
    print(f"{run} on {name} of {data}")
    report(results, name, folder.class_names(), json_file, figures, per_class)
    as_calibrated = threshold is None and view is None and not allow_leak
    if as_calibrated and Path(run).is_dir():  # a run from the hub lies in a cache
        store_scores(folder, results, source.name, name)


def store_scores(run: RunFolder, results: Sequence[Evaluation], data: str, split: str) -> None:
    """Keep the numbers, without curves and classes, in the run folder; a folder that cannot be written gets a note."""
    from cdtr.cli._shared import note

    counts = ("recipe", "view", "n_images", "n_annotated", "threshold", "threshold_source")
    kept = (*counts, "metrics", "intervals", "baselines")
    entries = []
    for result in results:
        tree = result.to_json()
        entries.append({"data": data, "split": split, "protocol": result.protocol, **{key: tree[key] for key in kept}})
    try:
        run.add_scores(entries)
    except OSError as error:
        note(f"the scores are not kept in {run.path}: {error.strerror or error}")


def report(
    results: Sequence[Evaluation],
    split: str,
    class_names: Sequence[str],
    json_file: Path | None = None,
    figures: Path | None = None,
    per_class: bool = False,
) -> None:
    """Print one evaluation, or several protocols side by side, and write numbers and figures if asked."""
    from cdtr.cli._output import write_answer
    from cdtr.reports.figures import write_figures
    from cdtr.reports.tables import metrics_table, per_class_table, protocols_table, summary_lines
    from cdtr.terminal import PlainConsole

    PlainConsole().print(metrics_table(results[0]) if len(results) == 1 else protocols_table(results))
    for line in summary_lines(results[0]) if len(results) == 1 else ():
        print(line)
    for result in results if per_class else ():
        PlainConsole().print(per_class_table(result, class_names))
    if json_file is not None:
        trees = {result.protocol: result.to_json(class_names) for result in results}
        (only, *more) = trees.values()
        write_answer(json_file, {"split": split, **({"protocols": trees} if more else only)})
    for path in [path for result in results for path in write_figures(result, figures)] if figures is not None else ():
        print(f"wrote {path}")


def choose_split(run: RunFolder, source: DataSource, split: str | None) -> tuple[str, Sequence[Sample]]:
    """The named split's images; by default those furthest from training."""
    from cdtr.workflows.opening import HELD_OUT, find_split, find_test_split

    if split is None:
        split = find_test_split(source) or HELD_OUT
    return split, find_split(run, source, split)


def evaluate_run(
    run: RunFolder,
    source: DataSource,
    samples: Sequence[Sample],
    protocols: Sequence[Protocol],
    threshold: float | None = None,
    device: str | None = None,
    allow_leak: bool = False,
    leak_advice: str = _ANOTHER_SPLIT,
    view: str | None = None,
) -> list[Evaluation]:
    """Measure a run on some images of a data set under each protocol, with one forward pass for each view of them.

    The threshold is the one given, else the protocol's published one for this method on this data set, else the
    calibrated one. leak_advice: what to do where that was chosen on these images. view: what the network sees, where
    the protocol does not say it; by default as the run was calibrated. Of several processes each measures its share,
    and all get the whole result.
    """
    from cdtr.api import as_seen, choose_view, find_device, load_model, protocol_threshold, require_view
    from cdtr.cli._shared import TERMINAL, progress_bar, report_broken
    from cdtr.config import recipe_label
    from cdtr.data.loader import eval_loader
    from cdtr.evaluation import Tally, gather_tallies, tally_images
    from cdtr.workflows.opening import group_by_view, process_state

    state = process_state()
    alone = state.num_processes == 1
    config, where = run.config(), find_device(device) if alone or device is not None else state.device
    leaks = cache(partial(count_leaks, run, samples))
    groups = group_by_view(run, protocols, view, TERMINAL)
    if view is not None:
        require_view(run, threshold, choose_view(run, view))
    seen_by = {rules.name: seen for seen, members in groups.items() for rules in members}
    protocols = [rules for rules in protocols if rules.name in seen_by]
    chosen = [protocol_threshold(run, rules, source.name, threshold, seen_by[rules.name].name) for rules in protocols]
    if any(_is_calibrated(origin) for _, origin in chosen) and leaks():
        if not allow_leak:
            raise leak_error(run, leaks(), leak_advice)
        marked = f"{leaks()} of them scored here"
        chosen = [(at, f"oracle: {why}, {marked}" if _is_calibrated(why) else why) for at, why in chosen]
    own = [rules.name == config.evaluation.protocol for rules in protocols]
    at = next((value for is_own, (value, _) in zip(own, chosen, strict=True) if is_own), None)
    quality, remarks = fair_quality(run, at, leaks, allow_leak)
    tallies = [
        Tally(rules, value, quality=quality if is_own else None)
        for rules, (value, _), is_own in zip(protocols, chosen, own, strict=True)
    ]
    module = load_model(run.path, where)
    share = len(samples[state.process_index :: state.num_processes])
    for seen in groups:
        batches = eval_loader(samples, config, state.process_index, state.num_processes, report_broken, seen.name)
        members = [tally for tally in tallies if seen_by[tally.protocol.name] == seen]
        with progress_bar("evaluating images" + (f", {seen.name}" if len(groups) > 1 else ""), share) as move:
            tally_images(members, as_seen(module, seen), batches, source.annotate, where, move)
    if not alone:
        tallies = gather_tallies(tallies)
    recipe = recipe_label(config)
    results = [
        replace(tally.finish(origin), view=seen_by[tally.protocol.name].name, recipe=recipe)
        for tally, (_, origin) in zip(tallies, chosen, strict=True)
    ]
    return [
        replace(result, notes=(*result.notes, *remarks)) if is_own else result
        for result, is_own in zip(results, own, strict=True)
    ]


def fair_quality(
    run: RunFolder, threshold: float | None, leaks: Callable[[], int], allow_leak: bool
) -> tuple[BoxQuality | None, tuple[str, ...]]:
    """What scores the run's boxes at a threshold, where that can be measured fairly, and what to say of it.

    threshold: in use under the run's own protocol, None where that is not asked for. leaks: counts the images that the
    scores were fitted on.
    """
    from cdtr.api import box_quality, calibrated_threshold, scores_misfit

    quality = None if threshold is None else box_quality(run)
    if quality is None or threshold is None:
        return None, ()
    misfit = scores_misfit(calibrated_threshold(run), threshold)
    if misfit is not None:
        return None, (f"the scores of boxes are not measured: {misfit}",)
    if not leaks():
        return quality, ()
    found = f"fitted on {leaks()} of these images"
    if allow_leak:
        return quality, (f"the scores of boxes were {found}, which flatters them",)
    return None, (f"the scores of boxes are not measured: they were {found}, --allow-leak measures them all the same",)


def _is_calibrated(origin: str | None) -> bool:
    return origin is not None and origin.startswith("calibrated")


def count_leaks(run: RunFolder, samples: Sequence[Sample]) -> int:
    """How many of the images, or byte-identical copies of them, the run's threshold was chosen on."""
    from cdtr.data.files import content_hash
    from cdtr.errors import CheckpointError

    contents = (run.calibration() or {}).get("contents")
    if not isinstance(contents, list):
        raise CheckpointError(
            f"{run.calibration_file} does not say which images it was chosen on: run `cdtr calibrate` again"
        )
    chosen_on = set(contents)
    return sum(content_hash(sample.path) in chosen_on for sample in samples)


def leak_error(run: RunFolder, leaked: int, advice: str) -> Exception:
    from cdtr.errors import DataError

    source = (run.calibration() or {}).get("source", "images")
    return DataError(
        f"the threshold of {run.path} was chosen on {source}, and {leaked} of these images are among them: {advice}"
    )
