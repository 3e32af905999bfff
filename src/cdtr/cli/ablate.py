"""`cdtr ablate`"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cdtr.cli._options import JsonOption

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
    rows: Annotated[str | None, typer.Option("--rows", help="Only these rows, by name, with commas.")] = None,
    seeds: Annotated[str | None, typer.Option("--seeds", help="Only these seeds of the grid, with commas.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be run.")] = False,
    json_file: JsonOption = None,
) -> None:
    """Train every row of a grid with every seed, measure, and write one table with mean, spread and paired differences.

    What is done already is kept, so that a stopped grid goes on when called again. A failed run stops no other.

    Example: cdtr ablate neu.yaml --out runs/neu-grid
    """
    from cdtr.cli._grid import calibration_note, fail_if_any, run_grid
    from cdtr.cli._output import write_answer
    from cdtr.cli._shared import note, require_folder, require_outputs
    from cdtr.config import load_ablation, recipe_label
    from cdtr.errors import ConfigError
    from cdtr.model.methods import with_switches
    from cdtr.reports.ablation import check_metrics, collect, summarise, to_csv, to_markdown, to_table
    from cdtr.runs import write_atomic, write_json
    from cdtr.terminal import PlainConsole

    require_outputs(json_file)
    plan, configs = load_ablation(grid)
    check_metrics(plan.metrics)
    require_folder(out)
    if data is None and plan.data is None:
        raise ConfigError(f"{grid} names no data: give --data")
    root = (data or grid.parent / str(plan.data)).resolve()
    calibration = check_rows(grid, configs, root, plan.split)
    settled = settle_files(plan, configs, root, out, calibration)
    chosen = choose_cells(plan, rows, seeds)
    clips, runs = plan_cells(chosen, {row: configs[row] for row in chosen.rows}, root, out, calibration)
    if dry_run:
        for cell in [*clips, *runs]:
            print(f"{'done' if cell.done.is_file() else 'to do'}  {cell.name}")
        write_answer(json_file, {cell.name: cell.done.is_file() for cell in [*clips, *runs]})
        return
    note(calibration_note(calibration, configs.values()))
    for path, text in settled.items():
        write_atomic(path, text)
    failed = run_grid(clips, runs, jobs)
    found = collect({(row, seed): result_file(out, row, seed) for row in plan.rows for seed in plan.seeds})
    if found:
        recipes = {row: recipe_label(with_switches(config)) for row, config in configs.items()}
        views = {row: result["view"] for (row, _), result in found.items() if "view" in result}
        if len(set(views.values())) > 1:  # rows that look at images in several ways stand in one table
            recipes = {row: f"{label}, view {views.get(row, 'whole')}" for row, label in recipes.items()}
        table = summarise(found, plan.metrics, plan.base or next(iter(plan.rows)), recipes)
        PlainConsole().print(to_table(table))
        write_atomic(out / "table.md", to_markdown(table))
        write_atomic(out / "table.csv", to_csv(table))
        write_json(out / "table.json", table.to_json())
        print(f"wrote {out / 'table.md'}, table.csv, table.json; the runs are in {out / 'runs'}")
        write_answer(json_file, table.to_json())
    fail_if_any(failed, len(clips) + len(runs), out / "logs")


def choose_cells(plan: Ablation, rows: str | None, seeds: str | None) -> Ablation:
    """The grid with the rows and seeds that were asked for, which it must have; its tables are of all that are done."""
    from cdtr.errors import ConfigError

    changes: dict[str, Any] = {}
    for option, given, known in (
        ("rows", rows, {row: row for row in plan.rows}),
        ("seeds", seeds, {str(seed): seed for seed in plan.seeds}),
    ):
        if given is None:
            continue
        names = [name.strip() for name in given.split(",") if name.strip()]
        unknown = [name for name in names if name not in known]
        if unknown or not names:
            found = f"the grid has no {unknown[0]!r}" if unknown else "nothing was named"
            raise ConfigError(f"--{option} {given!r}: {found}, choose from {', '.join(known)}")
        changes[option] = {n: plan.rows[n] for n in names} if option == "rows" else tuple(known[n] for n in names)
    return plan.model_copy(update=changes)


def check_rows(grid: Path, configs: dict[str, Config], root: Path, split: str | None) -> str | None:
    """The images to choose thresholds on, None where nothing is calibrated.

    What every training, calibration or evaluation would refuse is an error now, not in every log.
    """
    from cdtr.cli._grid import choose_calibration
    from cdtr.data.opening import open_data
    from cdtr.errors import ConfigError, DataError
    from cdtr.model.methods import with_switches
    from cdtr.workflows.opening import HELD_OUT, check_evaluation

    for name, config in configs.items():
        try:
            with_switches(config)
            check_evaluation(config)
        except ConfigError as error:
            raise ConfigError(f"{grid}, row {name!r}: {error}") from error
    source = open_data(root, next(iter(configs.values())).data)
    if not source.annotated:
        raise DataError(f"{root} has no boxes: a grid is calibrated and scored with some, bring them")
    choices = [*(name for name, samples in source.splits.items() if samples), HELD_OUT]
    if split is not None and split not in choices:
        raise DataError(f"{grid}: {root} has no split {split!r}, choose one of {', '.join(choices)}")
    return choose_calibration(source, list(configs.values()), split)


def settle_files(
    plan: Ablation, configs: dict[str, Config], root: Path, out: Path, calibration: str | None
) -> dict[Path, str]:
    """What the folder says about its runs; ConfigError where it says something else already.

    Runs that are done are not trained again, so they must not come under new settings.
    """
    import json

    from cdtr.cli._grid import check_settled, check_starts
    from cdtr.workflows.opening import HELD_OUT

    about: dict[str, Any] = {"data": str(root), "split": plan.split, "small_clip": plan.small_clip}
    if calibration != HELD_OUT:
        about["calibration"] = calibration
    files = {out / "grid.json": json.dumps(about, indent=2) + "\n"}
    files |= {out / "configs" / f"{name}.yaml": config.to_yaml() for name, config in configs.items()}
    changed = [(path, text) for path, text in files.items() if not _says_the_same(path, text)]
    check_settled(changed, f"the grid has now: choose another --out, or remove {out} to train and measure anew")
    check_starts((result_file(out, row, seed).parent, config) for row, config in configs.items() for seed in plan.seeds)
    return files


def _says_the_same(path: Path, text: str) -> bool:
    """Whether a configuration that is there reads as ``text`` does, but for the recipe's name.

    One from before has none, and lacks settings that came later.
    """
    from cdtr.config import parse_config
    from cdtr.errors import ConfigError

    if path.suffix != ".yaml" or not path.is_file():
        return False
    try:
        before = parse_config(path.read_text(encoding="utf-8"), str(path))
    except (ConfigError, UnicodeDecodeError):
        return False
    now = parse_config(text, str(path))
    return before.updated(recipe=now.recipe) == now


def plan_cells(
    plan: Ablation, configs: dict[str, Config], data: Path, out: Path, calibration: str | None
) -> tuple[list[Cell], list[Cell]]:
    """The small CLIPs, which must be there first, and the trainings."""
    from cdtr.cli._grid import calibrate_options, clip_cell, training_cell

    def clip(seed: int) -> Path:
        return out / "clips" / str(seed)

    def config(row: str) -> Path:
        return out / "configs" / f"{row}.yaml"

    logs, like = out / "logs", config(next(iter(configs)))
    clips = [
        clip_cell(f"CLIP, seed {seed}", data, like, seed, clip(seed), logs / f"clip-{seed}.log")
        for seed in (plan.seeds if plan.small_clip else ())
    ]
    runs = [
        training_cell(
            f"{row}, seed {seed}",
            data,
            config(row),
            seed,
            result_file(out, row, seed).parent,
            logs / f"{row}-{seed}.log",
            clip(seed) if plan.small_clip else None,
            calibrate_options(calibration),
            evaluate=("--split", plan.split) if plan.split else (),
        )
        for seed in plan.seeds
        for row in configs
    ]
    return clips, runs


def result_file(out: Path, row: str, seed: int) -> Path:
    """What `cdtr evaluate` writes about a run, in its folder."""
    return out / "runs" / f"{row}-{seed}" / "evaluation.json"
