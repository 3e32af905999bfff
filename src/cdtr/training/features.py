"""Before the first step with a frozen CNN: its features are kept, and what does not learn is fitted to them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor

from cdtr.config import REFINED, Config
from cdtr.data.batches import OnBroken
from cdtr.data.loader import eval_loader
from cdtr.errors import DataError
from cdtr.image_files.tar_members import in_tar
from cdtr.model.class_prior import class_directions
from cdtr.model.cnn import CnnFeatures, LevelConv, fine_features
from cdtr.model.guide import Guide
from cdtr.model.linear_probe import fit_probe
from cdtr.model.priors import border, contrast
from cdtr.model.shared_prior import shared_direction
from cdtr.records import Batch, Method, Sample
from cdtr.training.feature_store import FeatureStore, in_small_batches
from cdtr.training.log import Say
from cdtr.training.prepare import Prepared
from cdtr.training.sba_choice import fair_sample
from cdtr.training.state import restore_weights

FITTED = 600  # images that the statistics and the shared prior are fitted to
_CLASSIFIED = 10_000  # images that the classifier is fitted to
_COARSEST = 16  # largest stride of the features that the shared prior looks at: larger ones blur the boxes


def can_cache(config: Config, samples: Sequence[Sample]) -> bool:
    """Whether training sees each image in views whose features can be kept: whole, and mirrored."""
    return config.backbone.stem == "cnn" and config.backbone.cnn.frozen and sees_whole_images(config, samples)


def sees_whole_images(config: Config, samples: Sequence[Sample]) -> bool:
    """Whether features may be kept, and training sees nothing but whole images and mirrored ones."""
    views = config.backbone.cnn.cache and config.data.augment in {"none", "flip"}
    return views and not (samples and in_tar(samples[0].path))


def needs_pixels(config: Config) -> bool:
    """Whether a training step looks at the images or at maps beside them, and not at their features alone."""
    guide, priors = config.guide, {config.ocm.prior, config.guide.attention}
    of_guide = guide.enabled and (guide.features == "own" or bool(priors & {"contrast", "maps"}))
    return bool(config.sba.enabled) or config.method == REFINED or of_guide


def prepare_features(
    accelerator: Accelerator, method: Method, prepared: Prepared, new: bool, say: Say
) -> FeatureStore | None:
    """Compute the features of a method's frozen CNN, and fit to them what is fixed before the first step.

    Args:
        accelerator: The processes of the training.
        method: As it was built, on no device yet.
        prepared: Images and settings.
        new: Whether the training begins; one that goes on has what was fitted in its saved state.
        say: Takes lines for the log.

    Returns:
        The features to train on; None if the method has no frozen CNN, or its features change with every view.
    """
    cnn = getattr(method, "cnn", None)
    if not isinstance(cnn, CnnFeatures) or not cnn.frozen:
        return None
    if not new:
        restore_weights(prepared.run, method)  # those of the CNN decide which features are found
    new = new and prepared.config.method != REFINED  # whose first run was fitted
    if not new:
        cnn.settle()
    method.to(accelerator.device)
    store = None
    if can_cache(prepared.config, prepared.fit):
        store = FeatureStore(cnn, prepared.config.data)
        store.fill([*prepared.fit, *prepared.held_out], prepared.config, accelerator, say, prepared.on_broken)
        prepared.on_broken.known.update(store.broken)  # other processes have warned of theirs
    if new:
        guide, probe = getattr(method, "guide", None), getattr(method, "probe", None)
        taught, warn = [guide] if isinstance(guide, Guide) else [], prepared.on_broken
        fit_to_features(cnn, taught, prepared.fit, prepared.config, store, say, warn, prepared.empty)
        if isinstance(probe, LevelConv):
            fit_classifier(cnn, probe, prepared.fit, prepared.config, store, say, warn)
    return store


def fit_to_features(
    cnn: CnnFeatures,
    guides: Sequence[Guide],
    samples: Sequence[Sample],
    config: Config,
    store: FeatureStore | None,
    say: Say,
    on_broken: OnBroken | None = None,
    empty: Sequence[int] = (),
) -> None:
    """Fit the normalisation of a frozen CNN's features, and the priors ``shared`` and ``by_class`` of guides.

    At most 600 images are looked at, chosen by the seed with equal classes as far as possible.

    Args:
        cnn: The features; their normalisation is settled here.
        guides: Each gets the direction of its prior, if that is one.
        samples: The training images.
        config: The settings of the training.
        store: Where the features of the images are kept; None computes them.
        say: Takes a line for the log.
        on_broken: Takes images that cannot be decoded.
        empty: Labels of classes without an object: what objects have in common is fitted without their images, which
            ``by_class`` tells from those of the other classes.
    """
    chosen = fair_sample(samples, FITTED, config.seed)
    directed = [guide for guide in guides if guide.direction is not None]
    fine = fine_features(cnn, config.data) if directed else None
    device = next(cnn.network.parameters()).device
    coarsest = sum(stride <= _COARSEST for stride in cnn.reductions) or 1
    sums = [torch.zeros(2, count, dtype=torch.float64, device=device) for count in cnn.channels]
    joined: tuple[list[Tensor], list[Tensor]] = ([], [])
    targets: list[Tensor] = []
    labels: list[Tensor] = []
    seen = 0
    with torch.no_grad():
        for batch in image_batches(chosen, config, store if fine is None else None, on_broken):
            images = batch.images.to(device)
            seen += len(images)
            without = torch.isin(batch.labels, torch.tensor(empty, dtype=torch.int64))
            labels.append(batch.labels.masked_fill(without, -1).to(device))
            for mirrored in (False, True) if directed else (False,):
                levels = raw_levels(cnn, store, batch, mirrored)
                joined[mirrored].append(cnn.join(levels[:coarsest]).half())
                if not mirrored:
                    for total, level in zip(sums, levels, strict=True):
                        cells = level.double().transpose(0, 1).flatten(1)
                        total += torch.stack([cells.mean(dim=1), cells.square().mean(dim=1)]) * len(images)
            if fine is not None:
                targets.append(_targets(fine, images, cnn.grid_hw))
    if not seen:
        raise DataError(f"none of the {len(chosen)} training images can be read: replace or delete the files")
    means = [total[0] / seen for total in sums]
    variances = [(total[1] / seen - mean.square()).clamp_min(1e-8) for total, mean in zip(sums, means, strict=True)]
    cnn.settle([mean.float() for mean in means], [variance.float() for variance in variances])
    if not directed:
        return
    of_images = torch.cat(labels)
    present = of_images >= 0
    fitted = int(present.sum())
    if not fitted:
        raise DataError("no training image has an object: leave a class with images out of data.empty_classes")
    shares = torch.cat([torch.full_like(mean, share) for mean, share in zip(means, cnn.shares(), strict=True)])
    channels = joined[0][0].shape[1]
    weights = (shares / (torch.cat(variances) + cnn.eps).sqrt())[:channels].float()[:, None, None]
    middle = torch.cat(means)[:channels].float()[:, None, None]
    for parts in joined:
        for part in parts:
            part.copy_((part.float() - middle) * weights)
    features, flipped, simple = torch.cat(joined[0]), torch.cat(joined[1]), torch.cat(targets).unbind(1)
    for guide in directed:
        assert guide.direction is not None
        if guide.prior == "shared":
            found = shared_direction(features[present], flipped[present], [target[present] for target in simple])
            say(f"prior shared: a direction in {channels} features of {fitted} images")
        else:
            of_classes = class_directions(features, flipped, simple, of_images, len(guide.direction))
            found = of_classes.directions
            say(
                f"prior by_class: a direction for each class in {channels} features of {fitted} images; "
                f"single places tell the classes apart by {of_classes.told_apart:.0%} (0% is chance)"
            )
        guide.direction.zero_()
        guide.direction[..., :channels] = found * shares[:channels].float()


def fit_classifier(
    cnn: CnnFeatures,
    probe: LevelConv,
    samples: Sequence[Sample],
    config: Config,
    store: FeatureStore | None,
    say: Say,
    on_broken: OnBroken | None = None,
) -> None:
    """Fit a linear classifier to the pooled features of the images and of the mirrored images.

    Args:
        cnn: The features, with settled normalisation.
        probe: Gets the weights.
        samples: The training images, of which at most 10,000 are looked at.
        config: The settings of the training.
        store: Where the features of the images are kept; None computes them.
        say: Takes a line for the log.
        on_broken: Takes images that cannot be decoded.
    """
    chosen = fair_sample(samples, _CLASSIFIED, config.seed)
    device = next(cnn.network.parameters()).device
    rows, labels = [], []
    with torch.no_grad():
        for batch in image_batches(chosen, config, store, on_broken):
            for mirrored in (False, True):
                levels = cnn(batch.images, raw_levels(cnn, store, batch, mirrored))
                pooled = [cnn.resample(number, level).mean(dim=(2, 3)) for number, level in enumerate(levels)]
                rows.append(torch.cat(pooled, dim=1))
                labels.append(batch.labels.to(device))
    weights, biases = fit_probe(torch.cat(rows), torch.cat(labels), probe.width)
    probe.set_weights(weights, biases)
    say(f"classifier: fitted to the pooled features of {len(chosen)} images")


def image_batches(
    samples: Sequence[Sample], config: Config, store: FeatureStore | None, on_broken: OnBroken | None
) -> Iterator[Batch]:
    """Batches of the images that can be read; without pixels where ``store`` keeps their features."""
    config = in_small_batches(config)
    if store is None:
        yield from eval_loader(samples, config, on_broken=on_broken)
        return
    size = config.evaluation.batch_size
    for start in range(0, len(samples), size):
        part = [sample for sample in samples[start : start + size] if sample.image_id not in store.broken]
        if part:
            labels = torch.tensor([sample.label for sample in part], dtype=torch.int64)
            yield Batch(torch.empty(len(part), 3, 0, 0), labels, tuple(part), ((0, 0),) * len(part))


def raw_levels(cnn: CnnFeatures, store: FeatureStore | None, batch: Batch, mirrored: bool) -> list[Tensor]:
    """The feature maps of the images of a batch, or of their mirror images, as they are kept or else computed."""
    device = next(cnn.network.parameters()).device
    if store is not None:
        return store.levels(batch.samples, [mirrored] * len(batch.samples), device)
    images = batch.images.to(device)
    return cnn.levels(images.flip(-1) if mirrored else images)


def _targets(fine: Sequence[CnnFeatures], images: Tensor, grid_hw: tuple[int, int]) -> Tensor:
    """The priors (B, T, h, w) that teach the shared one."""
    found = [contrast(F.adaptive_avg_pool2d(images, grid_hw))]
    for features in fine:
        joined = features.join(features.levels(images))
        centred = joined - joined.mean(dim=(0, 2, 3), keepdim=True)
        scaled = centred / joined.std(dim=(0, 2, 3), keepdim=True).clamp_min(1e-6)
        found.append(border(F.adaptive_avg_pool2d(scaled, grid_hw)))
    return torch.stack(found, dim=1)
