"""Command line of `cdtr score`."""

from pathlib import Path
from typing import Annotated

from cdtr.cli._options import FiguresOption, JsonOption, argument, option


def command(
    predictions: Annotated[
        Path, argument("A folder of .npy or PNG maps, named as the images are, or a COCO file of boxes.")
    ],
    data: Annotated[Path, option("The data set, with boxes or masks.")],
    split: Annotated[str | None, option("By default the first of test, val, train.")] = None,
    protocol: Annotated[str, option("wsol, tscam, sat, cdtr or all.")] = "wsol",
    threshold: Annotated[
        float | None, option("Of the map, from 0 to 1; without it Top-1 and GT-known Loc are not measured.")
    ] = None,
    class_scores: Annotated[Path | None, option("CSV: image_id and one column a class; for Top-1 and Top-5.")] = None,
    normalise: Annotated[bool, option("Scale each map from its minimum and maximum to [0, 1] first.")] = False,
    delta: Annotated[float, option("Step of the thresholds that are swept.")] = 0.001,
    coco_images: Annotated[
        Path | None, option("COCO file with the images and categories that a results file numbers.")
    ] = None,
    json_file: JsonOption = None,
    figures: FiguresOption = None,
) -> None:
    """Score anybody's localization maps or boxes as our own are scored.

    A file MAPS/IMAGE_ID.npy holds one map (h, w), or one for each class (C, h, w), of the whole image and within
    [0, 1]; a PNG holds one map of grey values. A map of the protocol's size is taken as it is, another is resized and
    scaled to [0, 1]. Of a COCO file's boxes the best-scored one of each class counts, and all of them in the average
    precision, which needs pycocotools.

    Example: cdtr score maps/ --data CUB --class-scores logits.csv --protocol all
    """
    from cdtr.cli._output import TERMINAL, print_scores
    from cdtr.workflows.score import score

    scores = score(
        predictions,
        data,
        split=split,
        protocol=protocol,
        threshold=threshold,
        class_scores=class_scores,
        normalise=normalise,
        delta=delta,
        coco_images=coco_images,
        reporter=TERMINAL,
    )
    print(f"{predictions} on {scores.split} of {data}")
    print_scores(scores, json_file, figures)
