"""Which trainings a table of the paper needs, and where each lies. Tables that need the same training share it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from cdtr.cli._cells import Cell
from cdtr.cli._grid import RESULT_FILE, calibrate_options, check_starts, clip_cell, training_cell
from cdtr.config import Config, PaperRow, Reproduction, clip_settings, load_config
from cdtr.errors import ConfigError, DataError
from cdtr.json_tree import parse_json
from cdtr.model.methods import SWITCHES, build_method, builder_name, check_bundle, method_names, with_switches
from cdtr.records import DataSource
from cdtr.workflows.opening import check_evaluation

# What a run may go on with as it is asked for now, and comes out the same.
_WITHOUT_EFFECT: dict[str, Any] = {"seed": True, "recipe": True, "data": {"workers"}, "evaluation": {"batch_size"}}
Place = tuple[str, str]  # the data set's name in the paper, the row's name


@dataclass(frozen=True, slots=True)
class Scale:
    """What the user chose: data sets by the paper's names, the preset of each, and settings over both."""

    sources: Mapping[str, DataSource]
    presets: Mapping[str, str]
    overrides: Sequence[str] = ()
    small_clip: bool = False
    only: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class PaperRun:
    """A row on a data set, to be trained with every seed. key: names the settings; rows of equal settings share it.

    wanted: the modules that the row is about, whether or not the preset or the machine lets them be.
    """

    data: str
    row: str
    config: Config
    key: str
    wanted: tuple[str, ...]

    @property
    def uses_sba(self) -> bool:
        return with_switches(self.config).sba.enabled is not False


@dataclass(frozen=True, slots=True)
class PaperPlan:
    """runs: what can be trained. costed: what can be measured without training. reasons: why a row is neither."""

    runs: Mapping[Place, PaperRun]
    costed: Mapping[Place, PaperRun]
    reasons: Mapping[Place, str]


def plan_paper(found: Reproduction, scale: Scale) -> PaperPlan:
    """Sort the table's rows; ConfigError for a preset or setting that is wrong for all of them."""
    runs, costed, reasons = {}, {}, {}
    unknown = [name for name in scale.only if name not in found.table.rows]
    if unknown:
        raise ConfigError(f"{found.name} has no row {unknown[0]!r}: choose from {', '.join(found.table.rows)}")
    for data in found.data:
        base = load_config(scale.presets[data], scale.overrides)
        check_evaluation(base)
        classes = class_count(found, scale, data)
        for name, row in found.table.rows_on(data).items():
            run, reason = _settle(base, data, name, row, scale.small_clip, classes)
            if run is not None:
                costed[data, name] = run
                if scale.only and name not in scale.only:
                    reason = "left out"
                elif data not in scale.sources:
                    reason = f"no data: give --data {data}=DIR"
                else:
                    runs[data, name] = run
            if reason:
                reasons[data, name] = reason
    return PaperPlan(runs, costed, reasons)


def _settle(
    base: Config, data: str, name: str, row: PaperRow, small_clip: bool, classes: int
) -> tuple[PaperRun | None, str]:
    """The row's training, or why there is none."""
    if row.settings is None:
        return None, row.why
    config = base.updated(**row.settings)
    if config.method not in method_names():
        return None, row.why
    try:
        check_bundle(config)
    except ConfigError as error:
        return None, str(error)
    config, wanted = _with_modules_of_row(base, config, row.settings)
    try:
        with torch.device("meta"):
            build_method(config, classes, load_weights=False)
    except ConfigError as error:
        return None, f"not at this scale: {error}"
    return PaperRun(data, name, config, _key(config, small_clip), wanted), ""


def _with_modules_of_row(base: Config, config: Config, settings: Mapping[str, Any]) -> tuple[Config, tuple[str, ...]]:
    """The row says which modules there are; the preset may switch one off or insist on it, but adds none."""
    of_row = with_switches(Config().updated(**settings))
    switches = {}
    for name in SWITCHES:
        row, preset = getattr(of_row, name).enabled, getattr(base, name).enabled
        switches[name] = {"enabled": row if not row or preset is None else preset}
    return config.updated(**switches), tuple(name for name in SWITCHES if getattr(of_row, name).enabled)


