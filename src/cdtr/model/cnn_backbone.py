"""The CNN of a method that has no transformer: feature maps whose cells tile the image, with a way into its middle."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import timm
import torch
from torch import Tensor, nn

from cdtr.config import BackboneConfig, DataConfig
from cdtr.errors import ConfigError
from cdtr.model.cells import probe_cells, resampling
from cdtr.model.cnn_parts import Change, drop_other_parts, level_ends, part_names, run_parts
from cdtr.model.hub_weights import not_fetched
from cdtr.model.norm import sync_batch_norms
from cdtr.model.packaged import load_packaged
from cdtr.model.weights import check_fit, read_state_dict

_EXAMPLES = "resnet50, vgg16, inception_v3 or tf_efficientnet_lite2"


class CnnBackbone(nn.Module):
    """A CNN without its classifier. Build one with ``build_cnn_backbone``; ``take`` chooses what it returns.

    Attributes:
        name: timm's name of the network.
        network: The network, without the layers that are not in ``parts``.
        parts: Names of its parts, in the order in which they run.
        ends: The part at which each level ends, the finest first. A level is what a network without dilation computes
            at one stride, from stride 4 on.
        taps: Indices of the levels that the method looks at, ascending; ``take`` chooses them.
        channels: Channels of each of these.
        level_shapes: (C_i, h_i, w_i) of each before it is resampled.
        reductions: The strides of each.
        grid_hw: Rows and columns of the grid that they are resampled to, that of the first.
        rectified: Whether the last features are nowhere negative, as behind a ReLU.
        frozen: Whether the weights stay as they are.
    """

    _scale: Tensor
    _shift: Tensor

    def __init__(self, network: nn.Module, parts: Sequence[str], config: BackboneConfig, data: DataConfig) -> None:
        super().__init__()
        self.name, self.frozen, self.align = config.name, config.frozen, config.cnn.align
        cnn: Any = network.requires_grad_(not config.frozen).to(memory_format=torch.channels_last)
        self.network = cnn
        self.keeps_statistics = config.frozen or config.weights != "none"
        self.parts, self.ends = list(parts), level_ends(network, parts)
        self.ends[-1] = self.parts[-1]  # of the last level the last features, after the final activation
        self._size_hw = data.input_size
        # From the images' normalisation to the one that the network was trained under.
        mean, std = (torch.tensor(cnn.pretrained_cfg[key]) for key in ("mean", "std"))
        self.register_buffer("_scale", (torch.tensor(data.std) / std)[:, None, None], persistent=False)
        self.register_buffer("_shift", ((torch.tensor(data.mean) - mean) / std)[:, None, None], persistent=False)
        self.network.eval()
        with torch.no_grad():
            noise = torch.randn(1, 3, *data.input_size, generator=torch.Generator().manual_seed(0))
            self.rectified = bool(run_parts(self.network, self.parts, noise).amin() >= 0)
        self.train()

    if TYPE_CHECKING:

        def __call__(self, images: Tensor, levels: Sequence[Tensor] | None = None) -> tuple[Tensor, ...]:
            """Run ``forward``."""
            ...

    def take(self, count: int, method: str = "the method") -> None:
        """Choose the last ``count`` levels as what the method looks at.

        Raises:
            ConfigError: The network has fewer, or its maps are too small.
        """
        if count > len(self.ends):
            raise ConfigError(
                f"method {method} looks at the maps of {count} levels, {self.name} up to backbone.output_stride "
                f"has {len(self.ends)}: choose a larger stride, or a backbone.name such as {_EXAMPLES}"
            )
        self.taps = tuple(range(len(self.ends)))[-count:]
        training = self.training
        self.eval()  # else batch norm would learn the statistics of the zeros that are looked at here
        with torch.no_grad():
            levels = self._taps_of(self.network, torch.zeros(1, 3, *self._size_hw))
        self.channels = [level.shape[1] for level in levels]
        self.level_shapes = [tuple(level.shape[1:]) for level in levels]
        axes = probe_cells(self.network, self._taps_of, self._size_hw)
        self.train(training)
        self.reductions = tuple(round(row.step) for row, _ in axes)
        if self.align:
            self.grid_hw = tuple(max(side // self.reductions[0], 1) for side in self._size_hw)
        else:
            self.grid_hw = axes[0][0].cells, axes[0][1].cells
        for number, pair in enumerate(axes):
            for word, axis, cells, side in zip(("rows", "columns"), pair, self.grid_hw, self._size_hw, strict=True):
                matrix = resampling(axis if self.align else axis.tiling(side), cells, side)
                matrix = matrix if word == "rows" else matrix.T.contiguous()
                self.register_buffer(f"_{word}_{number}", matrix, persistent=False)

    @property
    def dim(self) -> int:
        """Number of channels D of the last features."""
        return self.channels[-1]

    def train(self, mode: bool = True) -> CnnBackbone:
        """Set training mode; a frozen network, and the batch norm of pretrained weights, stay in evaluation mode."""
        super().train(mode and not self.frozen)
        if self.keeps_statistics:
            for module in self.network.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        return self

    def forward(self, images: Tensor, levels: Sequence[Tensor] | None = None) -> tuple[Tensor, ...]:
        """The feature maps that the method looks at, on one grid.

        Args:
            images: (B, 3, H, W), normalised.
            levels: What ``levels`` returned for the images, if that is known already.

        Returns:
            (B, C_i, h, w) float32 each; the last one are the network's last features.
        """
        found = self.levels(images) if levels is None else levels
        return tuple(self.resample(number, level) for number, level in enumerate(found))

    def levels(self, images: Tensor, changes: Mapping[str, Change] | None = None) -> list[Tensor]:
        """The feature maps on their own cells.

        Args:
            images: (B, 3, H, W), normalised.
            changes: What is done to the output of a part, by its name.

        Returns:
            (B, C_i, h_i, w_i) each, without gradients if the network is frozen.
        """
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            return self._taps_of(self.network, self.own_pixels(images), changes)

    def own_pixels(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) under the normalisation that the network was trained with."""
        return (images * self._scale + self._shift).contiguous(memory_format=torch.channels_last)

    def run(self, maps: Tensor, after: str | None = None, until: str | None = None) -> Tensor:
        """Run the parts behind ``after`` up to ``until``; None for the first and the last."""
        start = 0 if after is None else self.parts.index(after) + 1
        stop = len(self.parts) if until is None else self.parts.index(until) + 1
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            return run_parts(self.network, self.parts[start:stop], maps)

    def resample(self, number: int, maps: Tensor) -> Tensor:
        """Resample maps (B, K, h_i, w_i), on the cells of level ``taps[number]``, to the grid, (B, K, h, w) float32."""
        rows, columns = getattr(self, f"_rows_{number}"), getattr(self, f"_columns_{number}")
        resampled: Tensor = rows @ maps.float() @ columns
        return resampled

    def part(self, name: str, setting: str) -> str:
        """Return the part of a name; the last part of a name that stands for several, such as ``layer3``.

        Raises:
            ConfigError: The network has no such part; ``setting`` asked for it.
        """
        found = [part for part in self.parts if part == name or part.startswith(name + ".")]
        if not found:
            raise ConfigError(f"{setting} {name} is no part of {self.name}, these are: {', '.join(self.parts)}")
        return found[-1]

    def behind(self, part: str) -> str:
        """The part that follows; the same one at the end."""
        return self.parts[min(self.parts.index(part) + 1, len(self.parts) - 1)]

    def _taps_of(self, network: nn.Module, images: Tensor, changes: Mapping[str, Change] | None = None) -> list[Tensor]:
        found, maps, start = [], images, 0
        for tap in self.taps:
            stop = self.parts.index(self.ends[tap]) + 1
            maps = run_parts(network, self.parts[start:stop], maps, changes)
            found.append(maps)
            start = stop
        return found


