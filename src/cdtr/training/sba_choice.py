"""Whether SBA takes part in a training, and with which CLIP: the probe, the verdict, and all processes agreeing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, gather_object

from cdtr.config import Config
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
    """The main process settles ``sba.enabled``, and the others follow: all must train the same terms.

    It probes held-out images where there are any: a CLIP that `cdtr train-clip` trained knows the others by heart.
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
    """Load CLIP in each process that has not ``loaded`` it; where one cannot, all raise, so that none waits for it."""
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
    loader = eval_loader(spread(probed, settings.probe_images), config)
    clip_fit = probe_clip(clip, text, loader, config.data)
    keep = settings.enabled is True or clip_fit.fit >= settings.min_fit
    verdict = "on" if keep else f"off, because the fit is under sba.min_fit {settings.min_fit:g}"
    say(f"{clip_fit.line(on)}: SBA is {verdict}")
    config = config.updated(sba={"enabled": keep})
    sba = Sba(clip, text, config.sba, config.data).to(accelerator.device) if keep else None
    return config, sba, clip_fit


def spread(samples: Sequence[Sample], count: int) -> Sequence[Sample]:
    """At most ``count`` samples at even distances, so that every class has its share."""
    if len(samples) <= count:
        return samples
    return [samples[index * len(samples) // count] for index in range(count)]
