"""The optimiser's parameter groups and the learning rate of every step."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import nn

from cdtr.config import Config, TrainConfig
from cdtr.model.weighting import AutomaticWeightedLoss


def build_optimiser(method: nn.Module, config: Config) -> torch.optim.Optimizer:
    """AdamW or SGD without weight decay on norms, biases, tokens and position embeddings; on lambdas only if asked.

    Parts that a method names in ``lr_factors`` have groups of their own, with their factor of the learning rate as
    ``lr_factor``; so has, with ``train.head_lr``, all that is outside ``backbone``.
    """
    train = config.train
    factors: Mapping[str, float] = getattr(method, "lr_factors", {})
    groups: dict[float, tuple[list[nn.Parameter], list[nn.Parameter]]] = {1.0: ([], [])}
    weightings = [module for module in method.modules() if isinstance(module, AutomaticWeightedLoss)]
    lambdas = {parameter for weighting in weightings for parameter in weighting.parameters()}
    for name, parameter in method.named_parameters():
        if not parameter.requires_grad:
            continue
        token = name.endswith(("_token", "_embed", "reg_token"))
        exempt = not config.weighting.decay if parameter in lambdas else parameter.ndim < 2 or token
        part = name.partition(".")[0]
        factor = factors.get(part, 1.0) * (1.0 if part == "backbone" else train.head_lr)
        groups.setdefault(factor, ([], []))[exempt].append(parameter)
    listed = [
        {"params": parameters, "weight_decay": decay, "lr_factor": factor}
        for factor, both in groups.items()
        for parameters, decay in zip(both, (train.weight_decay, 0.0), strict=True)
    ]
    if train.optimiser == "sgd":
        return torch.optim.SGD(listed, lr=train.lr, momentum=train.betas[0], nesterov=train.betas[0] > 0)
    return torch.optim.AdamW(listed, lr=train.lr, betas=train.betas, eps=train.eps)


def set_learning_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of a step, times each group's factor."""
    for group in optimiser.param_groups:
        group["lr"] = rate * group.get("lr_factor", 1.0)


def learning_rate(step: int, steps_per_epoch: int, config: TrainConfig) -> float:
    """The learning rate of an optimiser step.

    ``cosine`` and ``constant`` change it every step: linear warm-up from ``warmup_lr``, which takes half of the run at
    most so that short trials reach the rate they name, then a half cosine down to ``min_lr``, or to the peak itself
    where that is lower, or no change. ``step`` multiplies it by ``decay`` at each of the shares ``decay_at`` of the
    run. ``cosine_by_epoch`` is the released code's, see ``_rate_of_epoch``.

    Args:
        step: Number of the step in the whole run, from 0.
        steps_per_epoch: At least 1.
        config: ``lr_rule`` ``per_512`` scales ``lr`` by ``batch_size`` / 512 to get the peak.
    """
    peak = config.lr * (config.batch_size / 512 if config.lr_rule == "per_512" else 1.0)
    if config.schedule == "cosine_by_epoch":
        return _rate_of_epoch(step // steps_per_epoch, peak, config)
    total = config.epochs * steps_per_epoch
    warmup = min(config.warmup_epochs * steps_per_epoch, total / 2)
    if step < warmup:
        return config.warmup_lr + (peak - config.warmup_lr) * step / warmup
    if config.schedule == "constant":
        return peak
    if config.schedule == "step":
        return float(peak * config.decay ** sum(step >= share * total for share in config.decay_at))
    done = (step - warmup) / max(total - warmup, 1)
    return _half_cosine(done, peak, min(config.min_lr, peak))


def _rate_of_epoch(epoch: int, peak: float, config: TrainConfig) -> float:
    """One rate an epoch, as timm 0.4.12's scheduler gives it where DeiT's training calls it after each epoch.

    That call is one epoch late: the first two epochs have ``warmup_lr``. The cosine spans all epochs and is not shifted
    by the warm-up, so the peak is never reached where there is one.
    """
    turn = max(epoch - 1, 0)
    if turn < config.warmup_epochs:
        return config.warmup_lr + turn * (peak - config.warmup_lr) / config.warmup_epochs
    return _half_cosine(turn / config.epochs, peak, config.min_lr)


def _half_cosine(done: float, highest: float, lowest: float) -> float:
    """From ``highest`` at 0 to ``lowest`` at 1."""
    return lowest + (highest - lowest) * 0.5 * (1 + math.cos(math.pi * done))
