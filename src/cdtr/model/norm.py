"""Batch norm over all processes, on any device, with running statistics that are right from the first step.

PyTorch's SyncBatchNorm runs on accelerators only; with this one, several CPU processes also equal one process with the
same global batch. The variance of attention maps is about a millionth. PyTorch's running variance starts at 1, of which
0.99^n is left after n steps: after 480 steps it is still ten thousand times too large, and CSM recognises no class in
evaluation.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from timm.layers import BatchNormAct2d
from torch import Tensor, nn

from cdtr.config import Padding


class SyncedBatchNorm2d(nn.BatchNorm2d):
    """``nn.BatchNorm2d`` over the global batch when several processes train together.

    Running statistics are plain averages of the first ``1 / momentum`` batches, then move by ``momentum``.
    """

    _averaging = True  # until as many batches were seen

    def forward(self, input: Tensor) -> Tensor:
        """Normalise a batch (B, C, ...) over all processes."""
        if not self.training:
            return super().forward(input)
        if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
            mean, variance, share = self.running_mean, self.running_var, self._count()
            return F.batch_norm(input, mean, variance, self.weight, self.bias, True, share, self.eps)
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
        share = self._count()
        if self.running_mean is not None and self.running_var is not None:
            self.running_mean.lerp_(mean, share)
            self.running_var.lerp_(variance * size / (size - 1).clamp(min=1), share)

    def _count(self) -> float:
        """Count a batch and return its weight in the running statistics."""
        momentum = 0.1 if self.momentum is None else self.momentum
        if self.num_batches_tracked is None:
            return momentum
        self.num_batches_tracked.add_(1)
        if not self._averaging:  # reading the count makes a GPU wait
            return momentum
        share = 1 / int(self.num_batches_tracked)
        self._averaging = share > momentum
        return max(share, momentum)


class SyncedBatchNormAct2d(SyncedBatchNorm2d):
    """The same with dropout and activation behind it, as timm's ``BatchNormAct2d`` has them."""

    def __init__(self, count: int, drop: nn.Module, act: nn.Module, eps: float, momentum: float | None) -> None:
        super().__init__(count, eps=eps, momentum=momentum)
        self.drop, self.act = drop, act

    def forward(self, input: Tensor) -> Tensor:
        """Normalise a batch (B, C, ...) over all processes and activate it."""
        activated: Tensor = self.act(self.drop(super().forward(input)))
        return activated


def sync_batch_norms(network: nn.Module) -> nn.Module:
    """Replace PyTorch's and timm's batch norms in a network by those of this file, with their weights and names."""
    for name, module in list(network.named_modules()):
        if type(module) is nn.BatchNorm2d:
            synced: SyncedBatchNorm2d = SyncedBatchNorm2d(module.num_features, module.eps, module.momentum)
        elif type(module) is BatchNormAct2d:
            drop, act = module.drop, module.act
            synced = SyncedBatchNormAct2d(module.num_features, drop, act, module.eps, module.momentum)
        else:
            continue
        synced.load_state_dict(module.state_dict())
        synced.train(module.training)
        network.set_submodule(name, synced)
    return network


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
    """Build a bias-free convolution, batch norm and LeakyReLU, as in the released code.

    Args:
        channels_in: Channels of the input.
        channels_out: Channels of the output.
        kernel: Side of the kernel; the output has the size of the input.
        norm: Whether there is a batch norm; without, the convolution has a bias.
        act: Whether there is an activation.
        padding: Padding mode at the border.
        momentum: Of the running statistics, after the first ``1 / momentum`` batches.
    """
    layers: list[nn.Module] = [
        nn.Conv2d(channels_in, channels_out, kernel, padding=kernel // 2, bias=not norm, padding_mode=padding)
    ]
    if norm:
        layers.append(SyncedBatchNorm2d(channels_out, momentum=momentum))
    if act:
        layers.append(nn.LeakyReLU(inplace=True))
    return nn.Sequential(*layers)