def _key(config: Config, small_clip: bool) -> str:
    """The modules that are on, and a digest of every setting that matters to the run, its seed aside."""
    tree = with_switches(config).model_dump(mode="json", exclude=_WITHOUT_EFFECT)
    tree["method"] = builder_name(config.method)
    switched_on = [name for name in SWITCHES if tree[name]["enabled"]]
    for name in set(SWITCHES) - set(switched_on):
        tree[name] = None
    tree["small_clip"] = small_clip and "sba" in switched_on
    digest = hashlib.sha256(json.dumps(tree, sort_keys=True).encode("utf-8")).hexdigest()
    return "-".join([*(switched_on or ["plain"]), digest[:10]])


def run_folder(out: Path, run: PaperRun, seed: int) -> Path:
    return out / "runs" / run.data / f"{run.key}-{seed}"


def result_file(out: Path, run: PaperRun, seed: int) -> Path:
    """What `cdtr evaluate` writes about a run, in its folder."""
    return run_folder(out, run, seed) / RESULT_FILE


def config_file(out: Path, run: PaperRun) -> Path:
    return out / "configs" / run.data / f"{run.key}.yaml"


def plan_cells(
    plan: PaperPlan, scale: Scale, calibration: Mapping[str, str | None], seeds: Sequence[int], out: Path
) -> tuple[list[Cell], list[Cell]]:
    """The small CLIPs and the trainings, each once however many rows share it.

    calibration: by data set, the images to choose thresholds on, as ``choose_calibration`` returns them.
    """
    clips: dict[Path, Cell] = {}
    runs: dict[Path, Cell] = {}
    for seed in seeds:
        for run in plan.runs.values():
            source, log = scale.sources[run.data], out / "logs" / f"{run.data}-{run.key}-{seed}.log"
            place = partial(
                training_cell, f"{run.data}, {run.key}, seed {seed}", source.root, config_file(out, run), seed
            )
            clip = None
            if scale.small_clip and run.uses_sba:
                clip = _clip_folder(out, run, seed)
                log_of_clip = out / "logs" / f"{run.data}-{clip.name}.log"
                name = f"CLIP for {run.data}, seed {seed}"
                clips.setdefault(clip, clip_cell(name, source.root, config_file(out, run), seed, clip, log_of_clip))
            folder = run_folder(out, run, seed)
            calibrate = calibrate_options(calibration[run.data])
            runs.setdefault(folder, place(folder, log, clip, calibrate, ("--protocol", "all")))
    return list(clips.values()), list(runs.values())


def _clip_folder(out: Path, run: PaperRun, seed: int) -> Path:
    """A CLIP serves all rows that train on the same images and ask with the same words."""
    text = json.dumps(clip_settings(run.config), sort_keys=True)
    return out / "clips" / run.data / f"clip-{hashlib.sha256(text.encode('utf-8')).hexdigest()[:10]}-{seed}"


def settle_paper(plan: PaperPlan, scale: Scale, seeds: Sequence[int], out: Path) -> dict[Path, str]:
    """The files to write before the first run; ConfigError where the folder holds runs of other data or other starts.

    A configuration is named by what it says, but for what a run may go on with anew.
    """
    place = out / "data.json"
    known: dict[str, str] = {}
    if place.is_file():
        try:
            known = dict(parse_json(place.read_text(encoding="utf-8")))
        except ValueError as error:
            raise DataError(f"{place} cannot be read ({error}): remove it, or choose another --out") from error
    for name, source in scale.sources.items():
        if known.setdefault(name, str(source.root)) != str(source.root):
            raise ConfigError(
                f"{out} holds runs on {known[name]} as {name}, not on {source.root}: choose another --out"
            )
    files = {place: json.dumps(known, indent=2) + "\n"}
    for run in plan.runs.values():
        files.setdefault(config_file(out, run), run.config.to_yaml())
    check_starts((run_folder(out, run, seed), run.config) for run in plan.runs.values() for seed in seeds)
    return files


def by_reason(plan: PaperPlan) -> Iterator[tuple[str, str]]:
    """Each reason with the rows that are not trained for it."""
    reasons = dict.fromkeys((data, reason) for (data, _), reason in plan.reasons.items())
    for data, reason in reasons:
        rows = [row for (where, row), text in plan.reasons.items() if (where, text) == (data, reason)]
        yield reason, f"{', '.join(rows)} on {data}"


def class_count(found: Reproduction, scale: Scale, data: str) -> int:
    """Of the data at hand, else the published number."""
    source = scale.sources.get(data)
    return len(source.class_names) if source else found.data[data].classes
