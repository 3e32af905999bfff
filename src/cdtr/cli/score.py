"""`cdtr score`"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cdtr.cli._options import FiguresOption, JsonOption

if TYPE_CHECKING:
    from cdtr.evaluation import Evaluation, Protocol
    from cdtr.records import DataSource, Sample


def command(
    predictions: Annotated[
        Path,
        typer.Argument(help="A folder of .npy maps, named as the images are, or a COCO file of boxes."),
    ],
    data: Annotated[Path, typer.Option("--data", help="The data set, with boxes or masks.")],
    split: Annotated[str | None, typer.Option("--split", help="By default the first of test, val, train.")] = None,
    protocol: Annotated[str, typer.Option("--protocol", help="wsol, tscam, sat, cdtr or all.")] = "wsol",
    threshold: Annotated[
        float | None,
        typer.Option(
            "--threshold", help="Of the map, from 0 to 1; without it Top-1 and GT-known Loc are not measured."
        ),
    ] = None,
    class_scores: Annotated[
        Path | None,
        typer.Option("--class-scores", help="CSV: image_id and one column a class; for Top-1 and Top-5."),
    ] = None,
    normalise: Annotated[
        bool, typer.Option("--normalise", help="Scale each map from its minimum and maximum to [0, 1] first.")
    ] = False,
    delta: Annotated[float, typer.Option("--delta", help="Step of the thresholds that are swept.")] = 0.001,
    coco_images: Annotated[
        Path | None,
        typer.Option("--coco-images", help="COCO file with the images and categories that a results file numbers."),
    ] = None,
    json_file: JsonOption = None,
    figures: FiguresOption = None,
) -> None:
    """Score anybody's localization maps or boxes as our own are scored.

    A file MAPS/IMAGE_ID.npy holds one map (h, w), or one for each class (C, h, w), of the whole image and within
    [0, 1]. A map of the protocol's size is taken as it is, another is resized and scaled to [0, 1].
    Of a COCO file's boxes the best-scored one of each class counts.

    Example: cdtr score maps/ --data CUB --class-scores logits.csv --protocol all
    """
    from cdtr.cli._shared import require_outputs, tell_reading
    from cdtr.cli.evaluate import ALL, report
    from cdtr.config import Config
    from cdtr.data.datasets import load_source
    from cdtr.data.images import read_size
    from cdtr.data.opening import Forgiving
    from cdtr.errors import ConfigError, DataError
    from cdtr.evaluation import PROTOCOLS, find_protocol

    require_outputs(json_file, figures)
    rules = [find_protocol(name) for name in (PROTOCOLS if protocol == ALL else [protocol])]
    source = load_source(data)
    source = replace(source, annotate=Forgiving(source.annotate, source.accounts))
    name = split or next((name for name in ("test", "val") if source.splits.get(name)), "train")
    samples = source.splits.get(name, ())
    if not samples:
        raise DataError(f"{data} has no split {name!r}: choose one of {', '.join(source.splits)}")
    max_pixels = Config().data.max_pixels
    size_hw = source.size_hw or (lambda sample: read_size(sample.path, max_pixels))
    if predictions.is_dir():
        if coco_images is not None:
            raise ConfigError("--coco-images is for a COCO file of boxes, and a folder of maps was given")
        results = score_maps(predictions, source, samples, size_hw, rules, threshold, class_scores, normalise, delta)
    elif predictions.suffix.lower() == ".json" and predictions.is_file():
        if threshold is not None or class_scores is not None or normalise:
            raise ConfigError("--threshold, --class-scores and --normalise are for maps, and a file of boxes was given")
        results = score_boxes(predictions, coco_images, source, samples, size_hw, rules)
    else:
        raise DataError(f"no folder and no .json file {predictions}: expected one .npy an image, or COCO boxes")
    tell_reading(source)
    print(f"{predictions} on {name} of {data}")
    report(results, name, source.class_names, json_file, figures)


def score_maps(
    folder: Path,
    source: DataSource,
    samples: Sequence[Sample],
    size_hw: Callable[[Sample], tuple[int, int]],
    protocols: Sequence[Protocol],
    threshold: float | None,
    class_scores: Path | None,
    normalise: bool,
    delta: float,
) -> list[Evaluation]:
    """Score a folder of maps under each protocol; without a threshold only the best ones are known, as it is not known
    which method made the maps."""
    from cdtr.cli._shared import progress_bar
    from cdtr.evaluation import Tally, tally_answers
    from cdtr.evaluation.predictions import find_maps, read_answers, read_class_scores, without_classes

    files = find_maps(folder, samples)
    scores = read_class_scores(class_scores, source.class_names) if class_scores is not None else None
    tallies = [Tally(rule, threshold, delta) for rule in protocols]
    found = read_answers(files, samples, size_hw, len(source.class_names), scores, normalise)
    with progress_bar("scoring maps", len(samples)) as move:
        tally_answers(tallies, found, source.annotate, move)
    results = [tally.finish("given") for tally in tallies]
    for index, tally in enumerate(tallies):
        published = tally.protocol.published.get(source.name)
        if threshold is None and published is not None and published.classes == len(source.class_names):
            advice = f"if these are maps of {published.method}, the published threshold is {published.threshold}"
            results[index] = replace(results[index], notes=(*results[index].notes, advice))
    return results if scores is not None else [without_classes(result) for result in results]


def score_boxes(
    path: Path,
    images_file: Path | None,
    source: DataSource,
    samples: Sequence[Sample],
    size_hw: Callable[[Sample], tuple[int, int]],
    protocols: Sequence[Protocol],
) -> list[Evaluation]:
    """Score a COCO file of boxes under each protocol."""
    from cdtr.cli._shared import progress_bar
    from cdtr.evaluation import Tally
    from cdtr.evaluation.coco_results import read_coco_boxes
    from cdtr.evaluation.measure import measure_boxes

    boxes = read_coco_boxes(path, samples, source.class_names, images_file)
    tallies = [Tally(rule, None) for rule in protocols]
    with progress_bar("scoring boxes", len(samples)) as move:
        for sample in samples:
            annotation = source.annotate(sample)
            given = boxes.get(sample.image_id, [])
            for tally in tallies:
                tally.add(measure_boxes(sample, size_hw(sample), given, annotation, tally.protocol))
            move(1)
    without = sum(sample.image_id not in boxes for sample in samples)
    notes = ["boxes were given, not maps: MaxBoxAcc and PxAP need maps"]
    if without:
        notes.append(f"{without} of {len(samples)} images have no box: they miss")
    return [replace(found, notes=(*found.notes, *notes)) for found in (tally.finish() for tally in tallies)]
