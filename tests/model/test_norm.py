"""Batch norm over several processes against one process with the whole batch."""

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing
from torch import nn

from cdtr.model.norm import SyncedBatchNorm2d, conv_norm_act

SIZES = (3, 2)  # images of each process: the global mean is not the mean of the means


def make_case():
    generator = torch.Generator().manual_seed(0)
    maps = 5 + 3 * torch.randn(sum(SIZES), 4, 3, 2, generator=generator)
    pull = torch.randn(sum(SIZES), 4, 3, 2, generator=generator)
    weight, bias = torch.randn(4, generator=generator), torch.randn(4, generator=generator)
    return maps, pull, weight, bias


def run(norm, maps, pull, weight, bias):
    """Two training steps' statistics and the second step's gradients, then the output in evaluation mode."""
    with torch.no_grad():
        norm.weight.copy_(weight)
        norm.bias.copy_(bias)
    norm(2 * maps)
    maps = maps.clone().requires_grad_()
    output = norm(maps)
    (output * pull).square().sum().backward()
    return {
        "output": output.detach(),
        "input_gradient": maps.grad,
        "weight_gradient": norm.weight.grad,
        "bias_gradient": norm.bias.grad,
        "running_mean": norm.running_mean.clone(),
        "running_var": norm.running_var.clone(),
        "seen": norm.num_batches_tracked.clone(),
        "evaluated": norm.eval()(maps).detach(),
    }


def worker(rank, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=len(SIZES))
    maps, pull, weight, bias = make_case()
    part = slice(sum(SIZES[:rank]), sum(SIZES[: rank + 1]))
    result = run(SyncedBatchNorm2d(4, momentum=0.01), maps[part], pull[part], weight, bias)
    torch.save(result, Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


def test_two_processes_equal_one_with_the_whole_batch(tmp_path):
    torch.multiprocessing.spawn(worker, args=(str(tmp_path),), nprocs=len(SIZES))
    parts = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(len(SIZES))]
    whole = run(nn.BatchNorm2d(4, momentum=None), *make_case())  # torch's plain average
    for name in ("output", "input_gradient", "evaluated"):
        joined = torch.cat([part[name] for part in parts])
        torch.testing.assert_close(joined, whole[name], rtol=1e-4, atol=1e-4, msg=lambda text, n=name: f"{n}: {text}")
    for name in ("weight_gradient", "bias_gradient"):
        torch.testing.assert_close(sum(part[name] for part in parts), whole[name], rtol=1e-4, atol=1e-4)
    for part in parts:
        assert part["seen"] == 2
        for name in ("running_mean", "running_var"):
            torch.testing.assert_close(part[name], whole[name], rtol=1e-5, atol=1e-5)


def test_alone_it_is_torchs_batch_norm():
    ours, theirs = run(SyncedBatchNorm2d(4), *make_case()), run(nn.BatchNorm2d(4, momentum=None), *make_case())
    for name, value in theirs.items():
        assert torch.equal(ours[name], value), name


def test_statistics_are_an_average_first_and_move_by_momentum_then():
    norm, means = SyncedBatchNorm2d(1, momentum=0.25), []
    expected = torch.zeros(1)
    for step in range(1, 9):
        maps = torch.full((2, 1, 2, 2), float(step))
        norm(maps)
        means.append(float(step))
        expected = torch.tensor([sum(means) / step]) if step <= 4 else torch.lerp(expected, maps.mean(), 0.25)
        torch.testing.assert_close(norm.running_mean, expected)
    again = SyncedBatchNorm2d(1, momentum=0.25)
    again.load_state_dict(norm.state_dict())
    for one in (norm, again):
        one(torch.full((2, 1, 2, 2), 30.0))
    torch.testing.assert_close(again.running_mean, norm.running_mean)


def test_maps_that_vary_by_little_are_normed_in_evaluation_as_in_training():
    """What CSM and OCM see: attention of about one in the number of patches."""
    generator = torch.Generator().manual_seed(0)
    norm = SyncedBatchNorm2d(1, momentum=0.01)
    for _ in range(50):
        maps = (1 + 0.3 * torch.randn(8, 1, 16, 16, generator=generator)) / 256
        trained = norm(maps)
    evaluated = norm.eval()(maps)
    assert evaluated.std().item() == pytest.approx(trained.std().item(), rel=0.05)


@pytest.mark.parametrize(
    ("norm", "act", "kinds"),
    [
        (True, True, [nn.Conv2d, SyncedBatchNorm2d, nn.LeakyReLU]),
        (True, False, [nn.Conv2d, SyncedBatchNorm2d]),
        (False, True, [nn.Conv2d, nn.LeakyReLU]),
    ],
    ids=["norm-act", "norm", "plain"],
)
def test_conv_norm_act(norm, act, kinds):
    layers = conv_norm_act(3, 5, 3, norm, act)
    assert [type(layer) for layer in layers] == kinds
    assert (layers[0].bias is None) is norm
    assert layers(torch.randn(2, 3, 4, 6)).shape == (2, 5, 4, 6)
    if norm:
        assert layers[1].momentum == 0.01
