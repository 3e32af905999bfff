"""The cost of a training, from one timed step on this machine."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F

from cdtr.config import Config
from cdtr.model.clip import FrozenClip, freeze, load_clip
from cdtr.model.clip_folder import build_network
from cdtr.model.cost import multiply_adds
from cdtr.model.methods import build_method, with_switches
from cdtr.model.sba import Sba
from cdtr.records import Batch, Method
from cdtr.training.clip import SmallClip, open_clip_config

IMAGES = 4


@dataclass(frozen=True, slots=True)
class StepCost:
    """Cost of one image in a training step, forward and backward.

    Attributes:
        multiply_adds: MACs.
        seconds: time on this machine.
    """

    multiply_adds: float
    seconds: float


def step_cost(config: Config, classes: int, small_clip: bool, device: torch.device) -> StepCost:
    """Build the method with random weights and time its second step on random images.

    SBA is included where the configuration has it on or leaves it open, with a CLIP of random weights. Reading and
    cropping images, the optimiser and the validation after each epoch are not included.

    Args:
        config: the settings.
        classes: the number of classes.
        small_clip: whether SBA uses a small CLIP (``SmallClip``) rather than the one that ``sba.model`` names.
        device: where to compute.
    """
    config = with_switches(config)
    clip = _random_clip(config, small_clip).to(device) if config.sba.enabled else None
    sba = None
    if clip is not None:
        text = clip.text_features(["a"], config.sba.templates)
        sba = Sba(
            clip, F.normalize(torch.randn(classes, text.shape[-1], device=device), dim=-1), config.sba, config.data
        )
    method = build_method(config, classes, sba, load_weights=False).to(device).train()
    labels = torch.randint(classes, (IMAGES,), device=device)
    images = torch.randn(IMAGES, 3, *config.data.input_size, device=device)
    batch = Batch(images, labels, (), (), prior=images.mean(dim=1))
    step = partial(_step, method, batch, config.train.precision)
    counted = multiply_adds(step) / IMAGES  # also the step that warms up
    start = time.perf_counter()
    step()
    return StepCost(counted, (time.perf_counter() - start) / IMAGES)


def _step(method: Method, batch: Batch, precision: str) -> None:
    kind = torch.float16 if precision == "fp16" else torch.bfloat16
    with torch.autocast(batch.images.device.type, kind, enabled=precision != "no"):
        terms = method.losses(method(batch.images), batch)
    loss, _ = method.weigh(terms)
    loss.backward()  # type: ignore[no-untyped-call]
    float(loss.detach())  # waits for the device


def _random_clip(config: Config, small: bool) -> FrozenClip:
    if small:
        return freeze(*build_network(open_clip_config(SmallClip())))
    logging.disable(logging.WARNING)  # open_clip warns of the random weights that are asked for
    try:
        return load_clip(config.sba.model, "none")
    finally:
        logging.disable(logging.NOTSET)
