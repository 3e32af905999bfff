"""Batch norm whose statistics span all processes, on any device.

torch's SyncBatchNorm runs on accelerators only; this one makes several CPU processes equal one with the same global
batch as well.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from cdtr.config import Padding


class SyncedBatchNorm2d(nn.BatchNorm2d):
    """``nn.BatchNorm2d`` over the global batch when several processes train together."""

    def forward(self, input: Tensor) -> Tensor:
        if not (self.training and dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
            return super().forward(input)
        values = input.float()
        count = torch.full((1,), values.numel() / values.shape[1], device=values.device)
        # The mean first, then the squares around it: one pass over x and x squared loses digits.
        total = _sum_over_processes(torch.cat([values.sum(dim=(0, 2, 3)), count]))
        mean, size = total[:-1] / total[-1], total[-1].detach()
        centred = values - mean[:, None, None]
        variance = _sum_over_processes(centred.square().sum(dim=(0, 2, 3))) / size
        self._track(mean.detach(), variance.detach(), size)
        normal = centred * torch.rsqrt(variance + self.eps)[:, None, None]
        scaled: Tensor = normal * self.weight[:, None, None] + self.bias[:, None, None]
        return scaled.to(input.dtype)

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor, size: Tensor) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked += 1
        momentum = 0.1 if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, momentum)
        self.running_var.lerp_(variance * size / (size - 1).clamp(min=1), momentum)


class _SumOverProcesses(torch.autograd.Function):
    """The sum over all processes; gradients flow back to every process's part, so they are summed too."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        summed = values.clone()
        dist.all_reduce(summed)
        return summed

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        summed = gradients[0].contiguous().clone()
        dist.all_reduce(summed)
        return summed


def _sum_over_processes(values: Tensor) -> Tensor:
    summed: Tensor = _SumOverProcesses.apply(values)
    return summed


def conv_norm_act(
    channels_in: int,
    channels_out: int,
    kernel: int,
    norm: bool,
    act: bool = True,
    padding: Padding = "zeros",
    momentum: float = 0.01,
) -> nn.Sequential:
    """A bias-free convolution, batch norm and LeakyReLU, as in the released code; without ``norm`` a convolution with
    bias and the activation. padding: a ``padding_mode`` of PyTorch. momentum: of the batch norm's statistics."""
    layers: list[nn.Module] = [
        nn.Conv2d(channels_in, channels_out, kernel, padding=kernel // 2, bias=not norm, padding_mode=padding)
    ]
    if norm:
        layers.append(SyncedBatchNorm2d(channels_out, momentum=momentum))
    if act:
        layers.append(nn.LeakyReLU(inplace=True))
    return nn.Sequential(*layers)
