"""What a method costs: parameters, MACs, time and memory of a forward pass with all class maps.

Peak memory on a CPU is read from torch's own allocator events (``torch.profiler`` with ``profile_memory``): every
storage that the allocator hands out or takes back, temporaries of kernels included, in the order of time. Scratch space
that MKL and oneDNN take from the system behind torch's back is not seen.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from cdtr.model.backbone import Backbone, VitBackbone

MIB = 2**20
_BATCHED = (torch.ops.aten.bmm, torch.ops.aten.baddbmm)  # products of activations with each other: attention


@dataclass(frozen=True, slots=True)
class Cost:
    """What a method costs.

    parameters: in millions. multiply_adds: in billions, of one image, with the products of attention;
    layer_multiply_adds: of linear layers and convolutions alone. ms_per_image: the median over the rounds. memory: MiB
    of the weights and of the peak of all that is made while one image passes.
    """

    parameters: float
    multiply_adds: float
    layer_multiply_adds: float
    ms_per_image: float
    memory: float

    def to_json(self) -> dict[str, float]:
        """Convert to plain values by name."""
        return asdict(self)


def measure_costs(models: Mapping[str, nn.Module], images: Tensor, rounds: int = 5) -> dict[str, Cost]:
    """The cost of each model in evaluation mode. images: (B, 3, H, W), timed as one batch, all models in turns."""
    calls = {name: forward_call(model.eval(), images) for name, model in models.items()}
    seconds = interleaved_seconds(calls, 1, rounds)
    found = {}
    for name, model in models.items():
        weights = sum(p.nbytes for p in model.parameters()) + sum(b.nbytes for b in model.buffers())
        call = forward_call(model, images[:1])
        found[name] = Cost(
            parameters=sum(p.numel() for p in model.parameters()) / 1e6,
            multiply_adds=multiply_adds(call) / 1e9,
            layer_multiply_adds=layer_multiply_adds(call) / 1e9,
            ms_per_image=1000 * statistics.median(seconds[name]) / len(images),
            memory=(weights + peak_bytes(call, images.device)) / MIB,
        )
    return found


class BareBackbone(nn.Module):
    """The network that a method stands on, as it would run without the method.

    A transformer makes its tokens and takes no attention from the blocks; another backbone runs as it is. Weights are
    shared with the method.

    Args:
        backbone: Of a method.
    """

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, images: Tensor) -> Any:
        """Run the network on images (B, 3, H, W) and return what it makes of them."""
        if not isinstance(self.backbone, VitBackbone):
            return self.backbone(images)
        cnn: Any = self.backbone.cnn
        return self.backbone.vit.forward_features(images if cnn is None else cnn(images, None))  # type: ignore[operator]


def forward_call(model: nn.Module, images: Tensor) -> Callable[[], object]:
    """A forward pass without gradients that ends when the device has done it."""

    def call() -> object:
        with torch.inference_mode():
            output = model(images)
        if images.device.type == "cuda":
            torch.cuda.synchronize(images.device)
        return output

    return call


def multiply_adds(call: Callable[[], object]) -> int:
    """Count the MACs of a call: linear layers, convolutions and the two products of attention.

    Attention takes the unfused path, so that its products are seen. Norms, activations, softmax and resizing are not
    counted. A call that goes backward is counted both ways.
    """
    return sum(_by_operator(call).values())


def layer_multiply_adds(call: Callable[[], object]) -> int:
    """MACs of linear layers and convolutions alone, as ptflops counts and as the paper reports.

    Args:
        call: What to count, such as a forward pass.

    Returns:
        The count, without the two products of attention.
    """
    return sum(count for operator, count in _by_operator(call).items() if operator not in _BATCHED)


def _by_operator(call: Callable[[], object]) -> dict[Any, int]:
    counter = FlopCounterMode(display=False)
    with sdpa_kernel(SDPBackend.MATH), counter:
        call()
    return {operator: int(count) // 2 for operator, count in counter.get_flop_counts().get("Global", {}).items()}


def interleaved_seconds(
    calls: Mapping[str, Callable[[], object]],
    warmup: int,
    rounds: int,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Time every call once a round, A B C, then B C A, so that a busy neighbour and the order hit all alike.

    For work of the calling thread alone, the clock ``time.thread_time`` leaves the neighbour out.
    """
    names = list(calls)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for index in range(warmup + rounds):
        turn = index % len(names)
        for name in names[turn:] + names[:turn]:
            start = clock()
            calls[name]()
            if index >= warmup:
                seconds[name].append(clock() - start)
    return seconds


def peak_bytes(call: Callable[[], object], device: torch.device) -> int:
    """The most bytes that were live at once during ``call``, above those that lived before it."""
    if device.type != "cuda":
        return peak_live_bytes(call)
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    call()
    return torch.cuda.max_memory_allocated(device) - before


def peak_live_bytes(call: Callable[[], object]) -> int:
    """Return the peak of live tensors on the CPU.

    The running sum starts at 0 where the call starts: what lives before it is not in it, and what the call frees of
    that is not taken off, so callers first drop what a step would replace (gradients).
    """
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # Kineto writes start and stop notes between the lines otherwise
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        result = call()
    del result
    results: Any = recorded.profiler
    events = [event for event in results.kineto_results.events() if event.name() == "[memory]"]
    live = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        live += event.nbytes()
        peak = max(peak, live)
    return peak
