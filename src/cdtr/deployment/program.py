"""A trained method as a graph, by torch.export: images in, logits and maps out, nothing that only training needs."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.overrides import TorchFunctionMode

from cdtr.deployment.facts import METADATA_FILE, Facts
from cdtr.deployment.session import Outputs, Pixels
from cdtr.errors import ConfigError

# Two images, because torch.export takes a batch of one for a constant.
_EXAMPLE_BATCH = 2
DYNAMIC_SHAPES = ({0: Dim("batch")},)

Runner: TypeAlias = Callable[[Pixels], Outputs]


class _Inference(nn.Module):
    """What localizing needs of a method."""

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
        answer = func(*args, **(kwargs or {}))
        return answer.contiguous() if func is F.scaled_dot_product_attention else answer


def export_program(method: nn.Module, size_hw: tuple[int, int]) -> ExportedProgram:
    """Trace a method in evaluation mode, on the CPU, for any number of images of ``size_hw``.

    Modules that neither logits nor maps depend on (OCM, SKI, the weighting of losses) leave nothing in it, and no path
    of this machine is in it. ConfigError for a method that torch.export cannot trace.
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
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(f"this method cannot be exported: torch.export says {reason}") from error
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)
    return program


def program_bytes(program: ExportedProgram, facts: Facts) -> bytes:
    """The program as a ``.pt2`` file, its facts inside as the extra file ``METADATA_FILE``."""
    buffer = io.BytesIO()
    torch.export.save(program, buffer, extra_files={METADATA_FILE: facts.to_json()})
    return buffer.getvalue()


def load_program(file: Path | io.BytesIO) -> Runner:
    """What ``program_bytes`` wrote, read again, as a function of pixels (B, 3, H, W)."""
    return module_runner(torch.export.load(file).module())


def module_runner(module: nn.Module) -> Runner:
    """A module that answers logits and maps, or a method, as a function of pixels (B, 3, H, W)."""

    def run(pixels: Pixels) -> Outputs:
        with torch.inference_mode():
            found = module(torch.from_numpy(pixels))
        return Outputs(*(values.numpy() for values in found))

    return run


def method_runner(method: nn.Module) -> Runner:
    """A method in evaluation mode, on the CPU, as a function of pixels (B, 3, H, W)."""
    return module_runner(_Inference(method).eval())
