"""`cdtr calibrate`"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cdtr.cli._options import BoxesOption, DeviceOption

if TYPE_CHECKING:
    from cdtr.evaluation import Calibration
    from cdtr.localization.quality import BoxQuality
    from cdtr.records import DataSource, Sample
    from cdtr.runs import RunFolder

CHOSEN_ON = "held-out training images"
NOT_TO_CHOOSE_ON = ("test", "train")
_CHOSEN_ON = "the images to choose on"  # comes after the splits for scores in the search for copies


def command(
    run: Annotated[str, typer.Argument(help="A trained run folder, or a hub id.")],
    data: Annotated[Path, typer.Option("--data", help="The data set that the run was trained on.")],
    split: Annotated[
        str | None,
        typer.Option("--split", help="val, train-fullsup, ...; by default the training images that were held out."),
    ] = None,
    boxes: BoxesOption = None,
    label_free: Annotated[bool, typer.Option("--label-free", help="Look at no box: the maps alone choose it.")] = False,
    mirror: Annotated[
        bool,
        typer.Option("--mirror", help="Let scores of boxes see the mirrored image; localizing takes twice as long."),
    ] = False,
    device: DeviceOption = None,
) -> None:
    """Choose the map threshold on images that are not the test set, and store it in the run.

    One threshold is chosen for every protocol; the run's own is the one that `cdtr localize` uses. The boxes found
    with it get scores, fitted on the same images: the probability that their IoU is at least 0.5. Data without boxes
    takes --label-free, which gives a threshold and no scores. Of a hub id, the calibration lies in the hub's cache.

    Example: cdtr calibrate runs/neu --data NEU-DET
    """
    from cdtr.api import find_run
    from cdtr.cli._shared import find_test_split, next_steps, open_source
    from cdtr.errors import ConfigError
    from cdtr.evaluation.calibration import LABEL_FREE

    folder = find_run(run)
    if label_free and mirror:
        raise ConfigError("--mirror is for the scores of boxes, which --label-free cannot fit: give one of them")
    source = open_source(folder, data, boxes)
    found, quality = calibrate_run(folder, source, device, split, label_free, mirror)
    chosen = LABEL_FREE if found.gt_known_loc is None else f"GT-known Loc {found.gt_known_loc:.1f}%"
    print(
        f"threshold {found.threshold:.3g}: {chosen}, on {found.n_images} {chosen_on(split)} (protocol {found.protocol})"
    )
    if quality is not None:
        print(f"scores of boxes: fitted on {quality.n_images} boxes, {100 * quality.hit_rate:.1f}% of them hits")
    print(f"wrote {folder.calibration_file}")
    test = [f"cdtr evaluate {run} --data {data}"] if find_test_split(source, split) else []
    report = f"cdtr report {run} --data {data}"
    next_steps([*test, report, f"cdtr localize {run} IMAGES --out boxes --format coco,csv"])


def calibrate_run(
    run: RunFolder,
    source: DataSource,
    device: str | None = None,
    split: str | None = None,
    label_free: bool = False,
    mirror: bool = False,
) -> tuple[Calibration, BoxQuality | None]:
    """Choose the thresholds on the run's held-out images, or another split, and write ``calibration.json``.

    With boxes enough, scores of boxes are fitted on the same images. Answers the run's own protocol's calibration.
    """
    from cdtr.api import as_method, find_device, load_model
    from cdtr.cli._shared import note, progress_bar, report_broken
    from cdtr.data.files import content_hash
    from cdtr.data.loader import eval_loader
    from cdtr.errors import DataError
    from cdtr.evaluation import PROTOCOLS, calibrate, calibrate_label_free, find_protocol, fit_box_scores
    from cdtr.runs import write_json

    if not source.annotated and not label_free:
        raise DataError(
            f"{source.root} has no boxes: calibration needs some for the held-out images; without any, take "
            "--label-free, or a threshold that looks right on the overlays of `cdtr localize --threshold T --overlays`"
        )
    hash_of = cache(content_hash)
    samples, config, where = calibration_samples(run, source, split, hash_of), run.config(), find_device(device)
    batches = eval_loader(samples, config, on_broken=report_broken)
    own, method = find_protocol(config.evaluation.protocol), as_method(load_model(run.path, where))
    protocols = [own, *(protocol for protocol in PROTOCOLS.values() if protocol != own)]
    with progress_bar(f"calibrating on {chosen_on(split)}", len(samples)) as move:
        if label_free:
            found = calibrate_label_free(method, batches, protocols, where, move)
        else:
            found = calibrate(method, batches, source.annotate, protocols, where, move)
    quality = None
    if not label_free:
        shape = found[0].threshold, len(source.class_names)
        try:
            with progress_bar("fitting scores of boxes", len(samples)) as move:
                quality = fit_box_scores(method, batches, source.annotate, own, *shape, where, move, mirrored=mirror)
        except DataError as error:
            note(f"no scores of boxes: {error}")
    content = {
        "source": chosen_on(split),
        **found[0].to_json(),
        "by_protocol": {one.protocol: {"threshold": one.threshold, "gt_known_loc": one.gt_known_loc} for one in found},
        "box_scores": None if quality is None else quality.to_json(),
        "contents": sorted({hash_of(sample.path) or "unreadable" for sample in samples} - {"unreadable"}),
    }
    write_json(run.calibration_file, content)
    return found[0], quality


def calibration_samples(
    run: RunFolder, source: DataSource, split: str | None, hash_of: Callable[[Path], str | None] | None = None
) -> Sequence[Sample]:
    """The images to choose on; DataError for the test split and for what the run was fitted to.

    hash_of: hashes a file, where the caller wants the hashes as well.
    """
    from cdtr.cli._shared import find_split, held_out_samples
    from cdtr.data.files import content_hash
    from cdtr.errors import DataError

    if split in NOT_TO_CHOOSE_ON:
        reason = "a threshold chosen on it would flatter the scores" if split == "test" else "the run was fitted to it"
        raise DataError(f"--split {split}: {reason}; choose a held-out split, or leave --split out")
    samples = held_out_samples(run, source) if split is None else find_split(run, source, split)
    return without_scored(samples, source, split, hash_of or content_hash)


def without_scored(
    samples: Sequence[Sample], source: DataSource, split: str | None, hash_of: Callable[[Path], str | None]
) -> Sequence[Sample]:
    """Without the images that another split, for scores, has as well: a threshold chosen on them could not be scored.

    DataError where none is left.
    """
    from dataclasses import replace

    from cdtr.cli._shared import TEST_SPLITS, note
    from cdtr.data.duplicates import find_copies
    from cdtr.errors import DataError

    scored = {name: source.splits[name] for name in TEST_SPLITS if name in source.splits and name != split}
    copies = find_copies(replace(source, splits={**scored, _CHOSEN_ON: tuple(samples)}), hash_of)
    copies = [copy for copy in copies if copy.split == _CHOSEN_ON]
    copied = {copy.sample.path for copy in copies}
    left = [sample for sample in samples if sample.path not in copied]
    if copied:
        found = (
            f"{len(samples) - len(left)} of the {len(samples)} {chosen_on(split)} are also in {copies[0].kept_split}"
        )
        if not left:
            raise DataError(f"{found}: give another --split, or train with --deduplicate")
        note(f"{found}: the threshold is not chosen on them")
    return left


def chosen_on(split: str | None) -> str:
    return CHOSEN_ON if split is None else f"images of {split}"
