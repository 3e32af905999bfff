"""Command line of `cdtr import-corrections`."""

from pathlib import Path
from typing import Annotated

from cdtr.cli._options import JsonOption, argument, option


def command(
    file: Annotated[
        Path,
        argument(
            "Reviewed boxes: Label Studio (JSON, JSON-MIN), COCO, CVAT for images (XML), a folder of YOLO or VOC."
        ),
    ],
    boxes: Annotated[Path, option("Ours that were reviewed: the --out of `cdtr localize`, or a file in it.")],
    run: Annotated[Path | None, option("The run, for its classes; by default those that the boxes name.")] = None,
    out: Annotated[Path | None, option("Write the reviewed boxes to this COCO file, to calibrate with.")] = None,
    split: Annotated[str | None, option("The split of the data set that the images are of, for the next step.")] = None,
    json_file: JsonOption = None,
) -> None:
    """Tell what reviewers did to the boxes: how many they kept, moved, relabelled, deleted and added, by class.

    A box is kept if its class is the same and its IoU with ours is at least 0.99 or no corner is further away than half
    a pixel. An image without a box in the file was looked at and found to have none; one that is not in the file, or is
    unfinished or skipped in Label Studio, was not reviewed. Archives are unpacked first.

    Example: cdtr import-corrections export.json --boxes boxes/ --run runs/neu --out reviewed.json
    """
    from cdtr.cli._output import TERMINAL, next_steps, print_lines, print_table, write_results
    from cdtr.workflows.import_corrections import check_coco_name, import_corrections, review_table

    if out is not None:
        check_coco_name(out)
    found = import_corrections(file, boxes, run=run, reporter=TERMINAL)
    print_lines(found.lines())
    print_table(review_table(found.review))
    write_results(json_file, found.to_json())
    if out is not None:
        found.write(out)
        print(f"wrote {out}: {len(found.reviewed)} images")
        data, told = found.find_origin()
        named = split or told
        if named is None:
            TERMINAL.note("SPLIT below is the split of DATA with these images; held-out if they are training images")
        next_steps(("calibrate", run or "RUN", "--data", data, "--split", named or "SPLIT", "--boxes", out))
