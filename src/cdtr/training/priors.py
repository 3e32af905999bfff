"""Object priors of some images, side by side, before any training."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from cdtr.config import OF_CNN, Config, Prior
from cdtr.data.batches import OnBroken
from cdtr.data.loader import eval_loader
from cdtr.errors import ConfigError
from cdtr.model.cnn import CnnFeatures
from cdtr.model.guide import Guide
from cdtr.model.maps import standardised
from cdtr.model.methods import build_method
from cdtr.records import Sample
from cdtr.training.accelerator import make_accelerator
from cdtr.training.feature_store import FeatureStore, in_small_batches
from cdtr.training.features import can_cache, fit_to_features, raw_levels
from cdtr.training.log import Say

COMPARED = ("by_class", "shared", "border", "contrast", "rarity")


def priors_of_images(
    config: Config,
    fitted: Sequence[Sample],
    shown: Sequence[Sample],
    classes: int,
    say: Say,
    on_broken: OnBroken | None = None,
    empty: Sequence[int] = (),
) -> tuple[list[Sample], dict[str, Tensor]]:
    """Compute every prior of some images with the frozen CNN of a configuration.

    The features are kept on disk where the settings allow it, so that a training on the same images finds them.

    Args:
        config: The settings; the guide must take the CNN's features and the prior ``shared`` or ``by_class``.
        fitted: Training images that these two are fitted to, at most 600 of them.
        shown: The images whose priors are wanted.
        classes: Number of classes.
        say: Takes lines.
        on_broken: Takes images that cannot be decoded, each as often as it is read.
        empty: Labels of classes without an object, whose images teach as in training.

    Returns:
        The images that could be read, N of them, and by prior its maps (N, h, w), each the mean over the image and its
        mirror image, of mean 0 and variance 1.

    Raises:
        ConfigError: The settings have no such guide.
        DataError: No image can be read.
    """
    accelerator = make_accelerator("no")
    method = build_method(config, classes)
    cnn, guide = getattr(method, "cnn", None), getattr(method, "guide", None)
    if not isinstance(cnn, CnnFeatures) or not isinstance(guide, Guide) or guide.direction is None:
        raise ConfigError(
            "priors are compared on the features of a frozen CNN: expected backbone.stem cnn, guide.features backbone "
            "and ocm.prior shared or by_class, as in the preset imagenet"
        )
    guides: dict[str, Guide] = {name: _sibling(guide, name, classes, config, cnn) for name in OF_CNN}
    guides[str(guide.prior)] = guide
    method.to(accelerator.device).eval()
    store = None
    if can_cache(config, fitted):
        store = FeatureStore(cnn, config.data)
        unique = {sample.image_id: sample for sample in (*fitted, *shown)}
        store.fill(list(unique.values()), config, accelerator, say, on_broken)
    fit_to_features(cnn, list(guides.values()), fitted, config, store, say, on_broken, empty)
    read: list[Sample] = []
    maps: dict[str, list[Tensor]] = {name: [] for name in COMPARED}
    with torch.no_grad():
        for batch in eval_loader(shown, in_small_batches(config), on_broken=on_broken):
            images = batch.images.to(accelerator.device)
            read += batch.samples
            labels = batch.labels.to(accelerator.device)
            found: dict[str, Tensor] = {}
            for flipped in (False, True):
                view = images.flip(-1) if flipped else images
                features = cnn(view, raw_levels(cnn, store, batch, flipped))
                for name in COMPARED:
                    maker = guides.get(name, guide)
                    every = maker.prior_maps(name, view, features)
                    seen = standardised(every if every.dim() == 3 else every[range(len(labels)), labels])
                    found[name] = found.get(name, 0) + (seen.flip(-1) if flipped else seen)
            for name, both in found.items():
                maps[name].append(standardised(both).cpu())
    return read, {name: torch.cat(parts) for name, parts in maps.items()}


def _sibling(guide: Guide, prior: Prior, classes: int, config: Config, cnn: CnnFeatures) -> Guide:
    """A guide on the same features with another prior."""
    padding = config.maps.padding
    return Guide(classes, guide.grid_hw, 1, config.guide, padding, prior, cnn)  # patches are those of the features
