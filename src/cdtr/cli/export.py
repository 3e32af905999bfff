"""Command line of `cdtr export`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cdtr.cli._options import JsonOption, SplitOption, ThresholdOption, ViewOption

if TYPE_CHECKING:
    from cdtr.workflows.export import Exported


def command(
    run: Annotated[str, typer.Argument(help="A trained run folder, or a hub id.")],
    onnx: Annotated[Path, typer.Option("--onnx", help="The ONNX file to write, NAME.onnx.")],
    int8: Annotated[
        bool, typer.Option("--int8", help="Write NAME.int8.onnx too, and measure what it gains and costs.")
    ] = False,
    data: Annotated[
        Path | None, typer.Option("--data", help="The data set to check and measure on; else drawn images.")
    ] = None,
    split: SplitOption = None,
    images: Annotated[int, typer.Option("--images", min=1, help="At most so many images of --data.")] = 200,
    threshold: ThresholdOption = None,
    view: ViewOption = None,
    json_file: JsonOption = None,
) -> None:
    """Write a run as one file that needs no PyTorch, and check that it gives the same results.

    The ONNX file holds the network without what only training needs, any number of images a batch, and in its metadata
    the sizes, means, class names, threshold and scores of boxes: `cdtr localize NAME.onnx` needs nothing else. A file
    whose logits or maps are more than 0.0001 off is not written.

    Example: cdtr export runs/neu --onnx neu.onnx --int8 --data NEU-DET
    """
    from cdtr.cli._output import write_results
    from cdtr.cli._shared import LOCALIZE_REST, TERMINAL, next_steps, require_outputs, shell
    from cdtr.workflows.export import export

    require_outputs(json_file)
    done = export(
        run,
        onnx,
        int8=int8,
        data=data,
        split=split,
        images=images,
        threshold=threshold,
        view=view,
        reporter=TERMINAL,
    )
    _report(done)
    write_results(json_file, {"run": run, **done.to_json()})
    next_steps([shell("cdtr", "localize", onnx) + LOCALIZE_REST])


def _report(done: Exported) -> None:
    """Print what was measured and written."""
    from cdtr.deployment.agreement import BATCHES

    difference, same = done.model.difference, round(done.model.agreement.same_box * done.n_images)
    print(
        f"ONNX: largest difference from the run {difference.logits:.1e} (logits), {difference.maps:.1e} (maps), in "
        f"batches of {', '.join(map(str, BATCHES))}; {same} of {done.n_images} boxes the same, on {done.measured_on}"
    )
    int8 = done.model.int8
    if int8 is not None:
        print(
            f"int8-dynamic: IoU with float32's boxes {int8.agreement.iou:.3f}, same class "
            f"{100 * int8.agreement.same_class:.1f}%; {int8.int8_ms:.1f} ms of CPU time an image, float32 "
            f"{int8.float32_ms:.1f}, {int8.speedup:.2f} times as fast"
        )
        if int8.speedup <= 1:
            print("int8 is not faster than float32 on this machine: it saves space alone")
    for path, size in done.files.items():
        print(f"wrote {path}: {size / 1e6:.1f} MB")
