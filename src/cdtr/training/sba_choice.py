"""Whether SBA takes part in a training, and with which CLIP: the probe, the decision, and its broadcast."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, gather_object

from cdtr.config import Config, Prior, SbaConfig
from cdtr.data.loader import eval_loader
from cdtr.errors import CdtrError, CheckpointError
from cdtr.model.clip import is_named_model, load_clip
from cdtr.model.sba import Sba
from cdtr.records import DataSource, Sample
from cdtr.training.clip_fit import ClipFit, probe_clip
from cdtr.training.log import Say


def agree_on_sba(
    accelerator: Accelerator,
    config: Config,
    source: DataSource,
    fit: Sequence[Sample],
    held_out: Sequence[Sample],
    say: Say,
) -> tuple[Config, Sba | None, ClipFit | None]:
    """Decide ``sba.enabled`` in the main process and broadcast it: all processes must train the same loss terms.

    Held-out images are probed where there are any: a CLIP of `cdtr train-clip` was fitted to the others.

    Returns:
        The settings with SBA on or off, SBA where it is on, and the measurements of the probe, if it was made.
    """
    if not config.sba.enabled:
        return config, None, None
    sba: Sba | None = None
    verdict: list[Any] = [None]
    if accelerator.is_main_process:
        probed, on = (held_out, "held-out training images") if held_out else (fit, "training images")
        try:
            settled, sba, clip_fit = _settle_sba(accelerator, config, source, probed, on, say)
            verdict = [(settled.sba.enabled, clip_fit)]
        except CdtrError as error:
            verdict = [error]
    (found,) = broadcast_object_list(verdict)
    if isinstance(found, CdtrError):
        raise found
    enabled, clip_fit = found
    config = config.updated(sba={"enabled": enabled})
    if enabled:
        sba = load_sba(accelerator, config, source.class_names, sba)
    return config, sba, clip_fit


def load_sba(accelerator: Accelerator, config: Config, class_names: Sequence[str], loaded: Sba | None = None) -> Sba:
    """Load CLIP in each process that has not ``loaded`` it. If one fails, all raise, so that none waits for it."""
    sba, faults = loaded, []
    if sba is None:
        try:
            clip = load_clip(config.sba.model, config.sba.pretrained).to(accelerator.device)
            sba = Sba(clip, clip.text_features(class_names, config.sba.templates), config.sba, config.data)
            sba.to(accelerator.device)
        except CdtrError as error:
            faults = [error]
    faults = gather_object(faults)
    if faults or sba is None:
        raise faults[0]
    return sba


def _settle_sba(
    accelerator: Accelerator, config: Config, source: DataSource, probed: Sequence[Sample], on: str, say: Say
) -> tuple[Config, Sba | None, ClipFit | None]:
    """Load CLIP, probe how well it fits the data, and settle ``sba.enabled: auto``."""
    settings = config.sba
    if not settings.enabled:
        return config, None, None
    if settings.enabled == "auto" and accelerator.device.type == "cpu" and is_named_model(settings.model):
        say(
            f"SBA is off: CLIP {settings.model} would take most of the time on a CPU. `cdtr train-clip` makes a small "
            "one, which `overrides=['sba.model=FOLDER']` takes; `overrides=['sba.enabled=true']` takes the large one "
            "all the same"
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
    loader = eval_loader(fair_sample(probed, settings.probe_images, config.seed), config)
    prior = config.ocm.prior
    # The probe has neither maps nor a CNN.
    of_colours: Prior = prior if prior == "contrast" or prior == "rarity" else "border"
    clip_fit = probe_clip(clip, text, loader, config.data, settings, of_colours)
    reason = None if settings.enabled is True else _reason_against(clip_fit, settings)
    keep = reason is None
    verdict = "on" if reason is None else f"off, because {reason}"
    say(f"{clip_fit.line(on)}: SBA is {verdict}")
    config = config.updated(sba={"enabled": keep})
    sba = Sba(clip, text, config.sba, config.data).to(accelerator.device) if keep else None
    return config, sba, clip_fit


def _reason_against(found: ClipFit, settings: SbaConfig) -> str | None:
    """Why ``sba.enabled: auto`` leaves SBA out; None where it does not."""
    if found.fit < settings.min_fit:
        return f"the fit is under sba.min_fit {settings.min_fit:g}"
    if not found.prefers_object:
        return "CLIP prefers the complement of the object prior: it would pull attention off the objects"
    return None


def fair_sample(samples: Sequence[Sample], count: int, seed: int) -> Sequence[Sample]:
    """Return at most ``count`` samples at random in their order, with class counts that differ by at most one.

    A class with fewer images gives all that it has.
    """
    if len(samples) <= count:
        return samples
    order = np.random.default_rng(seed).permutation(len(samples)).tolist()
    turns: dict[int, int] = {}
    ranked: list[tuple[int, int, int]] = []
    for index in order:
        label = samples[index].label
        turns[label] = turns.get(label, 0) + 1
        ranked.append((turns[label], len(ranked), index))
    return [samples[index] for index in sorted(index for _, _, index in sorted(ranked)[:count])]
