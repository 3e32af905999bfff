"""Load the method of a run folder or a hub id, in PyTorch."""

from __future__ import annotations

import os
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from cdtr.config import for_inference
from cdtr.cores import threads_each
from cdtr.errors import ConfigError
from cdtr.runs import RunFolder
from cdtr.text import first_line

if TYPE_CHECKING:  # exported models run where PyTorch is not installed
    import torch

    from cdtr.data.pixels import View
    from cdtr.records import Method


def load_model(path_or_hub_id: str | PathLike[str], map_location: torch.device | str = "cpu") -> Method:
    """Load the trained method of a run.

    CLIP, which only training needs, is not loaded.

    Args:
        path_or_hub_id: a run, its folder, or a hub id ``owner/name``.
        map_location: the device that the method is put on.

    Returns:
        The module in evaluation mode; it returns ``ModelOutput`` for normalised images (B, 3, H, W).

    Raises:
        CheckpointError: the folder or its weights are missing or do not fit.

    Example:
        >>> model = cdtr.load_model("runs/neu")  # doctest: +SKIP
        >>> model(images).maps.shape  # doctest: +SKIP
        torch.Size([8, 6, 14, 14])
    """
    where = find_device(map_location)
    return load_method(find_run(path_or_hub_id), where)


def find_run(path_or_hub_id: str | PathLike[str]) -> RunFolder:
    """Return the run folder at a path, or that of a hub id, downloaded or from the cache."""
    from cdtr.hub import download_run, is_hub_id

    path_or_hub_id = os.fspath(path_or_hub_id)
    path = Path(path_or_hub_id)
    # A name beside an existing folder is a mistyped path, which should not wait for the network.
    may_be_hub_id = is_hub_id(path_or_hub_id) and not path.parent.is_dir()
    if path.exists() or not may_be_hub_id:
        return RunFolder(path).require_trained()
    return RunFolder(download_run(path_or_hub_id)).require_trained()


def find_device(device: torch.device | str | None) -> torch.device:
    """Return the device of a name; None takes CUDA where there is one.

    Raises:
        ConfigError: PyTorch is not installed, or there is no such device.
    """
    try:
        import torch
    except ImportError as error:
        raise ConfigError(
            "a run needs PyTorch, which is not installed: pip install torch torchvision, or give a file of "
            "`cdtr export RUN --onnx FILE`"
        ) from error

    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(device)
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(
            f"no device {str(device)!r} here ({first_line(error)}): use cpu, or cuda where there is one"
        ) from error
    return found


def share_cores(workers: int, device: torch.device) -> int:
    """Set PyTorch's threads, in the whole process, so that ``workers`` forward passes at a time share the cores.

    Returns:
        How many forward passes run at a time: one on a GPU.
    """
    import torch

    if device.type != "cpu" or workers == 1:
        return 1
    torch.set_num_threads(min(torch.get_num_threads(), threads_each(workers)))
    return workers


def as_seen(method: Method, view: View) -> Method:
    """Return the method for the pixels of a view: one that cuts tiles or adds the mirror image, where it says so."""
    from cdtr.localization.mirror import MirroredMethod
    from cdtr.localization.tiles import tiled

    if view.name == "mirrored":
        return MirroredMethod(method)
    return tiled(method, view.input_hw, view.size_hw)


def load_method(run: RunFolder, device: torch.device) -> Method:
    """Load the trained method of a run folder; see ``load_model``."""
    from cdtr.model.methods import build_method
    from cdtr.model.weights import check_fit, read_state_dict

    # Parts that only training needs are not built, so that runs from before a change of them can be read.
    config = for_inference(run.config())
    method = build_method(config, len(run.class_names()), sba=None, load_weights=False)
    state = read_state_dict(run.weights)
    check_fit(state, method, run.weights)
    method.load_state_dict(state, strict=False)
    return method.to(device).eval()