def build_cnn_backbone(config: BackboneConfig, data: DataConfig, method: str, load_weights: bool = True) -> CnnBackbone:
    """Build the CNN that ``backbone.name`` names.

    Args:
        config: The settings of the backbone.
        data: Size and normalisation of the images.
        method: Name of the method, for messages.
        load_weights: Without, the weights stay random, for a model whose own weights follow.

    Raises:
        ConfigError: timm has no such CNN, or settings of transformers are set.
        CheckpointError: The weights cannot be had.
    """
    _refuse_transformer_settings(config, method)
    network = _created(config, method, load_weights and config.weights == "hub")
    parts = _up_to(part_names(network, config.name), network, config)
    if load_weights and config.weights == "package":
        load_packaged(network, config.name, "backbone.weights")
    drop_other_parts(network, parts)
    if load_weights and config.weights not in {"hub", "none", "package"}:
        _load_file(network, config.weights)
    return CnnBackbone(sync_batch_norms(network), parts, config, data)


def no_transformer(name: str) -> ConfigError:
    """The error for a network that a method with attention cannot use."""
    return ConfigError(
        f"{name} has no class token to take attention from: choose a deit_*, vit_*, deit3_* or dino model, or a method "
        "that looks at a CNN, such as cam"
    )


def _refuse_transformer_settings(config: BackboneConfig, method: str) -> None:
    unfit = {"stem": config.stem != "patch", "overrides": bool(config.overrides)}
    for name, is_set in unfit.items():
        if is_set:
            default = "patch" if name == "stem" else "null"
            raise ConfigError(
                f"backbone.{name} is for transformers, and method {method} looks at a CNN: set "
                f"backbone.{name}={default}"
            )
    if not timm.is_model(config.name):
        raise ConfigError(f"unknown backbone {config.name!r}: method {method} takes a timm CNN such as {_EXAMPLES}")


