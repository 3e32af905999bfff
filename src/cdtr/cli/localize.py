"""Command line of `cdtr localize`."""

from pathlib import Path
from typing import Annotated, Any

from cdtr.cli._options import DeviceOption, JsonOption, ThresholdOption, ViewOption, argument, option
from cdtr.plugins import modules_of

# Found without importing cdtr.formats, which would take seconds that --help does not have.
_FORMATS = [name.replace("_", "-") for name in modules_of("cdtr.formats", "cdtr.formats", "open_writer")]


def command(
    run: Annotated[
        str, argument("A trained run folder, a hub id, or a .onnx file of `cdtr export`; with --maps, images.")
    ],
    images: Annotated[list[str] | None, argument("Image files, folders (searched at any depth) or patterns.")] = None,
    *,
    out: Annotated[Path, option("The folder to write.")],
    formats: Annotated[
        str, option(f"Formats to write, with commas between: {', '.join(_FORMATS)}.", "--format")
    ] = "coco",
    heatmaps: Annotated[bool, option("Write a coloured heat map of each image.")] = False,
    overlays: Annotated[bool, option("Write each image with heat map and boxes.")] = False,
    multi: Annotated[bool, option("A box for every region, not only the largest.")] = False,
    min_area: Annotated[
        float, option("With --multi or --tiles, the smallest region, as a share of the image or tile.", min=0, max=1)
    ] = 0.01,
    top_k: Annotated[int, option("Look for the so many most probable classes.", min=1)] = 1,
    min_score: Annotated[
        float, option("Leave out boxes that are less likely to be right than this.", min=0, max=1)
    ] = 0.0,
    threshold: ThresholdOption = None,
    overwrite: Annotated[bool, option("Write over what an earlier run wrote to --out.")] = False,
    val_share: Annotated[
        float | None,
        option("Of the format yolo, the share to measure on, 0.2; 0: on images trained on.", min=0, max=0.9),
    ] = None,
    flat: Annotated[bool, option("Of the format yolo, no folders below a split.")] = False,
    copies: Annotated[bool, option("Of the format yolo, copies of the images, no links.", "--copy")] = False,
    tiles: Annotated[str | None, option("Cut large images into tiles: auto, or a side in pixels.")] = None,
    maps: Annotated[
        Path | None, option("Boxes of anybody's maps, a folder of .npy or PNG files named as the images, no run.")
    ] = None,
    class_scores: Annotated[
        Path | None, option("With --maps, a CSV with image_id and a column a class; else by folder.")
    ] = None,
    boxes: Annotated[str | None, option("With --maps, boxes of some of the images, to choose the threshold.")] = None,
    batch_size: Annotated[int, option("Images a batch.", min=1)] = 8,
    workers: Annotated[int | None, option("Batches at a time on a CPU; by default one a core, up to 8.", min=1)] = None,
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
    from cdtr.cli._output import TERMINAL, print_lines, write_results
    from cdtr.errors import ConfigError
    from cdtr.localization.options import LocalizeOptions
    from cdtr.workflows.localize import localize
    from cdtr.workflows.maps import localize_maps

    if maps is None and (class_scores is not None or boxes is not None):
        raise ConfigError("--class-scores and --boxes belong to maps of your own: give --maps, or leave them out")
    if maps is not None and (view is not None or device is not None):
        raise ConfigError("--view and --device are of a network, and --maps takes the maps as they are")
    options = LocalizeOptions(
        threshold=threshold, top_k=top_k, multi=multi, min_area_share=min_area, min_score=min_score, tiles=tiles
    )
    output: dict[str, Any] = {
        "out": out,
        "formats": formats,
        "heatmaps": heatmaps,
        "overlays": overlays,
        "overwrite": overwrite,
        "val_share": val_share,
        "flat": flat,
        "copies": copies,
        "batch_size": batch_size,
        "options": options,
        "reporter": TERMINAL,
    }
    if maps is None:
        found = localize(run, images or [], device=device, view=view, workers=workers, **output)
    else:
        found = localize_maps(maps, [run, *(images or [])], class_scores=class_scores, boxes=boxes, **output)
    print_lines(found.lines())
    write_results(json_file, {"run": run if maps is None else None, "maps": maps and str(maps), **found.to_json()})
