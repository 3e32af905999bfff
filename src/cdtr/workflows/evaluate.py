"""Measure a run on the images of a split, under one or several protocols."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import TypeGuard

from accelerate.utils import gather_object

from cdtr.api import (
    as_seen,
    choose_view,
    find_device,
    load_model,
    protocol_threshold,
    require_view,
)
from cdtr.config import recipe_label
from cdtr.data.loader import eval_loader
from cdtr.data.pixels import View
from cdtr.errors import CheckpointError, DataError
from cdtr.evaluation import PROTOCOLS, Evaluation, Protocol, Tally, find_protocol, gather_tallies, tally_images
from cdtr.image_files.paths import content_hash
from cdtr.localization.presence import EmptyClasses
from cdtr.records import DataSource, Sample
from cdtr.runs import RunFolder
from cdtr.threshold import Threshold, ThresholdSource
from cdtr.workflows.fair_scores import fair_empty, fair_quality
from cdtr.workflows.opening import (
    DataLike,
    RunLike,
    choose_split,
    group_by_view,
    name_of,
    pass_of,
    process_state,
    report_reading,
    resolve_data,
    resolve_run,
)
from cdtr.workflows.reporting import SILENT, Reporter, warn_of_left_out
from cdtr.workflows.scores import Scores

ALL_PROTOCOLS = "all"
_LEAK_ADVICE = "evaluate another split, give `threshold=`, or mark the result as an oracle's with `allow_leak=True`"
_FACTS = ("recipe", "view", "n_images", "n_annotated", "threshold", "threshold_source")
_STORED = (*_FACTS, "metrics", "intervals", "baselines")  # without curves and classes


def evaluate(
    run: RunLike,
    data: DataLike,
    *,
    split: str | None = None,
    boxes: str | None = None,
    protocol: str | Sequence[str] | None = None,
    threshold: Threshold | float | None = None,
    view: str | None = None,
    allow_leak: bool = False,
    device: str | None = None,
    store: bool = True,
    reporter: Reporter = SILENT,
) -> Scores:
    """Measure boxes and classes of a run in percent, with the trivial baselines beside them.

    Args:
        run: a run folder, its path, or a hub id.
        data: the data set, as a path or opened; without boxes, only classes are measured.
        split: the images to measure on; None takes the first of test, val and held-out.
        boxes: a file or folder of boxes, where they do not lie in the data set.
        protocol: one or several names, or ``all``; None takes the run's own.
        threshold: the map threshold, in [0, 1); None takes the one published for the run's method on this data set,
            else the calibrated, else the configured one.
        view: what the network sees of an image where the protocol does not say it, ``whole``, ``mirrored``, ``crop``
            or ``tiled``; None takes that of the calibration.
        allow_leak: measure on images that the threshold was chosen on; the result is marked as an oracle's.
        device: where to compute; None takes CUDA where there is one.
        store: keep the scores in the run folder for reports and the model card, unless threshold, view or allow_leak
            is given, or the run is a hub id.
        reporter: takes notes and progress.

    Returns:
        The scores under each protocol. Of several processes each gets the whole result.

    Raises:
        ConfigError: an unknown protocol or view, or a view that the run was not calibrated for.
        DataError: the split is missing, or the threshold was chosen on some of its images.

    Example:
        ``cdtr.evaluate("runs/neu", "NEU-DET").metrics["gt_known_loc"]``
    """
    folder = resolve_run(run)
    rules = find_protocols(protocol or folder.config().evaluation.protocol)
    source = resolve_data(folder, data, boxes, split, reporter)
    name, samples = choose_split(folder, source, split)
    found = evaluate_samples(
        folder,
        source,
        samples,
        rules,
        threshold=threshold,
        view=view,
        allow_leak=allow_leak,
        device=device,
        reporter=reporter,
    )
    scores = Scores(name_of(run), source, name, folder.class_names(), tuple(found))
    if process_state().is_main_process:
        if source is not data:
            report_reading(source, reporter)
        as_calibrated = threshold is None and view is None and not allow_leak
        if store and as_calibrated and Path(name_of(run)).is_dir():  # a run from the hub lies in a cache
            store_scores(folder, scores, reporter)
    return scores


def find_protocols(names: str | Sequence[str]) -> list[Protocol]:
    """Return the protocols of these names, ``all`` for every one; ConfigError lists the choices."""
    if isinstance(names, str):
        names = list(PROTOCOLS) if names == ALL_PROTOCOLS else [names]
    return [find_protocol(name) for name in names]


def store_scores(run: RunFolder, scores: Scores, reporter: Reporter = SILENT) -> None:
    """Write metrics, intervals and baselines to ``scores.json``; a folder that cannot be written gets a note."""
    entries = []
    for found in scores:
        tree = found.to_json()
        place = {"data": scores.source.name, "split": scores.split, "protocol": found.protocol}
        entries.append({**place, **{key: tree[key] for key in _STORED}})
    try:
        run.add_scores(entries)
    except OSError as error:
        reporter.warn(f"the scores are not kept in {run.path}: {error.strerror or error}")


def evaluate_samples(
    run: RunFolder,
    source: DataSource,
    samples: Sequence[Sample],
    protocols: Sequence[Protocol],
    *,
    threshold: Threshold | float | None = None,
    view: str | None = None,
    allow_leak: bool = False,
    device: str | None = None,
    leak_advice: str = _LEAK_ADVICE,
    reporter: Reporter = SILENT,
) -> list[Evaluation]:
    """Measure a run on some images under each protocol, with one forward pass for each view of them.

    Args:
        run: the run.
        source: the data set of the images.
        samples: the images.
        protocols: the protocols; one whose view the run's sizes do not allow is left out with a note.
        threshold: see ``evaluate``.
        view: see ``evaluate``.
        allow_leak: see ``evaluate``.
        device: see ``evaluate``.
        leak_advice: what to do where the threshold was chosen on some of the images, for the error.
        reporter: takes notes and progress.

    Returns:
        One evaluation for each protocol. Of several processes each measures its share, and all get the whole result.

    Raises:
        ConfigError: no protocol's view is possible, or the run was not calibrated for the view.
        DataError: the threshold was chosen on some of the images.
    """
    groups = group_by_view(run, protocols, view, reporter)
    if view is not None:
        require_view(run, threshold, choose_view(run, view))
    seen_by = {rules.name: seen for seen, members in groups.items() for rules in members}
    protocols = [rules for rules in protocols if rules.name in seen_by]
    thresholds = {
        rules.name: protocol_threshold(run, rules, source.name, threshold, seen_by[rules.name].name)
        for rules in protocols
    }
    leaks = cache(partial(count_leaks, run, samples))
    # Without boxes only classes are measured, which no threshold bears on.
    if source.annotated and any(map(_is_of_run, thresholds.values())) and leaks():
        if any(map(_saw_boxes, thresholds.values())) and not allow_leak:
            raise _leak_error(run, leaks(), leak_advice)
        thresholds = {name: _mark_leak(found, leaks()) for name, found in thresholds.items()}
    own = run.config().evaluation.protocol
    scored = fair_quality(run, thresholds.get(own), leaks, allow_leak)
    tallies = [
        Tally(rules, thresholds[rules.name], quality=scored.quality if rules.name == own else None)
        for rules in protocols
    ]
    rules_of = {seen.name: fair_empty(run, seen.name, leaks, allow_leak) for seen in groups}
    empty_by: dict[str, EmptyClasses | None] = {name: empty for name, (empty, _) in rules_of.items()}
    counted, n_left_out = _count_images(run, source, samples, tallies, seen_by, empty_by, device, reporter)
    left_out = (f"{n_left_out} images are left out, as they cannot be read",) if n_left_out else ()
    results, recipe = [], recipe_label(run.config())
    for tally in counted:
        found = tally.finish()
        seen = seen_by[found.protocol].name
        notes = (*found.notes, *rules_of[seen][1], *(scored.notes if found.protocol == own else ()), *left_out)
        results.append(replace(found, view=seen, recipe=recipe, notes=notes, n_left_out=n_left_out))
    return results


def _count_images(
    run: RunFolder,
    source: DataSource,
    samples: Sequence[Sample],
    tallies: Sequence[Tally],
    seen_by: Mapping[str, View],
    empty_by: Mapping[str, EmptyClasses | None],
    device: str | None,
    reporter: Reporter,
) -> tuple[Sequence[Tally], int]:
    """Count the images in the tallies, and those that cannot be read; with one forward pass for each view.

    seen_by: the view of each protocol, by name. empty_by: the classes without an object, by view. The counts of all
    processes are merged.
    """
    state = process_state()
    alone = state.num_processes == 1
    where = find_device(device) if alone or device is not None else state.device
    module = load_model(run.path, where)
    share = len(samples[state.process_index :: state.num_processes])
    broken: set[str] = set()
    on_broken = warn_of_left_out(reporter, broken)
    views = list(dict.fromkeys(seen_by.values()))
    for seen in views:
        batches = eval_loader(samples, run.config(), state.process_index, state.num_processes, on_broken, seen.name)
        members = [tally for tally in tallies if seen_by[tally.protocol.name] == seen]
        title = "evaluating images" + (pass_of(seen, [tally.protocol for tally in members]) if len(views) > 1 else "")
        with reporter.progress(title, share) as advance:
            method, empty = as_seen(module, seen), empty_by[seen.name]
            tally_images(members, method, batches, source.annotate, where, advance, empty=empty)
    if alone:
        return tallies, len(broken)
    return gather_tallies(tallies), sum(gather_object([len(broken)]))


def _saw_boxes(threshold: Threshold | None) -> bool:
    return threshold is not None and threshold.source is ThresholdSource.CALIBRATED


def _is_of_run(threshold: Threshold | None) -> TypeGuard[Threshold]:
    """Whether a threshold was chosen on images of the run, with boxes or without."""
    return threshold is not None and (_saw_boxes(threshold) or threshold.source is ThresholdSource.LABEL_FREE)


def _mark_leak(threshold: Threshold | None, leaked: int) -> Threshold | None:
    """The threshold, which says that it was chosen on images that are scored.

    One that was chosen with their boxes is marked as an oracle's; without a box it cannot flatter the scores.
    """
    if not _is_of_run(threshold):
        return threshold
    source = ThresholdSource.ORACLE if _saw_boxes(threshold) else threshold.source
    return replace(threshold, source=source, detail=f"{threshold.detail}, {leaked} of them scored here")


def count_leaks(run: RunFolder, samples: Sequence[Sample]) -> int:
    """Count the images, or byte-identical copies of them, that the run's threshold was chosen on.

    Raises:
        CheckpointError: the calibration does not say which images it was chosen on.
    """
    contents = (run.calibration() or {}).get("contents")
    if not isinstance(contents, list):
        raise CheckpointError(
            f"{run.calibration_file} does not say which images it was chosen on: run `cdtr calibrate` again"
        )
    chosen_on = set(contents)
    return sum(content_hash(sample.path) in chosen_on for sample in samples)


def _leak_error(run: RunFolder, leaked: int, advice: str) -> DataError:
    source = (run.calibration() or {}).get("source", "images")
    return DataError(
        f"the threshold of {run.path} was chosen on {source}, and {leaked} of these images are among them: {advice}"
    )
