"""Command line of `cdtr localize`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cdtr.cli._options import DeviceOption, JsonOption, ThresholdOption, ViewOption
from cdtr.plugins import modules_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from cdtr.workflows.box_files import Localized

# Found without importing cdtr.formats, which would take seconds that --help does not have.
_FORMATS = [name.replace("_", "-") for name in modules_of("cdtr.formats", "cdtr.formats", "open_writer")]


def command(
    run: Annotated[
        str,
        typer.Argument(
            help="A trained run folder, a hub id, or a .onnx file of `cdtr export`. With --maps, the first images."
        ),
    ],
    images: Annotated[
        list[str] | None, typer.Argument(help="Image files, folders (searched at any depth) or patterns.")
    ] = None,
    *,
    out: Annotated[Path, typer.Option("--out", help="The folder to write.")],
    formats: Annotated[
        str, typer.Option("--format", help=f"Formats to write, with commas between: {', '.join(_FORMATS)}.")
    ] = "coco",
    heatmaps: Annotated[bool, typer.Option("--heatmaps", help="Write a coloured heat map of each image.")] = False,
    overlays: Annotated[bool, typer.Option("--overlays", help="Write each image with heat map and boxes.")] = False,
    multi: Annotated[bool, typer.Option("--multi", help="A box for every region, not only the largest.")] = False,
    min_area: Annotated[
        float,
        typer.Option("--min-area", min=0, max=1, help="With --multi, the smallest region, as a share of the image."),
    ] = 0.01,
    top_k: Annotated[int, typer.Option("--top-k", min=1, help="Look for the so many most probable classes.")] = 1,
    min_score: Annotated[
        float,
        typer.Option("--min-score", min=0, max=1, help="Leave out boxes that are less likely to be right than this."),
    ] = 0.0,
    threshold: ThresholdOption = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Write over what an earlier run wrote to --out.")
    ] = False,
    val_share: Annotated[
        float | None,
        typer.Option(
            "--val-share",
            min=0,
            max=0.9,
            help="Of the format yolo, the share of images to measure on, 0.2; 0 measures on those trained on.",
        ),
    ] = None,
    flat: Annotated[bool, typer.Option("--flat", help="Of the format yolo, no folders below a split.")] = False,
    copies: Annotated[bool, typer.Option("--copy", help="Of the format yolo, copies of the images, no links.")] = False,
    maps: Annotated[
        Path | None,
        typer.Option(
            "--maps", help="Boxes of anybody's maps, a folder of .npy or PNG files named as the images, no run."
        ),
    ] = None,
    class_scores: Annotated[
        Path | None,
        typer.Option("--class-scores", help="With --maps, a CSV with image_id and a column a class; else by folder."),
    ] = None,
    boxes: Annotated[
        str | None, typer.Option("--boxes", help="With --maps, boxes of some of the images, to choose the threshold.")
    ] = None,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Images a batch.")] = 8,
    workers: Annotated[
        int | None,
        typer.Option("--workers", min=1, help="Batches at a time on a CPU; by default one a core, up to 8."),
    ] = None,
    view: ViewOption = None,
    device: DeviceOption = None,
    json_file: JsonOption = None,
) -> None:
    """Find the object in each image and write its box, and heat maps or overlays if asked.

    Where the run was calibrated with boxes, a box's score is the probability that its IoU with the object is at least
    0.5, and review.csv lists the images, those first where a look would help most. left_out.csv lists the images that
    could not be read. A .onnx file needs no PyTorch.

    Example: cdtr localize runs/neu photos/ --out boxes --format coco,yolo,label-studio --overlays --min-score 0.3
    """
    from cdtr.cli._output import write_results
    from cdtr.cli._shared import TERMINAL, require_outputs
    from cdtr.errors import ConfigError
    from cdtr.localization.options import LocalizeOptions
    from cdtr.workflows.localize import localize
    from cdtr.workflows.maps import localize_maps

    require_outputs(json_file)
    if maps is None and (class_scores is not None or boxes is not None):
        raise ConfigError("--class-scores and --boxes belong to maps of your own: give --maps, or leave them out")
    if maps is not None and (view is not None or device is not None):
        raise ConfigError("--view and --device are of a network, and --maps takes the maps as they are")
    options = LocalizeOptions(
        threshold=threshold, top_k=top_k, multi=multi, min_area_share=min_area, min_score=min_score
    )
    call: Callable[..., Localized]
    if maps is None:
        call = partial(localize, run, images or [], device=device, view=view, workers=workers)
    else:
        call = partial(localize_maps, maps, [run, *(images or [])], class_scores=class_scores, boxes=boxes)
    found = call(
        out=out,
        formats=formats,
        heatmaps=heatmaps,
        overlays=overlays,
        overwrite=overwrite,
        val_share=val_share,
        flat=flat,
        copies=copies,
        batch_size=batch_size,
        options=options,
        reporter=TERMINAL,
    )
    _report(found)
    write_results(json_file, {"run": run if maps is None else None, "maps": maps and str(maps), **found.to_json()})


def _report(found: Localized) -> None:
    """Print the files and the number of boxes."""
    for path in found.files:
        print(f"wrote {path}")
    for folder in found.folders:
        print(f"wrote {folder}: {len(found.localizations)} pictures")
    if found.left_out_file is not None:
        print(f"wrote {found.left_out_file}: {len(found.left_out)} images that could not be read")
    print(found)
