"""`cdtr localize`"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cdtr.cli._options import DeviceOption, JsonOption, ThresholdOption, ViewOption
from cdtr.plugins import modules_of

if TYPE_CHECKING:
    from cdtr.api import Localizer
    from cdtr.formats import Exporter
    from cdtr.records import Localization

REVIEW = "review"
_VAL_SHARE = 0.2

# Without an import of the package, which would take seconds that --help does not have.
_FORMATS = sorted(name.replace("_", "-") for name in modules_of("cdtr.formats", "cdtr.formats", "open_writer"))


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
        typer.Option("--maps", help="Boxes of anybody's maps, a folder of .npy files named as the images, and no run."),
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
    from cdtr.api import Localizer
    from cdtr.cli import _localizing as work
    from cdtr.cli._output import write_answer
    from cdtr.cli._pictures import find_pictures
    from cdtr.cli._shared import require_folder, require_outputs
    from cdtr.errors import ConfigError, DataError
    from cdtr.formats import LEFT_OUT, Target, find_exporter, write_left_out

    exporters = [find_exporter(name) for name in dict.fromkeys(formats.split(","))]
    require_folder(out)
    require_outputs(json_file)
    require_fitting(exporters, val_share, flat, copies)
    if maps is None and (class_scores is not None or boxes is not None):
        raise ConfigError("--class-scores and --boxes belong to maps of your own: give --maps, or leave them out")
    given = [*([] if maps is None else [run]), *(images or [])]
    if not given:
        raise ConfigError("no images: name files, folders or patterns of images after the run")
    pictures = find_pictures(given)
    if maps is not None:
        from cdtr.cli._maps import maps_localizer

        if view is not None or device is not None:
            raise ConfigError("--view and --device are of a network, and --maps takes the maps as they are")
        localizer = maps_localizer(maps, pictures, class_scores, boxes, threshold)
    else:
        at_a_time = workers or work.default_workers(len(pictures), batch_size)
        localizer = Localizer.from_pretrained(run, device, threshold, workers=at_a_time, view=view)
    exporters += scores_exporters(localizer, exporters, min_score, run if maps is None else str(maps))
    if localizer.quality is not None and threshold is not None:
        work.warn_of_misfit(localizer)
    folders = [out / name for name, asked in (("heatmaps", heatmaps), ("overlays", overlays)) if asked]
    if not overwrite:
        work.require_absent([*(out / exporter.file_name for exporter in exporters), out / LEFT_OUT, *folders])
    left_out: list[tuple[str, str]] = []
    with ExitStack() as writers:
        root, source = work.pictures_root(pictures), f"cdtr/{Path(run).name}" if maps is None else f"maps/{maps.name}"
        share = _VAL_SHARE if val_share is None else val_share
        targets = [
            Target(out / exporter.file_name, localizer.class_names, root, source, share or None, flat, copies)
            for exporter in exporters
        ]
        paths = [target.path for target in targets]
        adders = [
            writers.enter_context(exporter.open(target)) for exporter, target in zip(exporters, targets, strict=True)
        ]
        adders.insert(0, noting(out, [path.name for path in (*paths, *folders)]))
        masks = any(exporter.needs_masks for exporter in exporters)
        shape = multi, top_k, batch_size, min_area, min_score, masks
        found = work.localize_pictures(localizer, pictures, out, heatmaps, overlays, *shape, adders, left_out)
        if not found:
            raise DataError(f"none of the {len(left_out)} images could be read: nothing was written")
        if left_out:
            write_left_out(out / LEFT_OUT, left_out)
        else:
            (out / LEFT_OUT).unlink(missing_ok=True)  # of an earlier run
    answer = say_what_was_found(found, paths, folders, left_out, out / LEFT_OUT, localizer.threshold)
    write_answer(json_file, {"run": run if maps is None else None, "maps": maps and str(maps), **answer})


def noting(out: Path, names: Sequence[str]) -> Callable[[Localization], None]:
    """Takes answers and notes on the first which results ``out`` will hold: a killed command leaves some."""
    from cdtr.data.written import mark_written

    noted: list[bool] = []

    def add(_answer: Localization) -> None:
        if not noted:
            noted.append(True)
            out.mkdir(parents=True, exist_ok=True)
            mark_written(out, names)

    return add


def say_what_was_found(
    found: Sequence[Localization],
    paths: Sequence[Path],
    folders: Sequence[Path],
    left_out: Sequence[tuple[str, str]],
    left_out_file: Path,
    threshold: float,
) -> dict[str, Any]:
    """Name the files and count the boxes on the terminal; answers the same for programs."""
    for path in paths:
        print(f"wrote {path}")
    for folder in folders:
        print(f"wrote {folder}: {len(found)} pictures")
    if left_out:
        print(f"wrote {left_out_file}: {len(left_out)} images that could not be read")
    boxes = sum(len(one.boxes_xyxy) for one in found)
    without = sum(not len(one.boxes_xyxy) for one in found)
    print(
        f"{boxes} boxes in {len(found)} images at threshold {threshold:.3g}"
        + (f", {without} without a box" if without else "")
        + (f", {len(left_out)} could not be read" if left_out else "")
    )
    return {
        "threshold": threshold,
        "boxes": boxes,
        "images": len(found),
        "without_box": without,
        "left_out": dict(left_out),
        "files": [str(path) for path in (*paths, *folders)],
    }


def require_fitting(exporters: Sequence[Exporter], val_share: float | None, flat: bool, copies: bool) -> None:
    """ConfigError for options of the format yolo without that format."""
    from cdtr.errors import ConfigError

    if (val_share is not None or flat or copies) and all(exporter.name != "yolo" for exporter in exporters):
        raise ConfigError(
            "--val-share, --flat and --copy are of the format yolo: add it to --format, or leave them out"
        )


def scores_exporters(localizer: Localizer, asked: Sequence[Exporter], min_score: float, origin: str) -> list[Exporter]:
    """The review list, where boxes have scores and it was not asked for; ConfigError for what needs scores without."""
    from cdtr.deployment.session import is_exported
    from cdtr.errors import ConfigError
    from cdtr.formats import find_exporter

    has_review = any(exporter.name == REVIEW for exporter in asked)
    if localizer.quality is not None:
        return [] if has_review else [find_exporter(REVIEW)]
    if min_score > 0 or has_review:
        if localizer.run is None and not is_exported(origin):
            raise ConfigError(f"maps of {origin} have no scores of boxes: leave --min-score and the format review out")
        again = " and export the run again" if is_exported(origin) else ""
        raise ConfigError(f"{origin} has no scores of boxes: run `cdtr calibrate` on data with boxes{again}")
    return []
