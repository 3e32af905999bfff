"""AdamW's parameter groups and the learning rate of every step."""

from __future__ import annotations

import math

import torch
from torch import nn

from cdtr.config import Config, TrainConfig


def build_optimiser(method: nn.Module, config: Config) -> torch.optim.AdamW:
    """AdamW without weight decay on norms, biases, tokens and position embeddings; on the lambdas only if asked."""
    decayed: list[nn.Parameter] = []
    plain: list[nn.Parameter] = []
    for name, parameter in method.named_parameters():
        if not parameter.requires_grad:
            continue
        lambdas = name.startswith("weighting.")
        token = name.endswith(("_token", "_embed", "reg_token"))
        exempt = not config.weighting.decay if lambdas else parameter.ndim < 2 or token
        (plain if exempt else decayed).append(parameter)
    groups = [{"params": decayed, "weight_decay": config.train.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=config.train.lr, betas=config.train.betas, eps=config.train.eps)


def learning_rate(step: int, steps_per_epoch: int, config: TrainConfig) -> float:
    """The rate of optimiser step ``step`` (from 0): linear warm-up, then a half cosine down to ``min_lr``, or to the
    rate itself where that is lower.

    The warm-up takes half of the run at most, so that short trials reach the rate they name.
    """
    peak = config.lr * (config.batch_size / 512 if config.lr_rule == "per_512" else 1.0)
    total = config.epochs * steps_per_epoch
    warmup = min(config.warmup_epochs * steps_per_epoch, total / 2)
    if step < warmup:
        return config.warmup_lr + (peak - config.warmup_lr) * step / warmup
    if config.schedule == "constant":
        return peak
    done = (step - warmup) / max(total - warmup, 1)
    lowest = min(config.min_lr, peak)
    return lowest + (peak - lowest) * 0.5 * (1 + math.cos(math.pi * done))
