"""A run or a hub id as a PyTorch module, and as what a localizer runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cdtr.config import Config, ViewName, for_inference
from cdtr.cores import threads_each
from cdtr.errors import ConfigError
from cdtr.localization.finder import BoxFinder
from cdtr.runs import RunFolder

if TYPE_CHECKING:  # exported models run where PyTorch is not installed
    import torch

    from cdtr.data.pixels import View
    from cdtr.localization.predictor import Predictor
    from cdtr.records import Method


def load_model(path_or_hub_id: str | Path, map_location: torch.device | str = "cpu") -> Method:
    """The trained method of a run folder or a hub id ``owner/name``, in eval mode, on the device ``map_location``.

    The module answers ``ModelOutput`` to normalised images (B, 3, H, W). CLIP, which only training needs, is not
    loaded. Raises CheckpointError for a folder or weights that are missing or do not fit.
    """
    where = find_device(map_location)
    return load_method(find_run(path_or_hub_id), where)


def find_run(path_or_hub_id: str | Path) -> RunFolder:
    """The run folder at a path, or a hub id's files, downloaded or from the cache."""
    from cdtr.hub import download_run, is_hub_id

    path = Path(path_or_hub_id)
    # A name beside an existing folder is a mistyped path, which should not wait for the network.
    may_be_hub_id = is_hub_id(str(path_or_hub_id)) and not path.parent.is_dir()
    if path.exists() or not may_be_hub_id:
        return RunFolder(path).require_trained()
    return RunFolder(download_run(str(path_or_hub_id))).require_trained()


def find_device(device: torch.device | str | None) -> torch.device:
    """The device of that name; None takes CUDA where there is one. ConfigError for one that cannot be had."""
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
        reason = str(error).splitlines()[0]
        raise ConfigError(f"no device {str(device)!r} here ({reason}): use cpu, or cuda where there is one") from error
    return found


def share_cores(workers: int, device: torch.device) -> int:
    """Set PyTorch's threads, in the whole process, so that ``workers`` forward passes at a time share the cores.

    Answers how many there will be: a GPU does one at a time.
    """
    import torch

    if device.type != "cpu" or workers == 1:
        return 1
    torch.set_num_threads(min(torch.get_num_threads(), threads_each(workers)))
    return workers


def as_seen(method: Method, view: View) -> Method:
    """The method for the pixels of a view: one that stitches tiles, where the view asks for them."""
    from cdtr.localization.tiles import tiled

    return tiled(method, view.input_hw, view.size_hw)


def load_method(run: RunFolder, device: torch.device) -> Method:
    """See ``load_model``."""
    from cdtr.model.methods import build_method
    from cdtr.model.weights import check_fit, read_state_dict

    # Parts that only training needs are not built, so that runs from before a change of them can be read.
    config = for_inference(run.config())
    method = build_method(config, len(run.class_names()), sba=None, load_weights=False)
    state = read_state_dict(run.weights)
    check_fit(state, method, run.weights)
    method.load_state_dict(state, strict=False)
    return method.to(device).eval()


@dataclass(frozen=True, slots=True)
class MethodEngine:
    """A method in PyTorch, as a localizer runs it.

    run: the folder it was loaded from, if any. half: in 16 bits. workers: forward passes at a time. view: what the
    network sees of an image.
    """

    method: Method
    config: Config
    class_names: tuple[str, ...]
    device: torch.device
    run: RunFolder | None = None
    half: bool = False
    workers: int = 1
    view: ViewName = "whole"

    @property
    def max_pixels(self) -> int:
        return self.config.data.max_pixels

    @property
    def batch_size(self) -> int:
        return self.config.evaluation.batch_size

    def predictor(self, finder: BoxFinder) -> Predictor:
        from cdtr.data.transforms import EvalTransform
        from cdtr.localization.predictor import Predictor

        transform = EvalTransform(self.config.data, self.view)
        method = as_seen(self.method, transform.view)
        return Predictor(method, transform, finder, self.device, self.half, transform.view.field)
