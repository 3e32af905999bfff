"""Before the first step and after the last: the split, the settings, and the files of the run folder."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from safetensors.torch import save
from torch import Tensor, nn

from cdtr.config import Config, parse_config, recipe_label
from cdtr.data.balance import settle_balance
from cdtr.data.batches import WarnOnce
from cdtr.data.datasets import check_class_names
from cdtr.data.empty_classes import empty_labels
from cdtr.data.split import hold_out, training_samples
from cdtr.errors import CheckpointError, ConfigError, DataError
from cdtr.files import is_stray
from cdtr.image_files.reading import check_images, typical_size
from cdtr.model.hub_weights import hub_lines
from cdtr.model.methods import with_switches
from cdtr.model.sba import Sba
from cdtr.records import DataSource, Sample
from cdtr.runs import LOCK_FILE, TARGETS, RunFolder, hash_names, library_versions, write_atomic, write_json
from cdtr.training.clip_fit import ClipFit
from cdtr.training.log import Say
from cdtr.training.prior_maps import check_prior_maps
from cdtr.training.sba_choice import agree_on_sba, load_sba
from cdtr.training.start import Start, find_start
from cdtr.training.state import saved_state

# Settings that a resumed run may change, beside all of ``evaluation``.
MAY_CHANGE = (
    "recipe",
    *("train.lr", "train.min_lr", "train.warmup_lr", "train.clip_norm"),
    *("data.workers", "data.boxes", "data.unboxed_classes"),
    *("data.prior_maps", "data.prior_maps_taught_with"),  # a moved folder, as the maps themselves are compared
    "refine.first",  # a moved folder, whose weights `refine` compares
)


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a training starts from.

    Attributes:
        run: the run folder.
        config: the settings, resolved: every switch is on or off.
        fit: the images to train on.
        held_out: the images held out of training.
        sba: SBA with its CLIP, where it takes part.
        manifest: what is written about the run.
        start: the weights file that the transformer of a new run starts from.
        on_broken: takes images that cannot be decoded, of every loader of the training.
        empty: the labels of the classes without an object.
    """

    run: RunFolder
    config: Config
    fit: Sequence[Sample]
    held_out: Sequence[Sample]
    sba: Sba | None
    manifest: Mapping[str, Any]
    start: Start | None = None
    on_broken: WarnOnce = field(default_factory=WarnOnce)
    empty: tuple[int, ...] = ()

    def has_object(self, classes: int, device: torch.device) -> Tensor | None:
        """Return for each of the classes (C,) whether it has an object; None where all have one."""
        if not self.empty:
            return None
        return ~torch.isin(torch.arange(classes), torch.tensor(self.empty)).to(device)


def prepare_run(
    accelerator: Accelerator, config: Config, source: DataSource, run: RunFolder, resume: bool, say: Say
) -> Prepared:
    """Check the run folder, leave out broken images, split, and probe CLIP; ``start_run`` writes the result.

    Raises:
        ConfigError: the run folder is in the way, or was started with other settings.
        DataError: no training image can be read, or the run was started with other images.
    """
    config = with_switches(config)
    check_class_names(source)
    empty = empty_labels(config.data.empty_classes, source.class_names, str(source.root))
    check_run_folder(run, resume)
    samples, broken = check_images(training_samples(source), config.data.max_pixels)
    for sample, reason in broken:
        say(f"left out {sample.image_id}: {reason}")
    if not samples:
        raise DataError(f"none of the {len(broken)} training images of {source.root} can be read")
    fit, held_out = hold_out(samples, config.data.holdout, config.seed)
    say(
        f"{source.name}: {len(fit)} training images of {len(source.class_names)} classes, {len(held_out)} held out"
        + (f", {len(broken)} broken left out" if broken else "")
    )
    if resume and run.config_file.is_file():
        _check_same(run, config, source, {"fit": fit, "held_out": held_out})
        if run.weights.is_file():
            return Prepared(run, run.config(), fit, held_out, None, run.manifest())
        maps = check_prior_maps(accelerator, config, fit, say)
        _check_same_maps(run, maps)
        config, manifest = _with_new_values(run, config)
        sba = load_sba(accelerator, config, source.class_names) if config.sba.enabled else None
        return Prepared(run, config, fit, held_out, sba, {**manifest, "prior_maps": maps}, empty=empty)
    maps = check_prior_maps(accelerator, config, fit, say)
    balanced = settle_balance(config, fit, source.class_names, say)
    settled, sba, clip_fit = agree_on_sba(accelerator, balanced, source, fit, held_out, say)
    start = find_start(config)
    for line in hub_lines(settled):
        say(line)
    manifest = {
        **_manifest(config, source, fit, held_out, clip_fit, broken, start),
        "recipe": recipe_label(balanced),
        "prior_maps": maps,
    }
    return Prepared(run, settled, fit, held_out, sba, manifest, start, empty=empty)


def start_run(accelerator: Accelerator, prepared: Prepared, class_names: Sequence[str]) -> None:
    """Write classes, manifest and settings; a resumed run has them already, but for changed settings.

    Called once method, loaders and optimiser are built, so that weights that cannot be had and settings that do not
    work leave no folder behind.
    """
    run = prepared.run
    # Every process has looked for a stored configuration before the main one writes it.
    accelerator.wait_for_everyone()
    if accelerator.is_main_process and (not run.config_file.is_file() or run.config() != prepared.config):
        write_atomic(run.classes_file, "".join(f"{name}\n" for name in class_names))
        write_json(run.manifest_file, prepared.manifest)
        write_atomic(run.config_file, prepared.config.to_yaml())
    accelerator.wait_for_everyone()


