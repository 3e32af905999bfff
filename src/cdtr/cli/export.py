"""Command line of `cdtr export`."""

from pathlib import Path
from typing import Annotated

from cdtr.cli._options import JsonOption, RunArgument, SplitOption, ThresholdOption, ViewOption, option


def command(
    run: RunArgument,
    onnx: Annotated[Path, option("The ONNX file to write, NAME.onnx.")],
    int8: Annotated[bool, option("Write NAME.int8.onnx too, and measure what it gains and costs.")] = False,
    data: Annotated[Path | None, option("The data set to check and measure on; else drawn images.")] = None,
    split: SplitOption = None,
    images: Annotated[int, option("At most so many images of --data.", min=1)] = 200,
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
    from cdtr.cli._output import TERMINAL, localize_step, next_steps, print_lines, write_results
    from cdtr.workflows.export import export

    done = export(
        run, onnx, int8=int8, data=data, split=split, images=images, threshold=threshold, view=view, reporter=TERMINAL
    )
    print_lines(done.lines())
    write_results(json_file, {"run": run, **done.to_json()})
    next_steps(localize_step(onnx))
