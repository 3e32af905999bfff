"""`cdtr ablate`"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from cdtr.cli._cells import Cell
    from cdtr.config import Ablation, Config


def command(
    grid: Annotated[
        Path, typer.Argument(help="A YAML file with data, rows of settings, and seeds; see docs/training.md.")
    ],
    out: Annotated[Path, typer.Option("--out", help="The folder of runs and tables to write.")],
    data: Annotated[
        Path | None, typer.Option("--data", help="The data set, where the grid does not name it or it lies elsewhere.")
    ] = None,
    jobs: Annotated[
        int | None, typer.Option("--jobs", min=1, help="Trainings at a time; by default one a GPU, else one a core.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be run.")] = False,
) -> None:
    """Train every row of a grid with every seed, measure, and write one table with mean, spread and paired differences.

    What is done already is kept, so that a stopped grid goes on when called again. A failed run stops no other.

    Example: cdtr ablate neu.yaml --out runs/neu-grid
    """
    from rich.console import Console

    from cdtr.cli._cells import run_cells
    from cdtr.cli._shared import note, progress_bar, require_folder
    from cdtr.config import load_ablation
    from cdtr.errors import ConfigError, TrainingError
    from cdtr.reports.ablation import check_metrics, collect, summarise, to_csv, to_markdown, to_table
    from cdtr.runs import write_atomic, write_json

    plan, configs = load_ablation(grid)
    check_metrics(plan.metrics)
    require_folder(out)
    if data is None and plan.data is None:
        raise ConfigError(f"{grid} names no data: give --data")
    root = (data or grid.parent / str(plan.data)).resolve()
    check_rows(grid, configs, root, plan.split)
    settled = settle_files(plan, configs, root, out)
    clips, runs = plan_cells(plan, configs, root, out)
    if dry_run:
        for cell in [*clips, *runs]:
            print(f"{'done' if cell.done.is_file() else 'to do'}  {cell.name}")
        return
    for path, text in settled.items():
        write_atomic(path, text)
    failed: dict[str, str] = {}
    for what, cells in (("small CLIPs", clips), ("trainings", runs)):
        with progress_bar(what, len(cells)) as move:
            move(sum(cell.done.is_file() for cell in cells))

            def after(cell: Cell, reason: str | None) -> None:
                note(f"{cell.name}: {reason or 'done'}")
                move(1)

            failed |= run_cells(cells, jobs, after)
        if failed:
            break  # without its CLIP a training would go on without SBA, and stand in the table all the same
    found = collect({(row, seed): result_file(out, row, seed) for row in plan.rows for seed in plan.seeds})
    if found:
        table = summarise(found, plan.metrics, plan.base or next(iter(plan.rows)))
        Console().print(to_table(table))
        write_atomic(out / "table.md", to_markdown(table))
        write_atomic(out / "table.csv", to_csv(table))
        write_json(out / "table.json", table.to_json())
        print(f"wrote {out / 'table.md'}, table.csv, table.json; the runs are in {out / 'runs'}")
    if failed:
        first = next(iter(failed))
        raise TrainingError(
            f"{len(failed)} of {len(clips) + len(runs)} runs failed, {first} with: {failed[first]} (whole logs in "
            f"{out / 'logs'}); call again to try them again"
        )


def check_rows(grid: Path, configs: dict[str, Config], root: Path, split: str | None) -> None:
    """What every training, calibration or evaluation would refuse is an error now, not in every log."""
    from cdtr.cli._shared import HELD_OUT
    from cdtr.data.opening import open_data
    from cdtr.errors import ConfigError, DataError
    from cdtr.evaluation import find_protocol
    from cdtr.model.methods import with_switches

    for name, config in configs.items():
        try:
            with_switches(config)
            find_protocol(config.evaluation.protocol)
        except ConfigError as error:
            raise ConfigError(f"{grid}, row {name!r}: {error}") from error
    source = open_data(root, next(iter(configs.values())).data)
    if not source.annotated:
        raise DataError(f"{root} has no boxes: a grid is calibrated and scored with some, bring them")
    choices = [*(name for name, samples in source.splits.items() if samples), HELD_OUT]
    if split is not None and split not in choices:
        raise DataError(f"{grid}: {root} has no split {split!r}, choose one of {', '.join(choices)}")


def settle_files(plan: Ablation, configs: dict[str, Config], root: Path, out: Path) -> dict[Path, str]:
    """What the folder says about its runs; ConfigError where it says something else already.

    Runs that are done are not trained again, so they must not come under new settings.
    """
    import json

    from cdtr.errors import ConfigError

    about = {"data": str(root), "split": plan.split, "small_clip": plan.small_clip}
    files = {out / "grid.json": json.dumps(about, indent=2) + "\n"}
    files |= {out / "configs" / f"{name}.yaml": config.to_yaml() for name, config in configs.items()}
    for path, text in files.items():
        if path.is_file() and path.read_text(encoding="utf-8") != text:
            raise ConfigError(
                f"{path} has other settings than the grid has now: choose another --out, or remove {out} to train and "
                "measure anew"
            )
    return files


def plan_cells(plan: Ablation, configs: dict[str, Config], data: Path, out: Path) -> tuple[list[Cell], list[Cell]]:
    """The small CLIPs, which must be there first, and the trainings."""
    from cdtr.cli._cells import Cell
    from cdtr.training.clip import WEIGHTS_FILE

    like = ("--config", str(out / "configs" / f"{next(iter(configs))}.yaml"))
    clips = [
        Cell(
            name=f"CLIP, seed {seed}",
            commands=(
                ("train-clip", str(data), "--out", str(out / "clips" / str(seed)), *like, "--set", f"seed={seed}"),
            ),
            log=out / "logs" / f"clip-{seed}.log",
            done=out / "clips" / str(seed) / WEIGHTS_FILE,
        )
        for seed in (plan.seeds if plan.small_clip else ())
    ]
    runs = []
    for seed in plan.seeds:
        for row in configs:
            run, place = str(result_file(out, row, seed).parent), ("--data", str(data))
            settings = ["--config", str(out / "configs" / f"{row}.yaml"), "--set", f"seed={seed}"]
            if plan.small_clip:
                settings += ["--set", f"sba.model={(out / 'clips' / str(seed)).resolve().as_posix()}"]
            split = ("--split", plan.split) if plan.split else ()
            commands = (
                ("train", str(data), "--out", run, "--resume", *settings),
                ("calibrate", run, *place),
                ("evaluate", run, *place, *split, "--json", str(result_file(out, row, seed))),
            )
            runs.append(
                Cell(f"{row}, seed {seed}", commands, out / "logs" / f"{row}-{seed}.log", result_file(out, row, seed))
            )
    return clips, runs


def result_file(out: Path, row: str, seed: int) -> Path:
    """What `cdtr evaluate` writes about a run, in its folder."""
    return out / "runs" / f"{row}-{seed}" / "evaluation.json"
