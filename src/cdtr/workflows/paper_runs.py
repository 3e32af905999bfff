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

from cdtr.config import Config, PaperRow, Reproduction, clip_settings, load_config
from cdtr.config.loading import bundle_name
from cdtr.errors import ConfigError, DataError
from cdtr.json_tree import parse_json
from cdtr.model.methods import SWITCHES, build_method, builder_name, check_bundle, method_names, with_switches
from cdtr.records import DataSource
from cdtr.workflows.cells import Cell
from cdtr.workflows.grid import RESULT_FILE, calibrate_options, check_starts, clip_cell, training_cell
from cdtr.workflows.opening import check_evaluation

# Settings that may differ between two runs of one key.
_WITHOUT_EFFECT: dict[str, Any] = {"seed": True, "recipe": True, "data": {"workers"}, "evaluation": {"batch_size"}}
Place = tuple[str, str]  # the data set's name in the paper, the row's name


@dataclass(frozen=True, slots=True)
class Scale:
    """What the user chose.

    Attributes:
        sources: the data sets at hand, by the paper's names.
        presets: the preset of each data set of the table.
        overrides: settings over all presets.
        small_clip: whether a small CLIP is trained for SBA, one a seed.
        only: the rows to train; empty for all.
    """

    sources: Mapping[str, DataSource]
    presets: Mapping[str, str]
    overrides: Sequence[str] = ()
    small_clip: bool = False
    only: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class PaperRun:
    """A row of the table on a data set, to be trained with every seed.

    Attributes:
        data: the data set's name in the paper.
        row: the row's name.
        config: its settings; every switch is resolved as the method says.
        key: names the settings; rows of equal settings share it, and the run.
        wanted: the modules that the row is about, even where the preset or the machine leaves them out.
    """

    data: str
    row: str
    config: Config
    key: str
    wanted: tuple[str, ...]

    @property
    def uses_sba(self) -> bool:
        """Whether SBA takes part, or may."""
        return self.config.sba.enabled is not False


@dataclass(frozen=True, slots=True)
class PaperPlan:
    """The rows of a table, by data set and row.

    Attributes:
        runs: what can be trained.
        costed: what can be measured without training.
        reasons: why a row is not trained.
    """

    runs: Mapping[Place, PaperRun]
    costed: Mapping[Place, PaperRun]
    reasons: Mapping[Place, str]


def plan_paper(found: Reproduction, scale: Scale) -> PaperPlan:
    """Sort the rows of a table into those that can be trained and those that cannot.

    Raises:
        ConfigError: a preset or setting is wrong for all rows, or a row is unknown.
    """
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
                    reason = f"no data: give `data={data}=DIR`"
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
    if base.fidelity == "official" and bundle_name(config.method) != bundle_name(base.method):
        return None, f"the released settings of {config.method} are in presets of its own"
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
    tree = config.model_dump(mode="json", exclude=_WITHOUT_EFFECT)
    tree["method"] = builder_name(config.method)
    switched_on = [name for name in SWITCHES if tree[name]["enabled"]]
    for name in set(SWITCHES) - set(switched_on):
        tree[name] = None
    tree["small_clip"] = small_clip and "sba" in switched_on
    digest = hashlib.sha256(json.dumps(tree, sort_keys=True).encode("utf-8")).hexdigest()
    return "-".join([*(switched_on or ["plain"]), digest[:10]])


def run_folder(out: Path, run: PaperRun, seed: int) -> Path:
    """Return the folder of a run."""
    return out / "runs" / run.data / f"{run.key}-{seed}"


def result_file(out: Path, run: PaperRun, seed: int) -> Path:
    """Return the file of a run's evaluation, in its folder."""
    return run_folder(out, run, seed) / RESULT_FILE


def config_file(out: Path, run: PaperRun) -> Path:
    """Return the file of the settings of a run."""
    return out / "configs" / run.data / f"{run.key}.yaml"


def plan_cells(
    plan: PaperPlan, scale: Scale, calibration: Mapping[str, str | None], seeds: Sequence[int], out: Path
) -> tuple[list[Cell], list[Cell]]:
    """Return the small CLIPs and the trainings, each once however many rows share it.

    Args:
        plan: the rows.
        scale: what the user chose.
        calibration: by data set, the split to choose thresholds on, as ``choose_calibration`` returns it.
        seeds: of the trainings.
        out: the folder of everything.
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
    """Return the files that describe the runs. A configuration is named by the key of its settings.

    Raises:
        ConfigError: the folder holds runs of other data, or runs that started from other weights.
    """
    place = out / "data.json"
    known: dict[str, str] = {}
    if place.is_file():
        try:
            known = dict(parse_json(place.read_text(encoding="utf-8")))
        except ValueError as error:
            raise DataError(f"{place} cannot be read ({error}): remove it, or choose another `out=`") from error
    for name, source in scale.sources.items():
        if known.setdefault(name, str(source.root)) != str(source.root):
            raise ConfigError(
                f"{out} holds runs on {known[name]} as {name}, not on {source.root}: choose another `out=`"
            )
    files = {place: json.dumps(known, indent=2) + "\n"}
    for run in plan.runs.values():
        files.setdefault(config_file(out, run), run.config.to_yaml())
    check_starts((run_folder(out, run, seed), run.config) for run in plan.runs.values() for seed in seeds)
    return files


def by_reason(plan: PaperPlan) -> Iterator[tuple[str, str]]:
    """Yield each reason with the rows that are not trained for it."""
    reasons = dict.fromkeys((data, reason) for (data, _), reason in plan.reasons.items())
    for data, reason in reasons:
        rows = [row for (where, row), text in plan.reasons.items() if (where, text) == (data, reason)]
        yield reason, f"{', '.join(rows)} on {data}"


def class_count(found: Reproduction, scale: Scale, data: str) -> int:
    """Return the number of classes of the data at hand, else the published number."""
    source = scale.sources.get(data)
    return len(source.class_names) if source else found.data[data].classes
