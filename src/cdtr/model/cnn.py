"""Feature maps of a timm CNN, and what resamples them to one grid of cells that tile the image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import timm
import torch
from torch import Tensor, nn

from cdtr.config import CnnConfig, DataConfig
from cdtr.errors import ConfigError
from cdtr.model.cells import probe_cells, resampling
from cdtr.model.hub_weights import not_fetched
from cdtr.model.norm import SyncedBatchNorm2d
from cdtr.model.packaged import load_packaged
from cdtr.model.weights import check_fit, read_state_dict

_FINEST = 4  # stride: maps of stride 2 are edges and noise


class CnnFeatures(nn.Module):
    """The feature maps of a CNN at some strides, each channel normalised.

    Build one with ``build_cnn_features``. Of the network's largest stride the last features are taken, after its final
    activation, of the others those of the last block.

    Attributes:
        channels: Number of channels of each map, in the order in which they are joined.
        level_shapes: (C_i, h_i, w_i) of each map before it is resampled.
        grid_hw: Rows and columns of the grid.
        reductions: The strides of the maps.
        frozen: Whether the network's weights stay as they are.
    """

    _scale: Tensor
    _shift: Tensor

    def __init__(
        self,
        network: nn.Module,
        reductions: Sequence[int],
        data: DataConfig,
        grid_hw: tuple[int, int],
        frozen: bool = True,
        align: bool = True,
    ) -> None:
        super().__init__()
        cnn: Any = network.eval()
        self.grid_hw = grid_hw
        self.frozen = frozen
        self.reductions = tuple(reductions)
        self._settled = False
        indices = {int(info["reduction"]): index for index, info in enumerate(cnn.feature_info)}
        self._indices = [indices[reduction] for reduction in reductions]
        self._ends_with_last = max(reductions) == max(indices)
        # From the images' normalisation to the one that the network was trained under.
        mean, std = (torch.tensor(cnn.pretrained_cfg[key]) for key in ("mean", "std"))
        self.register_buffer("_scale", (torch.tensor(data.std) / std)[:, None, None], persistent=False)
        self.register_buffer("_shift", ((torch.tensor(data.mean) - mean) / std)[:, None, None], persistent=False)
        with torch.no_grad():
            levels = self._levels(network, torch.zeros(1, 3, *data.input_size))
        self.channels = [level.shape[1] for level in levels]
        self.level_shapes = [tuple(level.shape[1:]) for level in levels]
        axes = probe_cells(network, self._levels, data.input_size)
        for number, (rows, columns) in enumerate(axes):
            if not align:
                rows, columns = (axis.tiling(side) for axis, side in zip((rows, columns), data.input_size, strict=True))
            by_rows, by_columns = (
                resampling(axis, cells, side)
                for axis, cells, side in zip((rows, columns), grid_hw, data.input_size, strict=True)
            )
            self.register_buffer(f"_rows_{number}", by_rows, persistent=False)
            self.register_buffer(f"_columns_{number}", by_columns.T.contiguous(), persistent=False)
        norms = [SyncedBatchNorm2d(count, affine=False) for count in self.channels]
        self.eps = norms[0].eps
        self.norms = nn.ModuleList(norms)
        # Three times as fast on a CPU, and faster on a GPU too.
        self.network = network.requires_grad_(not frozen).to(memory_format=torch.channels_last)

    def train(self, mode: bool = True) -> CnnFeatures:
        """The network's batch norm keeps the statistics that it was pretrained with, ``norms`` those of ``settle``."""
        super().train(mode)
        self.network.eval()
        if self._settled:
            self.norms.eval()
        return self

    def settle(self, means: Sequence[Tensor] = (), variances: Sequence[Tensor] = ()) -> None:
        """Keep the statistics of ``norms`` from now on, instead of averaging those of the batches.

        Args:
            means: (C_i,) each, of the channels of a map over the training images; empty keeps the present ones.
            variances: (C_i,) each, likewise.
        """
        self._settled = True
        self.norms.eval()
        for norm, mean, variance in zip(self.norms, means, variances, strict=False):
            norm.load_state_dict({"running_mean": mean, "running_var": variance}, strict=False)

    def forward(self, images: Tensor, levels: Sequence[Tensor] | None = None) -> tuple[Tensor, ...]:
        """The feature maps, normalised.

        Args:
            images: (B, 3, H, W), normalised.
            levels: What ``levels`` returned for the images, if that is known already.

        Returns:
            (B, C_i, h_i, w_i) float32 each; over the training images each channel has mean 0 and variance 1.
        """
        found = self.levels(images) if levels is None else levels
        return tuple(norm(level.float()) for norm, level in zip(self.norms, found, strict=True))

    def levels(self, images: Tensor) -> list[Tensor]:
        """The network's feature maps as they are, one a stride.

        Args:
            images: (B, 3, H, W), normalised.

        Returns:
            (B, C_i, h_i, w_i) each, without gradients if the network is frozen.
        """
        own = (images * self._scale + self._shift).contiguous(memory_format=torch.channels_last)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            return self._levels(self.network, own)

    def resample(self, number: int, maps: Tensor) -> Tensor:
        """Resample maps (B, K, h_i, w_i), on the cells of feature map ``number``, to the grid, (B, K, h, w) float32."""
        resampled: Tensor = getattr(self, f"_rows_{number}") @ maps.float() @ getattr(self, f"_columns_{number}")
        return resampled

    def add(self, maps: Sequence[Tensor]) -> Tensor:
        """Resample maps (B, K, h_i, w_i), one a feature map, to the grid and add them, (B, K, h, w) float32."""
        return torch.stack([self.resample(number, part) for number, part in enumerate(maps)]).sum(dim=0)

    def join(self, levels: Sequence[Tensor]) -> Tensor:
        """Resample feature maps (B, C_i, h_i, w_i) to the grid and join them, (B, C, h, w) float32."""
        return torch.cat([self.resample(number, level) for number, level in enumerate(levels)], dim=1)

    def shares(self) -> list[float]:
        """The weight of each map by which all maps weigh the same in a cosine of joined channels."""
        return [count**-0.5 for count in self.channels]

    def _levels(self, network: Any, images: Tensor) -> list[Tensor]:
        last, levels = network.forward_intermediates(images, indices=self._indices)
        return [*levels[:-1], last] if self._ends_with_last else list(levels)


