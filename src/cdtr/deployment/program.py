"""Trace a trained method with torch.export: images in, logits and maps out, without what only training needs."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.overrides import TorchFunctionMode

from cdtr.deployment.session import Outputs, Pixels
from cdtr.errors import ConfigError
from cdtr.text import one_line

# Two images, because torch.export takes a batch of one for a constant.
_EXAMPLE_BATCH = 2
DYNAMIC_SHAPES = ({0: Dim("batch")},)

Runner: TypeAlias = Callable[[Pixels], Outputs]


class _Inference(nn.Module):
    """The part of a method that localization needs."""

    def __init__(self, method: nn.Module) -> None:
        super().__init__()
        self.method = method

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        output = self.method(images, auxiliary=False)
        return output.logits.float(), output.maps.float()


class _PlainAttention(TorchFunctionMode):
    """Lays the result of fused attention out in the plain order of its axes.

    Its kernels differ in that order, and a graph that counts on one kernel's cannot be translated to ONNX (BEiT).
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        return output.contiguous() if func is F.scaled_dot_product_attention else output


def export_program(method: nn.Module, size_hw: tuple[int, int]) -> ExportedProgram:
    """Trace a method in evaluation mode, on the CPU, for batches of any size.

    Modules that neither logits nor maps depend on (OCM, SKI, the weighting of losses) leave nothing in the program, and
    no path of this machine is in it.

    Args:
        method: the method.
        size_hw: height and width of its input.

    Raises:
        ConfigError: torch.export cannot trace the method.
    """
    network = _Inference(copy.deepcopy(method)).eval()
    for module in network.modules():
        if hasattr(module, "inplace"):
            setattr(module, "inplace", False)  # noqa: B010, what writes in place is never taken for dead code
    images = torch.zeros(_EXAMPLE_BATCH, 3, *size_hw)
    try:
        with torch.no_grad(), _PlainAttention():
            whole = torch.export.export(network, (images,), dynamic_shapes=DYNAMIC_SHAPES).module()
            whole.graph.eliminate_dead_code()
            whole.delete_all_unused_submodules()
            whole.recompile()
            program = torch.export.export(whole, (images,), dynamic_shapes=DYNAMIC_SHAPES)
    except Exception as error:  # tracing runs the method, and can fail in as many ways as there are methods
        raise ConfigError(f"this method cannot be exported: torch.export says {one_line(error)}") from error
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)
    return program


def method_runner(method: nn.Module) -> Runner:
    """Return a function of pixels (B, 3, H, W) that runs a method in evaluation mode, on the CPU."""
    network = _Inference(method).eval()

    def run(pixels: Pixels) -> Outputs:
        with torch.inference_mode():
            logits, maps = network(torch.from_numpy(pixels))
        return Outputs(logits.numpy(), maps.numpy())

    return run