def _created(config: BackboneConfig, method: str, pretrained: bool) -> nn.Module:
    """The network of timm, dilated to ``backbone.output_stride`` where it can be."""
    if pretrained and not timm.is_model_pretrained(config.name):
        raise ConfigError(f"timm has no pretrained weights for {config.name}: set backbone.weights to a file or none")
    options: dict[str, Any] = {"drop_path_rate": config.drop_path} if config.drop_path else {}
    module: Any = sys.modules[timm.model_entrypoint(config.name).__module__]
    if module.__name__.rpartition(".")[2] in {"resnet", "efficientnet", "convnext"}:
        options["output_stride"] = config.output_stride
    try:
        network: nn.Module = timm.create_model(config.name, pretrained=pretrained, **options)
    except (TypeError, AssertionError) as error:
        raise ConfigError(f"backbone {config.name} cannot be built with {options}: {error}") from error
    except Exception as error:
        if not pretrained:
            raise
        raise not_fetched(config.name, error, "backbone.weights to package, to a file or to none") from error
    if hasattr(network, "cls_token") or not hasattr(network, "feature_info"):
        raise ConfigError(
            f"method {method} looks at a CNN, and backbone.name {config.name} is none: choose one such as {_EXAMPLES}"
        )
    return network


def _up_to(parts: list[str], network: Any, config: BackboneConfig) -> list[str]:
    """The parts up to the last of stride ``backbone.output_stride``."""
    fits = [info["module"] for info in network.feature_info if int(info["reduction"]) <= config.output_stride]
    last = [index for index, part in enumerate(parts) for name in fits if f"{part}.".startswith(f"{name}.")]
    dilated = int(network.feature_info[-1]["reduction"]) <= config.output_stride
    return parts if dilated or not last else parts[: last[-1] + 1]


def _load_file(network: nn.Module, path: str) -> None:
    """Load a file of timm's names; layers that the network has no more, such as its classifier, are left out."""
    state = read_state_dict(path)
    convert = getattr(sys.modules[type(network).__module__], "checkpoint_filter_fn", None)
    state = state if convert is None else dict(convert(state, network))
    check_fit(state, network, path)
    network.load_state_dict({name: state[name] for name in network.state_dict()})
