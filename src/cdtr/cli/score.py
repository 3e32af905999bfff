"""`cdtr score`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    maps: Annotated[Path, typer.Argument(help="A folder of .npy maps, named as the images are.")],
    data: Annotated[Path, typer.Option("--data", help="The data set, with boxes or masks.")],
    split: Annotated[str | None, typer.Option("--split", help="By default the first of test, val, train.")] = None,
    protocol: Annotated[str, typer.Option("--protocol", help="wsol, tscam, sat, cdtr or all.")] = "wsol",
    threshold: Annotated[
        float | None,
        typer.Option("--threshold", help="Of the map, from 0 to 1; by default the one published for the data set."),
    ] = None,
    class_scores: Annotated[
        Path | None,
        typer.Option("--class-scores", help="CSV: image_id and one column a class; for Top-1 and Top-5."),
    ] = None,
    normalise: Annotated[
        bool, typer.Option("--normalise", help="Scale each map from its minimum and maximum to [0, 1] first.")
    ] = False,
    delta: Annotated[float, typer.Option("--delta", help="Step of the thresholds that are swept.")] = 0.001,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the numbers to this file.")] = None,
    figures: Annotated[Path | None, typer.Option("--figures", help="Write figures (PNG) to this folder.")] = None,
) -> None:
    """Score anybody's localization maps as our own are scored.

    A file MAPS/IMAGE_ID.npy holds one map (h, w), or one for each class (C, h, w), of the whole image and within
    [0, 1]. A map of the protocol's size is taken as it is, another is resized and scaled to [0, 1].

    Example: cdtr score maps/ --data CUB --class-scores logits.csv --protocol all
    """
    from cdtr.cli._shared import progress_bar
    from cdtr.cli.evaluate import ALL, report
    from cdtr.config import Config
    from cdtr.data.datasets import load_source
    from cdtr.data.images import read_size
    from cdtr.errors import DataError
    from cdtr.evaluation import PROTOCOLS, Tally, find_protocol, tally_answers
    from cdtr.evaluation.predictions import find_maps, read_answers, read_class_scores, without_classes

    rules = [find_protocol(name) for name in (PROTOCOLS if protocol == ALL else [protocol])]
    if not maps.is_dir():
        raise DataError(f"no folder {maps}: expected one .npy file for each image in it")
    source = load_source(data)
    name = split or next((name for name in ("test", "val") if source.splits.get(name)), "train")
    samples = source.splits.get(name, ())
    if not samples:
        raise DataError(f"{data} has no split {name!r}: choose one of {', '.join(source.splits)}")
    files = find_maps(maps, samples)
    scores = read_class_scores(class_scores, source.class_names) if class_scores is not None else None
    thresholds = [rule.published.get(source.name) if threshold is None else threshold for rule in rules]
    tallies = [Tally(rule, value, delta) for rule, value in zip(rules, thresholds, strict=True)]
    max_pixels = Config().data.max_pixels
    found = read_answers(
        files,
        samples,
        source.size_hw or (lambda sample: read_size(sample.path, max_pixels)),
        len(source.class_names),
        scores,
        normalise,
    )
    with progress_bar("scoring maps", len(samples)) as move:
        tally_answers(tallies, found, source.annotate, move)
    results = [
        tally.finish("given" if threshold is not None else f"published with protocol {tally.protocol.name}")
        for tally in tallies
    ]
    if scores is None:
        results = [without_classes(result) for result in results]
    print(f"{maps} on {name} of {data}")
    report(results, name, source.class_names, json_file, figures)
