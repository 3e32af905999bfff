"""Add the runs of a `cdtr ablate` grid, or single runs, to a file of results/, one line a run.

    python benchmarks/collect_results.py OUT --csv results/neu-det.csv --data NEU-DET \\
        --command "cdtr ablate benchmarks/grids/neu-det.yaml --data NEU-DET --out OUT"
    python benchmarks/collect_results.py runs/one --row cdtr --csv results/neu-det.csv --command "cdtr train ..."
    python benchmarks/make_tables.py                                     # then the tables of the docs

A run has what `cdtr evaluate --json RUN/evaluation.json` wrote, as every run of a grid has. Its line replaces an older
one of the same table, row and seed; all others stay. A run with ``prior.json`` (benchmarks/prior_alone.py) gives a
second line, row ``prior``. What a run does not say stays empty, but for the machine: it is this one unless --machine
names another.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from cdtr.errors import CdtrError, DataError
from harness import machine_facts
from results_csv import (
    AVERAGE_PRECISION,
    BASELINES,
    IOU30,
    MEASURED,
    OF_BASELINES,
    ORACLE,
    Line,
    baseline_column,
    line_key,
    merged,
    read_lines,
    write_lines,
)

RESULT, PRIOR = "evaluation.json", "prior.json"
PRIOR_ROW = "prior"
Tree = Mapping[str, Any]
_RUN_NAME = re.compile(r"(?P<row>.+)-(?P<seed>\d+)")
MACHINE_PATH = re.compile(r"(?:^|[\s,=\"'])(?:/|~/|[A-Za-z]:\\)")


def find_runs(path: Path, row: str | None, rows: Sequence[str]) -> list[tuple[str, Path]]:
    """The row and the folder of each measured run at a path: the ``--out`` of a grid, or one run of ``row``.

    Args:
        path: a folder.
        row: the name of a single run's row; None for a grid.
        rows: of a grid, those to take; all where it is empty.

    Raises:
        DataError: nothing is there, or the path does not fit the arguments.
    """
    if not (path / "grid.json").is_file():
        if row is None:
            raise DataError(f"{path} has no grid.json, so it is no grid's --out: name the row of a single run, --row")
        if not (path / RESULT).is_file():
            raise DataError(f"{path} has no {RESULT}: write it with `cdtr evaluate RUN --data DATA --json FILE`")
        return [(row, path)]
    if row is not None:
        raise DataError(f"{path} is a grid, whose runs have the names of their rows: choose some with --rows")
    known = {config.stem for config in (path / "configs").glob("*.yaml")}
    unknown = [name for name in rows if name not in known]
    if unknown:
        raise DataError(f"{path} has no row {unknown[0]!r}: choose from {', '.join(sorted(known))}")
    found = []
    for folder in sorted((path / "runs").iterdir() if (path / "runs").is_dir() else ()):
        named = _RUN_NAME.fullmatch(folder.name)
        if named is None or named["row"] not in (rows or known):
            continue
        if (folder / RESULT).is_file():
            found.append((named["row"], folder))
        else:
            print(f"{folder} has no {RESULT} yet: left out", file=sys.stderr)
    if not found:
        raise DataError(f"{path} has no measured run of these rows: let `cdtr ablate` finish one")
    return found


def lines_of_run(row: str, folder: Path, given: Mapping[str, str], machine: str | None = None) -> Iterator[Line]:
    """The lines of a run folder: its own, and that of its prior by itself where that was measured.

    Args:
        row: its name in the table.
        folder: the run, with ``evaluation.json``.
        given: columns that the run cannot know, such as ``table`` and ``command``.
        machine: what it ran on, where its manifest does not say; None for this machine.
    """
    config, manifest = _read_yaml(folder / "config.yaml"), _read_json(folder / "manifest.json", missing={})
    for name, file in ((row, folder / RESULT), (PRIOR_ROW, folder / PRIOR)):
        if file.is_file():
            yield {**given, "row": name, **_facts(file, config, manifest, given, machine), **_scores(file)}


def _facts(file: Path, config: Tree, manifest: Tree, given: Mapping[str, str], machine: str | None) -> Line:
    evaluation = _evaluation(file)
    view = evaluation.get("view") or (config.get("evaluation") or {}).get("view")
    return {
        "seed": _text(config.get("seed", manifest.get("seed", 0))),
        "data": given.get("data") or _text((manifest.get("data") or {}).get("format")),
        "split": _text(evaluation.get("split")),
        "revision": _text(manifest.get("git_revision"))[:7],
        "machine": _machine(manifest, machine),
        "recipe": _text(evaluation.get("recipe") or _recipe(config)),
        "method": _text(evaluation.get("method") or config.get("method")),
        "view": _text(view),
        "protocol": _text(evaluation["protocol"]),
        "threshold": "" if evaluation["threshold"] is None else f"{evaluation['threshold']:.10g}",
        "threshold_source": _text(evaluation["threshold_source"]),
        "n_images": _text(evaluation["n_images"]),
        "n_annotated": _text(evaluation.get("n_annotated")),
    }


def _scores(file: Path) -> Line:
    evaluation = _evaluation(file)
    scores = dict.fromkeys(AVERAGE_PRECISION, "")  # these come from `cdtr score`
    scores |= {metric: _percent(evaluation["metrics"].get(metric)) for metric in MEASURED}
    scores[IOU30] = _percent(at_threshold(evaluation, 30))
    scores[ORACLE] = _percent((evaluation.get("oracle") or {}).get("gt_known_loc"))
    for name in BASELINES:
        of = evaluation["baselines"].get(name) or {}
        scores |= {baseline_column(name, metric): _percent(of.get(metric)) for metric in OF_BASELINES}
    return scores


def at_threshold(evaluation: Tree, iou: int) -> float | None:
    """Hits in percent of the largest contour at the threshold in use, from the curves.

    Args:
        evaluation: what `cdtr evaluate --json` wrote.
        iou: the level in percent.

    Returns:
        None where there are no curves, no such level, or a threshold that is not among those that were swept.
    """
    curves, threshold = evaluation.get("curves") or {}, evaluation["threshold"]
    rates = curves.get("largest_contour", {}).get(str(iou))
    if rates is None or threshold is None:
        return None
    swept = zip(curves["thresholds"], rates, strict=True)
    return next((float(rate) for at, rate in swept if abs(at - threshold) < 1e-6), None)


def _recipe(config: Tree) -> str:
    """Of a configuration: its own word, else what its switches say."""
    if config.get("recipe"):
        return str(config["recipe"])
    if config.get("fidelity") == "official":
        return "official"
    return "small" if (config.get("guide") or {}).get("enabled") else "paper"


def _machine(manifest: Tree, named: str | None) -> str:
    """In a few words; torch is the run's own."""
    facts = machine_facts()
    where = manifest.get("machine") or named or f"{facts['cores']} cores of {facts['cpu']}"
    torch = (manifest.get("versions") or {}).get("torch")
    return f"{where}, torch {torch}" if torch else str(where)