def build_cnn_features(
    config: CnnConfig, data: DataConfig, grid_hw: tuple[int, int], load_weights: bool = True
) -> CnnFeatures:
    """Build the CNN of a configuration with its weights.

    Args:
        config: Which network, which weights and which of its feature maps.
        data: Size and normalisation of the images.
        grid_hw: Rows and columns of the grid that the maps are resampled to.
        load_weights: Without, the weights stay random, for a model whose own weights follow.

    Raises:
        ConfigError: timm has no such CNN, or it has no such feature maps.
        CheckpointError: The weights cannot be had.
    """
    if not timm.is_model(config.name):
        raise ConfigError(
            f"unknown backbone.cnn.name {config.name!r}: choose a timm CNN such as tf_efficientnet_lite2 or resnet18"
        )
    hub = load_weights and config.weights == "hub"
    try:
        network: Any = timm.create_model(config.name, pretrained=hub)
    except Exception as error:
        if not hub:
            raise
        raise not_fetched(config.name, error, "backbone.cnn.weights to package or to a file") from error
    found = sorted({int(info["reduction"]) for info in getattr(network, "feature_info", [])})
    if not hasattr(network, "forward_intermediates") or hasattr(network, "cls_token") or len(found) < 2:
        raise ConfigError(
            f"backbone.cnn.name {config.name} has no feature maps of several strides: choose a convolutional network "
            "such as tf_efficientnet_lite2 or resnet18"
        )
    missing = [reduction for reduction in config.reductions if reduction not in found]
    if missing:
        raise ConfigError(
            f"backbone.cnn.reductions has {missing[0]}, the feature maps of {config.name} have the strides "
            f"{', '.join(map(str, found))}"
        )
    if load_weights and config.weights == "package":
        load_packaged(network, config.name, "backbone.cnn.weights")
    elif load_weights and config.weights not in {"hub", "none"}:
        state = read_state_dict(config.weights)
        check_fit(state, network, config.weights)
        network.load_state_dict({name: state[name] for name in network.state_dict()})
    return CnnFeatures(network, config.reductions, data, grid_hw, config.frozen, config.align)


