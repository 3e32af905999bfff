"""The method of a run as a localizer runs it: with the run's transform, view and settings."""

from __future__ import annotations

import torch

from cdtr.api.models import as_seen
from cdtr.config import Config, ViewName
from cdtr.data.transforms import EvalTransform
from cdtr.localization.torch_model import TorchModel
from cdtr.records import Method
from cdtr.runs import RunFolder


class RunModel(TorchModel):
    """A ``TorchModel`` built of a run's method and settings.

    Args:
        method: the run's method; ``network`` is this method, or the one that stitches its tiles.
        config: the run's settings.
        class_names: the classes in the order of the logits.
        device: where the method runs.
        run: the folder that it was loaded from, if any.
        half: compute in 16 bits.
        workers: forward passes that run at a time.
        view: what the network sees of an image.
    """

    def __init__(
        self,
        method: Method,
        config: Config,
        class_names: tuple[str, ...],
        device: torch.device,
        run: RunFolder | None = None,
        *,
        half: bool = False,
        workers: int = 1,
        view: ViewName = "whole",
    ) -> None:
        self.method, self.config, self.run, self.view = method, config, run, view
        transform = EvalTransform(config.data, view)
        super().__init__(
            as_seen(method, transform.view),
            transform,
            class_names,
            device,
            half=half,
            field=transform.view.field,
            max_pixels=config.data.max_pixels,
            batch_size=config.evaluation.batch_size,
            workers=workers,
        )
