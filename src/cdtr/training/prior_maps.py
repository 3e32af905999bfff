"""The check of prior maps before a training: by one process, for all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

from cdtr.config import Config, uses_prior_maps
from cdtr.data.prior_maps import PriorMaps
from cdtr.errors import CdtrError
from cdtr.records import Sample
from cdtr.training.log import Say

UNKNOWN = Config().data.prior_maps_taught_with


def check_prior_maps(
    accelerator: Accelerator, config: Config, fit: Sequence[Sample], say: Say
) -> dict[str, Any] | None:
    """Read every map of ``data.prior_maps`` once in the main process, so that no bad one stops a training midway.

    Args:
        accelerator: the processes.
        config: the settings, with every switch set.
        fit: the images to train on; others need no map.
        say: takes a line about the maps.

    Returns:
        What the manifest notes of the maps; None where the settings use none.

    Raises:
        DataError: a map is missing or cannot be used; in every process.
    """
    if not uses_prior_maps(config):
        if config.data.prior_maps is not None:
            say("data.prior_maps is not used: set ocm.prior=maps, or guide.attention=maps for a method without OCM")
        return None
    verdict: list[Any] = [None]
    if accelerator.is_main_process:
        try:
            verdict = [_check(config, fit, say)]
        except CdtrError as error:
            verdict = [error]
    (found,) = broadcast_object_list(verdict)
    if isinstance(found, CdtrError):
        raise found
    noted: dict[str, Any] = found
    return noted


def _check(config: Config, fit: Sequence[Sample], say: Say) -> dict[str, Any]:
    maps = PriorMaps.of(config, fit)
    assert maps is not None  # as the settings use maps
    checked, words = maps.check(), config.data.prior_maps_taught_with
    hint = ": set data.prior_maps_taught_with, the recipe's label says it" if words == UNKNOWN else ""
    say(f"prior maps: {checked.images} of {checked.folder}, taught with: {words}{hint}")
    if checked.constant:
        say(
            f"{len(checked.constant)} of {checked.images} prior maps are constant, such as that of "
            f"{checked.constant[0]}: these images teach nothing about places"
        )
    return {**asdict(checked), "constant": len(checked.constant), "taught_with": words}