def fine_features(cnn: CnnFeatures, data: DataConfig) -> list[CnnFeatures]:
    """The finest feature maps of the same network, at most two, of strides 4 and 8 where it has them.

    Args:
        cnn: The features of the network.
        data: Size and normalisation of the images.

    Returns:
        Features of one stride each, on twice the grid of ``cnn``.
    """
    network: Any = cnn.network
    strides = sorted({int(info["reduction"]) for info in network.feature_info})
    chosen = [stride for stride in strides if stride >= _FINEST][:2]
    grid_hw = 2 * cnn.grid_hw[0], 2 * cnn.grid_hw[1]
    return [CnnFeatures(network, (stride,), data, grid_hw, cnn.frozen).to(cnn._scale.device) for stride in chosen]


class LevelConv(nn.Module):
    """A 1x1 convolution of the joined feature maps of a CNN.

    Each map is convolved on its own cells and resampled afterwards, which gives the same and takes a small part of the
    time: maps of large strides have most of the channels and the fewest cells.

    Args:
        features: Makes the feature maps; not a part of this module.
        width: Number of output channels K.
    """

    def __init__(self, features: CnnFeatures, width: int) -> None:
        super().__init__()
        total = sum(features.channels)
        convs = [nn.Conv2d(count, width, 1, bias=not number) for number, count in enumerate(features.channels)]
        for conv in convs:
            nn.init.uniform_(conv.weight, -(total**-0.5), total**-0.5)
        self.width = width
        self.convs: Any = nn.ModuleList(convs)

    @torch.no_grad()
    def set_weights(self, weights: Tensor, biases: Tensor) -> None:
        """Take weights (K, C) for the joined channels, and biases (K,)."""
        parts = torch.split(weights, [conv.in_channels for conv in self.convs], dim=1)
        for number, (conv, part) in enumerate(zip(self.convs, parts, strict=True)):
            conv.weight.copy_(part[:, :, None, None])
            if not number:
                conv.bias.copy_(biases)

    def forward(self, features: CnnFeatures, levels: Sequence[Tensor]) -> Tensor:
        """Convolve feature maps (B, C_i, h_i, w_i) to (B, K, h, w) on the grid of ``features``."""
        return features.add([conv(level) for conv, level in zip(self.convs, levels, strict=True)])


class CnnStem(nn.Module):
    """Patches from a CNN's features; takes timm's ``embed_layer`` place.

    ``features`` makes feature maps from images, ``forward`` takes these to (B, h * w, embed_dim) patches: who needs the
    feature maps too computes them once.
    """

    def __init__(
        self,
        config: CnnConfig,
        data: DataConfig,
        load_weights: bool,
        patch_size: int = 16,
        embed_dim: int = 768,
        **_: Any,
    ) -> None:
        super().__init__()
        self.patch_size = (patch_size, patch_size)
        self.img_size = data.input_size
        self.grid_size = (data.input_size[0] // patch_size, data.input_size[1] // patch_size)
        self.num_patches = self.grid_size[0] * self.grid_size[1]
        self.features = build_cnn_features(config, data, self.grid_size, load_weights)
        self.proj = LevelConv(self.features, embed_dim)
        weights = self.features.network.state_dict() if load_weights else {}
        self._loaded = {name: tensor.clone() for name, tensor in weights.items()}

    def restore(self) -> None:
        """Give the CNN the weights back that it was built with, unless a run's own weights follow.

        timm initialises every linear layer of a transformer once it is put together, those of its patches included.
        """
        if self._loaded:
            self.features.network.load_state_dict(self._loaded)
        self._loaded = {}

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """Project feature maps (B, C_i, h_i, w_i) to patch tokens (B, h * w, D)."""
        patches: Tensor = self.proj(self.features, levels)
        return patches.flatten(2).transpose(1, 2)