def _evaluation(file: Path) -> dict[str, Any]:
    found = _read_json(file)
    if "protocols" in found:
        raise DataError(f"{file} holds several protocols: a line is for one, measure again without --protocol all")
    missing = {"protocol", "threshold", "threshold_source", "n_images", "metrics", "baselines"} - set(found)
    if missing:
        raise DataError(f"{file} has no {sorted(missing)[0]}: expected what `cdtr evaluate --json` writes")
    return found


def _read_json(file: Path, missing: dict[str, Any] | None = None) -> dict[str, Any]:
    if missing is not None and not file.is_file():
        return missing
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise DataError(f"{file} cannot be read ({error}): write it again") from error


def _read_yaml(file: Path) -> dict[str, Any]:
    """Without the checks of this version, so that runs of others can be read."""
    try:
        return dict(yaml.safe_load(file.read_text(encoding="utf-8")) or {})
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise DataError(f"{file} cannot be read ({error}): expected a run's settings") from error


def _text(value: Any) -> str:
    return "" if value is None else " ".join(str(value).split())


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def collect(
    paths: Sequence[Path],
    given: Mapping[str, str],
    row: str | None = None,
    rows: Sequence[str] = (),
    machine: str | None = None,
) -> list[Line]:
    """The lines of all runs at the paths; DataError where two of them would be the same line of a table."""
    origins: dict[tuple[str, str, int], Path] = {}
    lines = []
    for name, folder in [found for path in paths for found in find_runs(path, row, rows)]:
        for line in lines_of_run(name, folder, given, machine):
            other = origins.setdefault(line_key(line), folder)
            if other != folder:
                raise DataError(
                    f"{other} and {folder} both give row {line['row']}, seed {line['seed']}: choose one with --rows, "
                    f"or remove the {PRIOR} of one"
                )
            lines.append(line)
    return lines


def main() -> int:
    """Collect what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", type=Path, nargs="+", help="--out of `cdtr ablate`, or run folders with --row")
    parser.add_argument("--csv", type=Path, required=True, help="the file to add to, such as results/neu-det.csv")
    parser.add_argument("--table", help="the table's name (default: that of the file)")
    parser.add_argument("--data", default="", help="the data set's name (default: its format)")
    parser.add_argument("--rows", default="", help="rows of a grid, by commas (default: all)")
    parser.add_argument("--row", help="the row of single runs")
    parser.add_argument("--command", default="", help="what trains and measures them, with placeholders for paths")
    parser.add_argument("--machine", help="what they ran on (default: this machine)")
    options = parser.parse_args()
    try:
        for option in (options.command, options.data, options.machine or ""):
            if MACHINE_PATH.search(option):
                raise DataError(f"{option!r} has a path of this machine: write DATA, OUT or a path from the project on")
        given = {"table": options.table or options.csv.stem, "command": options.command, "data": options.data}
        chosen = [name.strip() for name in options.rows.split(",") if name.strip()]
        lines = collect(options.paths, given, options.row, chosen, options.machine)
        old = read_lines(options.csv) if options.csv.is_file() else []
        write_lines(options.csv, merged(old, lines))
    except CdtrError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"wrote {len(lines)} lines of table {given['table']} to {options.csv}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
