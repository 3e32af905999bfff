"""`cdtr compare`"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cdtr.cli._options import DeviceOption, JsonOption

if TYPE_CHECKING:
    from cdtr.records import DataSource, Sample
    from cdtr.runs import RunFolder


def command(
    run_a: Annotated[str, typer.Argument(help="A trained run folder, or a hub id.")],
    run_b: Annotated[str, typer.Argument(help="Another, trained on the same classes.")],
    data: Annotated[Path, typer.Option("--data", help="The data set.")],
    split: Annotated[
        str | None,
        typer.Option("--split", help="By default the first of test, val; held-out if both runs held out the same."),
    ] = None,
    protocol: Annotated[str | None, typer.Option("--protocol", help="By default that of the first run.")] = None,
    json_file: JsonOption = None,
    device: DeviceOption = None,
) -> None:
    """Measure two runs on the same images, with paired tests and intervals of the difference.

    Example: cdtr compare runs/tscam runs/cdtr --data NEU-DET
    """
    from dataclasses import asdict

    from cdtr.api import find_run
    from cdtr.cli._output import write_answer
    from cdtr.cli._shared import TERMINAL, require_outputs
    from cdtr.cli.evaluate import evaluate_run
    from cdtr.config import recipe_label
    from cdtr.evaluation import find_protocol
    from cdtr.metrics.paired import compare_rows
    from cdtr.reports.tables import differences_table
    from cdtr.terminal import PlainConsole
    from cdtr.workflows.opening import open_source

    require_outputs(json_file)
    first, second = (find_run(path) for path in (run_a, run_b))
    rules = find_protocol(protocol or first.config().evaluation.protocol)
    source = open_source(first, data, split=split, reporter=TERMINAL)
    open_source(second, data, reporter=TERMINAL)
    name, samples = choose_common_split(first, second, source, split)
    results = [
        evaluate_run(folder, source, samples, [rules], device=device, leak_advice="compare on another --split")[0]
        for folder in (first, second)
    ]
    differences = compare_rows(results[0].rows, results[1].rows)
    print(f"a: {run_a}\nb: {run_b}\n{name} of {data}, protocol {rules.name}, {len(results[0].rows)} images")
    recipes = tuple(recipe_label(folder.config()) for folder in (first, second))
    PlainConsole().print(differences_table(differences, (recipes[0], recipes[1])))
    for letter, result in zip("ab", results, strict=True):
        threshold = "none" if result.threshold is None else f"{result.threshold:.3g}, {result.threshold_source}"
        print(f"threshold of {letter}: {threshold}; view {result.view}")
    if json_file is not None:
        tree = {
            "a": run_a,
            "b": run_b,
            "recipes": dict(zip("ab", recipes, strict=True)),
            "views": {letter: result.view for letter, result in zip("ab", results, strict=True)},
            "split": name,
            "protocol": rules.name,
            "differences": {difference.metric: asdict(difference) for difference in differences},
        }
        write_answer(json_file, tree)


def choose_common_split(
    first: RunFolder, second: RunFolder, source: DataSource, split: str | None
) -> tuple[str, Sequence[Sample]]:
    """The named split's images; by default those of test, else val, which no run was fitted to.

    DataError where there is neither, and for ``held-out`` unless both runs held out the same images.
    """
    from cdtr.errors import DataError
    from cdtr.workflows.opening import HELD_OUT, TEST_SPLITS, find_split, find_test_split

    name = split or find_test_split(source)
    if name is None:
        raise DataError(f"{source.root} has neither {' nor '.join(TEST_SPLITS)}: name what to compare on with --split")
    if name == HELD_OUT and _held_out_hash(first) != _held_out_hash(second):
        raise DataError(
            f"{first.path} and {second.path} did not hold out the same images, so one was fitted to some of the "
            "other's: compare on another --split"
        )
    return name, find_split(first, source, name)


def _held_out_hash(run: RunFolder) -> str | None:
    """Of the ids of the images that a run held out; None where its manifest does not say."""
    sha256: str | None = ((run.known_manifest().get("splits") or {}).get("held_out") or {}).get("sha256")
    return sha256
