"""Where the cells of a CNN's feature map are centred, and maps resampled so that cells tile the image.

A map of stride ``s`` is resized to the image as if its cell ``i`` stood in the middle of the pixels ``s * i`` to
``s * (i + 1) - 1``. In timm's ResNets it stands on the first of them and in networks with TensorFlow's padding on the
last, so that maps and boxes lie half a cell off; an unpadded stem magnifies the map.
"""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from cdtr.errors import ConfigError

Levels = Callable[[Any, Tensor], Sequence[Tensor]]

_NARROW = 96  # pixels of the probe's other side: a cell of stride 32 even behind a stem without padding
_LONG = 640  # pixels; what a middle cell sees beyond is little, and the same on both sides
_PERIOD = 64  # sizes that differ by a multiple of it are padded alike in every layer
_GATES = re.compile(r"^SE[A-Z]|^Eca|^EffectiveSE|Squeeze|GlobalContext|Cbam")
_NO_FILTERS = re.compile(r"Norm|ReLU|GELU|SiLU|Swish|Sigmoid|Mish|Tanh|[Hh]ard[a-z]|Drop|LayerScale|" + _GATES.pattern)


@dataclass(frozen=True, slots=True)
class Axis:
    """Cell ``i`` of ``cells`` along a side of the image is centred at pixel ``first + step * i``."""

    first: float
    step: float
    cells: int

    def tiling(self, side: int) -> Axis:
        """The axis as if the cells tiled an image side of so many pixels, which is what resizing a map assumes."""
        step = side / self.cells
        return Axis(step / 2 - 0.5, step, self.cells)


def probe_cells(network: nn.Module, levels: Levels, size_hw: tuple[int, int]) -> list[tuple[Axis, Axis]]:
    """Measure where the cells of each feature map of a network are centred.

    A copy of the network averages over each kernel instead of filtering; the centroid of a cell's gradient with respect
    to the image is then the middle of what the cell sees.

    Args:
        network: A CNN; it stays as it is.
        levels: Takes the network and images (1, 3, H, W), returns feature maps (1, C, h, w).
        size_hw: Height and width of the images in pixels.

    Returns:
        For each feature map the axis of its rows and that of its columns.

    Raises:
        ConfigError: A feature map has fewer than two cells a side.
    """
    with torch.no_grad():
        shapes = [(level.shape[2], level.shape[3]) for level in levels(network, torch.zeros(1, 3, *size_hw))]
    if any(min(shape) < 2 for shape in shapes):
        raise ConfigError(
            f"data.input_size {size_hw[0]}x{size_hw[1]} leaves the backbone a map of {min(map(min, shapes))} cells a "
            "side, expected at least 2: choose a larger size"
        )
    with torch.inference_mode(False), torch.enable_grad():
        averaging = _averaging(network)
        rows, columns = (_first_and_step(averaging, levels, size_hw[dim], dim) for dim in (0, 1))
    return [
        (Axis(*row, cells=height), Axis(*column, cells=width))
        for row, column, (height, width) in zip(rows, columns, shapes, strict=True)
    ]


def resampling(axis: Axis, cells: int, size: int) -> Tensor:
    """The matrix (cells, axis.cells) that resamples a map's rows to ``cells`` rows that tile an image side.

    Linear between cells; beyond the outermost cell its value is repeated.

    Args:
        axis: Where the cells of the map are centred.
        cells: Number of rows that are wanted.
        size: Pixels of the image side.
    """
    middles = (torch.arange(cells, dtype=torch.float64) + 0.5) * (size / cells) - 0.5
    places = ((middles - axis.first) / axis.step).clamp(0, axis.cells - 1)
    before = places.floor().clamp(max=axis.cells - 2).long()
    rows, after = torch.arange(cells), places - before
    matrix = torch.zeros(cells, axis.cells, dtype=torch.float64)
    matrix[rows, before] = 1 - after
    matrix[rows, before + 1] = after
    return matrix.float()


def _first_and_step(averaging: nn.Module, levels: Levels, size: int, dim: int) -> list[tuple[float, int]]:
    """Return for each level the centre of its first cell along an image side, and the pixels from cell to cell."""
    # Zeros beyond the border pull the centroid of a cell near it inwards, so the probe is long; in the other dimension
    # it is narrow, as an averaging network treats rows and columns apart.
    long = size + _PERIOD * math.ceil(max(_LONG - size, 0) / _PERIOD)
    image = torch.zeros(1, 3, *((long, _NARROW) if dim == 0 else (_NARROW, long)), dtype=torch.float32)
    image.requires_grad_()
    pixels = torch.arange(long, dtype=torch.float64)
    found = []
    with _AveragePooling():
        maps = levels(averaging, image)
    for level in maps:
        lines = level.sum(dim=(0, 1, 3 - dim))
        middle = len(lines) // 2
        centres = []
        for cell in (middle, middle + 1):
            (gradient,) = torch.autograd.grad(lines[cell], image, retain_graph=True)
            weights = gradient.double().sum(dim=(0, 1, 3 - dim))
            centres.append(float((weights * pixels).sum() / weights.sum()))
        step = round(centres[1] - centres[0])  # zeros beyond the border make it smaller by a thousandth
        found.append((round(64 * (centres[0] - step * middle)) / 64, step))  # the same on every machine
    return found


def _averaging(network: nn.Module) -> nn.Module:
    """A copy without activations, norms and gates, whose convolutions average over what they see."""
    linear = copy.deepcopy(network).eval().requires_grad_(False)
    for name, module in list(linear.named_modules()):
        if isinstance(module, nn.Conv2d):
            module.weight.fill_(1 / module.weight[0].numel())
            if module.bias is not None:
                module.bias.zero_()
        elif _NO_FILTERS.search(type(module).__name__) and not any(isinstance(m, nn.Conv2d) for m in _own(module)):
            linear.set_submodule(name, nn.Identity())
    return linear


def _own(module: nn.Module) -> list[nn.Module]:
    """What a module is made of, but nothing for gates, whose convolutions filter no places."""
    return [] if _GATES.search(type(module).__name__) else list(module.modules())


class _AveragePooling(TorchFunctionMode):
    """While active, max pooling is average pooling: its gradient would show one pixel of each window."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        named = kwargs or {}
        if func in (F.max_pool2d, torch.max_pool2d):
            kept = {
                key: value for key, value in named.items() if key in {"kernel_size", "stride", "padding", "ceil_mode"}
            }
            return F.avg_pool2d(*args[:4], **kept)
        return func(*args, **named)
