"""What happens before the first step and after the last: the split, the CLIP-fit probe, the run folder's files."""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from safetensors.torch import save
from torch import nn

from cdtr.config import Config, parse_config
from cdtr.data.images import check_images
from cdtr.data.loader import eval_loader
from cdtr.data.split import hold_out
from cdtr.errors import CheckpointError, ConfigError, DataError
from cdtr.model.clip import load_clip
from cdtr.model.methods import with_switches
from cdtr.model.sba import Sba
from cdtr.records import DataSource, Sample
from cdtr.runs import RunFolder, hash_names, write_atomic, write_json
from cdtr.training.clip_fit import ClipFit, probe_clip
from cdtr.training.log import Say

LIBRARIES = ("cdtr", "torch", "torchvision", "timm", "open_clip_torch", "accelerate", "numpy")


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a training starts from. ``config`` is resolved: every switch is on or off."""

    run: RunFolder
    config: Config
    fit: Sequence[Sample]
    held_out: Sequence[Sample]
    sba: Sba | None
    manifest: Mapping[str, Any]


def prepare_run(
    accelerator: Accelerator, config: Config, source: DataSource, run: RunFolder, resume: bool, say: Say
) -> Prepared:
    """Check the run folder, leave out broken images, split, probe CLIP; ``start_run`` then writes what was found."""
    config = with_switches(config)
    _check_folder(run, resume)
    samples, broken = check_images(source.splits["train"], config.data.max_pixels)
    for sample, reason in broken:
        say(f"left out {sample.image_id}: {reason}")
    if not samples:
        raise DataError(f"none of the {len(broken)} training images of {source.root} can be read")
    fit, held_out = hold_out(samples, config.data.holdout, config.seed)
    say(
        f"{source.name}: {len(fit)} training images of {len(source.class_names)} classes, {len(held_out)} held out"
        + (f", {len(broken)} broken left out" if broken else "")
    )
    requested = config
    resumed = resume and run.config_file.is_file()
    if resumed:
        _check_same(run, requested, source, {"fit": fit, "held_out": held_out})
        config = run.config()
        if run.weights.is_file():
            return Prepared(run, config, fit, held_out, None, run.manifest())
    config, sba, clip_fit = _prepare_sba(accelerator, config, source, fit, say)
    manifest = run.manifest() if resumed else _manifest(requested, source, fit, held_out, clip_fit, broken)
    return Prepared(run, config, fit, held_out, sba, manifest)


def start_run(accelerator: Accelerator, prepared: Prepared, class_names: Sequence[str]) -> None:
    """Write what is known before the first step; a resumed run has it already.

    Called once the method is built, so that weights that cannot be had leave no folder behind.
    """
    run = prepared.run
    # Every process has looked for a stored configuration before the main one writes it.
    accelerator.wait_for_everyone()
    if accelerator.is_main_process and not run.config_file.is_file():
        write_atomic(run.classes_file, "".join(f"{name}\n" for name in class_names))
        write_json(run.manifest_file, prepared.manifest)
        write_atomic(run.config_file, prepared.config.to_yaml())
    accelerator.wait_for_everyone()


def finish_run(run: RunFolder, method: nn.Module, broken: Mapping[str, str]) -> None:
    """Write the weights, which makes the run a trained one, and what broke on the way."""
    if broken:
        manifest = run.manifest()
        write_json(run.manifest_file, {**manifest, "broken_images": {**manifest["broken_images"], **broken}})
    write_atomic(run.weights, save({name: tensor.contiguous() for name, tensor in method.state_dict().items()}))


def _check_folder(run: RunFolder, resume: bool) -> None:
    if run.path.is_dir() and any(run.path.iterdir()):
        if not resume:
            raise ConfigError(f"{run.path} is not empty: choose another --out, or go on with --resume")
        own = {run.manifest_file.name, run.classes_file.name}  # a run killed before its first step
        others = [e.name for e in run.path.iterdir() if e.name not in own and not e.name.endswith(".tmp")]
        if not run.config_file.is_file() and others:
            raise ConfigError(f"{run.path} is not empty and holds no run to resume: choose another --out")
    elif run.path.exists() and not run.path.is_dir():
        raise ConfigError(f"{run.path} is a file: choose a folder as --out")


def _check_same(run: RunFolder, requested: Config, source: DataSource, splits: Mapping[str, Sequence[Sample]]) -> None:
    """Raise ConfigError when a resumed run was started with other settings, classes or images."""
    manifest = run.manifest()
    before = parse_config(str(manifest["requested_config"]), str(run.manifest_file)).model_dump(mode="json")
    now = requested.model_dump(mode="json")
    changed = _first_difference(before, now)
    if changed is not None:
        key, old, new = changed
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


def _first_difference(before: Any, now: Any, path: str = "") -> tuple[str, Any, Any] | None:
    if isinstance(before, dict) and isinstance(now, dict):
        for key in now:
            found = _first_difference(before.get(key), now[key], f"{path}.{key}".lstrip("."))
            if found is not None:
                return found
        return None
    return None if before == now else (path, before, now)


def _prepare_sba(
    accelerator: Accelerator, config: Config, source: DataSource, fit: Sequence[Sample], say: Say
) -> tuple[Config, Sba | None, ClipFit | None]:
    """Load CLIP, probe how well it fits the data, and settle ``sba.enabled: auto``."""
    settings = config.sba
    if not settings.enabled:
        return config, None, None
    if settings.enabled == "auto" and accelerator.device.type == "cpu" and not Path(settings.model).is_dir():
        say(
            f"SBA is off: CLIP {settings.model} would take most of the time on a CPU. `cdtr train-clip` makes a small "
            "one, --set sba.model=FOLDER takes it; --set sba.enabled=true takes the large one all the same"
        )
        return config.updated(sba={"enabled": False}), None, None
    try:
        clip = load_clip(settings.model, settings.pretrained)
    except CheckpointError as error:
        if settings.enabled is True:
            raise
        say(f"SBA is off: {error}")
        return config.updated(sba={"enabled": False}), None, None
    clip = clip.to(accelerator.device)
    text = clip.text_features(source.class_names, settings.templates)
    loader = eval_loader(spread(fit, settings.probe_images), config)
    clip_fit = probe_clip(clip, text, loader, config.data)
    keep = settings.enabled is True or clip_fit.fit >= settings.min_fit
    verdict = "on" if keep else f"off, because the fit is under sba.min_fit {settings.min_fit:g}"
    say(f"{clip_fit.line()}: SBA is {verdict}")
    config = config.updated(sba={"enabled": keep})
    sba = Sba(clip, text, config.sba, config.data).to(accelerator.device) if keep else None
    return config, sba, clip_fit


def spread(samples: Sequence[Sample], count: int) -> Sequence[Sample]:
    """At most ``count`` samples at even distances, so that every class has its share."""
    if len(samples) <= count:
        return samples
    return [samples[index * len(samples) // count] for index in range(count)]


def _manifest(
    requested: Config,
    source: DataSource,
    fit: Sequence[Sample],
    held_out: Sequence[Sample],
    clip_fit: ClipFit | None,
    broken: Sequence[tuple[Sample, str]],
) -> dict[str, Any]:
    return {
        "versions": {"python": platform.python_version()}
        | {name: importlib.metadata.version(name) for name in LIBRARIES},
        "git_revision": _git_revision(),
        "seed": requested.seed,
        "data": {"format": source.name, "classes": len(source.class_names)},
        "splits": {"fit": _describe(fit), "held_out": _describe(held_out)},
        "clip_fit": None if clip_fit is None else asdict(clip_fit),
        "requested_config": requested.to_yaml(),
        "broken_images": {sample.image_id: reason for sample, reason in broken},
    }


def _describe(samples: Sequence[Sample]) -> dict[str, Any]:
    return {"images": len(samples), "sha256": hash_names(sample.image_id for sample in samples)}


def _git_revision() -> str | None:
    """The revision of the checkout that this code runs from; None for an installed package."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