def finish_run(run: RunFolder, method: nn.Module, broken: Mapping[str, str]) -> None:
    """Write the weights, which marks the run as trained, and the images that broke during training."""
    if broken:
        manifest = run.manifest()
        known = manifest.get("broken_images") or {}
        write_json(run.manifest_file, {**manifest, "broken_images": {**known, **broken}})
    write_atomic(run.weights, save({name: tensor.contiguous() for name, tensor in method.state_dict().items()}))


def check_run_folder(run: RunFolder, resume: bool) -> None:
    """Raise ConfigError where something is in the way of a run, for a command to call before it reads any data.

    Args:
        run: the folder to write.
        resume: whether a run in it goes on.
    """
    if run.path.exists() and not run.path.is_dir():
        raise ConfigError(f"{run.path} is a file: choose a folder as `out=`")
    found = {entry.name for entry in run.path.iterdir()} - {LOCK_FILE, TARGETS} if run.path.is_dir() else set()
    if found and not resume:
        raise ConfigError(f"{run.path} is not empty: choose another `out=`, or go on with `resume=True`")
    own = {run.manifest_file.name, run.classes_file.name}  # a run killed before its first step
    others = [name for name in found - own if not is_stray(name)]
    if others and not run.config_file.is_file():
        raise ConfigError(f"{run.path} is not empty and holds no run to resume: choose another `out=`")


def _check_same(run: RunFolder, requested: Config, source: DataSource, splits: Mapping[str, Sequence[Sample]]) -> None:
    """Raise ConfigError when a resumed run was started with other settings, classes or images."""
    manifest = run.manifest("requested_config", *(f"splits.{name}" for name in splits))
    before = parse_config(manifest["requested_config"], str(run.manifest_file))
    for key, (old, new) in _differences(before, requested).items():
        if not _may_change(key):
            raise ConfigError(
                f"{run.path} was started with {key} = {old!r}, now it is {new!r}: resume with the same settings"
            )
    if run.class_names() != source.class_names:
        raise CheckpointError(f"{run.path} was started with other classes than {source.root} has: resume with its data")
    for name, samples in splits.items():
        before_split, now_split = manifest["splits"][name], _describe(samples)
        if before_split != now_split:
            raise DataError(
                f"{run.path} was started with other images than {source.root} has ({name}: {before_split['images']} "
                f"then, {now_split['images']} now): resume with the same files"
            )


def _check_same_maps(run: RunFolder, maps: Mapping[str, Any] | None) -> None:
    before = run.manifest().get("prior_maps")
    if maps is not None and before is not None and maps["sha256"] != before["sha256"]:
        raise DataError(
            f"{run.path} was started with other prior maps than {maps['folder']} has: resume with the same files"
        )


def _may_change(key: str) -> bool:
    return key in MAY_CHANGE or key.startswith("evaluation.")


def _with_new_values(run: RunFolder, requested: Config) -> tuple[Config, dict[str, Any]]:
    """The stored configuration and manifest, with the new values of what a resumed run may change."""
    config, manifest = run.config(), run.manifest()
    found = _differences(config, requested)
    new = {key: value for key, (_, value) in found.items() if _may_change(key)}
    if not new:
        return config, manifest
    changes: dict[str, Any] = {}
    for key, value in new.items():
        section, _, name = key.rpartition(".")
        (changes.setdefault(section, {}) if section else changes)[name] = value
    config, saved = config.updated(**changes), saved_state(run)
    entry = {"step": 0 if saved is None else saved.position.step, "settings": new}
    resumptions = [*(manifest.get("resumed_with") or []), entry]
    return config, {**manifest, "recipe": recipe_label(config), "resumed_with": resumptions}


def _differences(before: Config, now: Config) -> dict[str, tuple[Any, Any]]:
    """The values that differ, (before, now) by dotted name."""
    left, right = (dict(_leaves(config.model_dump(mode="json"))) for config in (before, now))
    pairs = {key: (left.get(key), right.get(key)) for key in {**right, **left}}
    return {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}


def _leaves(tree: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{path}{key}.")
        else:
            yield f"{path}{key}", value


def _manifest(
    requested: Config,
    source: DataSource,
    fit: Sequence[Sample],
    held_out: Sequence[Sample],
    clip_fit: ClipFit | None,
    broken: Sequence[tuple[Sample, str]],
    start: Start | None,
) -> dict[str, Any]:
    return {
        "versions": library_versions(),
        "git_revision": _git_revision(),
        "seed": requested.seed,
        "data": {
            "format": source.name,
            "classes": len(source.class_names),
            "root": str(source.root.resolve()),
            "image_hw": typical_size(fit, requested.data.max_pixels),
        },
        "splits": {"fit": _describe(fit), "held_out": _describe(held_out)},
        "started_from": None if start is None else asdict(start),
        "clip_fit": None if clip_fit is None else asdict(clip_fit),
        "requested_config": requested.to_yaml(),
        "broken_images": {sample.image_id: reason for sample, reason in broken},
    }


def _describe(samples: Sequence[Sample]) -> dict[str, Any]:
    return {"images": len(samples), "sha256": hash_names(sample.image_id for sample in samples)}


def _git_revision() -> str | None:
    """The revision of the checkout that this code runs from; None for an installed package."""
    here = Path(__file__).resolve()
    git = ["git", "-C", str(here.parent)]
    try:
        # An environment inside somebody's repository is no checkout of this one.
        subprocess.run([*git, "ls-files", "--error-unmatch", here.name], capture_output=True, check=True)
        return subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
