"""Command line of `cdtr compare`."""

from pathlib import Path
from typing import Annotated

from cdtr.cli._options import BoxesOption, DeviceOption, JsonOption, RunArgument, argument, option


def command(
    run_a: RunArgument,
    run_b: Annotated[str, argument("Another, trained on the same classes.")],
    data: Annotated[Path, option("The data set; without boxes, only classes are compared.")],
    split: Annotated[
        str | None, option("By default the first of test, val, held-out; the last if both runs held out the same.")
    ] = None,
    boxes: BoxesOption = None,
    protocol: Annotated[str | None, option("By default that of the first run.")] = None,
    json_file: JsonOption = None,
    device: DeviceOption = None,
) -> None:
    """Measure two runs on the same images, with paired tests and intervals of the difference.

    Example: cdtr compare runs/tscam runs/cdtr --data NEU-DET
    """
    from cdtr.cli._output import TERMINAL, print_lines, print_table, write_results
    from cdtr.reports.tables import differences_table
    from cdtr.workflows.compare import compare

    found = compare(run_a, run_b, data, split=split, boxes=boxes, protocol=protocol, device=device, reporter=TERMINAL)
    print(f"a: {run_a}\nb: {run_b}\n{found.split} of {data}, protocol {found.protocol}, {found.n_images} images")
    print_table(differences_table(found.differences, found.recipes))
    print_lines(found.threshold_lines())
    write_results(json_file, found.to_json())
