"""Before the first step of a method on a CNN: data is checked, a frozen CNN's features are kept, DDT is fitted."""

from __future__ import annotations

import torch
from accelerate import Accelerator

from cdtr.data.batches import OnBroken
from cdtr.model.cnn_method import CnnMethod
from cdtr.model.ddt_fit import Descriptors
from cdtr.model.methods.ddt import Ddt
from cdtr.records import Method
from cdtr.training.feature_store import FeatureStore
from cdtr.training.features import image_batches, prepare_features, sees_whole_images
from cdtr.training.log import Say
from cdtr.training.prepare import Prepared
from cdtr.training.state import restore_weights


def prepare_method(
    accelerator: Accelerator, method: Method, prepared: Prepared, classes: int, new: bool, say: Say
) -> FeatureStore | None:
    """Compute what does not change in training; of a method on a CNN check the data first.

    Args:
        accelerator: The processes of the training.
        method: As it was built, on no device yet.
        prepared: Images and settings.
        classes: Number of classes of the data.
        new: Whether the training begins; one that goes on has what was fitted in its saved state.
        say: Takes lines for the log.

    Returns:
        The features to train on; None if the CNN learns, or sees another image in every step.

    Raises:
        ConfigError: The method cannot learn from the data.
    """
    if not isinstance(method, CnnMethod):
        return prepare_features(accelerator, method, prepared, new, say)
    labels = torch.tensor([sample.label for sample in prepared.fit], dtype=torch.int64)
    method.check_training(torch.bincount(labels, minlength=classes).tolist(), prepared.config)
    if not method.backbone.frozen:
        return None
    if not new:
        restore_weights(prepared.run, method)  # those of the CNN decide which features are found
    method.to(accelerator.device)
    store = None
    if method.keeps_features and sees_whole_images(prepared.config, prepared.fit):
        store = FeatureStore(method.backbone, prepared.config.data)
        store.fill([*prepared.fit, *prepared.held_out], prepared.config, accelerator, say, prepared.on_broken)
        prepared.on_broken.known.update(store.broken)  # other processes have warned of theirs
    if new and isinstance(method, Ddt):
        fit_ddt(method, prepared, classes, store, say, prepared.on_broken)
    return store


@torch.no_grad()
def fit_ddt(
    method: Ddt, prepared: Prepared, classes: int, store: FeatureStore | None, say: Say, on_broken: OnBroken | None
) -> None:
    """Fit the directions of DDT to all training images, class by class."""
    backbone, device = method.backbone.eval(), method.directions.device

    def sums_of(label: int) -> Descriptors:
        own = [sample for sample in prepared.fit if sample.label == label]
        sums = Descriptors.empty(backbone.dim, device)
        for batch in image_batches(own, prepared.config, store, on_broken):
            images, whole = batch.images.to(device), [False] * len(batch.samples)
            known = backbone.levels(images) if store is None else store.levels(batch.samples, whole, device)
            sums.add_images(backbone(images, known)[-1])
        return sums

    own_directions = method.set_directions(map(sums_of, range(classes)))
    say(f"ddt: {own_directions} of {classes} classes have a direction of their own, the others that of all images")
