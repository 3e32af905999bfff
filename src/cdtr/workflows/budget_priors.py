"""What boxes bring to the choice of an object prior, measured on the priors' own maps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from cdtr.config import REFINED
from cdtr.data.empty_classes import empty_labels
from cdtr.errors import ConfigError
from cdtr.evaluation.few_boxes import BudgetPoint, SweptImages, score_draws, with_maps
from cdtr.runs import RunFolder
from cdtr.training.features import FITTED
from cdtr.training.priors import COMPARED, priors_of_images
from cdtr.training.sba_choice import fair_sample
from cdtr.workflows.budget_curves import RANDOM, Drawn, Rows
from cdtr.workflows.opening import fitted_samples
from cdtr.workflows.reporting import Reporter

Swept = dict[str, SweptImages]

_OF_SINGLE_IMAGES = {"border", "contrast", "rarity"}  # the priors that are not fitted


def check_priors(first: RunFolder) -> None:
    """Raise ConfigError for a run whose settings do not make the priors, before any work."""
    config = first.config()
    fitted = set(COMPARED) - _OF_SINGLE_IMAGES
    if config.method == REFINED or config.backbone.stem != "cnn" or config.ocm.prior not in fitted:
        raise ConfigError(
            f"`priors=True`: {first.path} does not learn from a prior that is fitted to the features of a frozen CNN: "
            "expected a run of the preset imagenet, leave it out"
        )


def prior_points(
    first: RunFolder, drawn: Drawn, sizes: Sequence[int], draws: int, reporter: Reporter
) -> list[BudgetPoint]:
    """Score the prior that boxes choose, at the threshold that they choose.

    Without boxes it is the recipe's own prior at its label-free threshold. The rule is that of ``compare_priors``: the
    recipe's own, unless the interval of another lies above its own.

    Args:
        first: The run, whose settings make the priors.
        drawn: The run's predictions.
        sizes: Numbers of images, increasing.
        draws: Number of draws.
        reporter: Takes notes.
    """
    own = first.config().ocm.prior
    to_draw, measured = _sweep(first, drawn, reporter)
    ids = drawn.measured.image_ids
    free = to_draw[own].label_free()
    base = measured[own].hits(free)
    point = score_draws("prior", RANDOM, 0, base[None], base, ids)
    points = [with_maps(point, [measured[own].best_rate()], [free])]
    for size in sizes:
        chosen = [_choose(to_draw, own, drawn.rows(draw, size)) for draw in range(draws)]
        thresholds = [to_draw[name].take(drawn.rows(draw, size)).choose() for draw, name in enumerate(chosen)]
        hits = [measured[name].hits(threshold) for name, threshold in zip(chosen, thresholds, strict=True)]
        found = score_draws("prior", RANDOM, size, np.stack(hits), base, ids)
        found = with_maps(found, [measured[name].best_rate() for name in chosen], thresholds)
        points.append(replace(found, chosen=dict(Counter(chosen))))
    return points


def _choose(swept: Swept, own: str, rows: Rows) -> str:
    """The prior that is chosen with the boxes of some rows."""
    some = {name: one.take(rows) for name, one in swept.items()}
    best = max(some, key=lambda name: some[name].best_rate())
    theirs, ours = some[best].best_rate_interval(), some[own].best_rate_interval()
    return best if theirs is not None and ours is not None and theirs[0] > ours[1] else own


def _sweep(first: RunFolder, drawn: Drawn, reporter: Reporter) -> tuple[Swept, Swept]:
    """By prior, the images to draw from and the measured ones with the boxes of its maps."""
    config, look = first.config(), drawn.look
    fitted = fair_sample(fitted_samples(first, look.source), FITTED, config.seed)
    empty = empty_labels(config.data.empty_classes, first.class_names(), str(first.path))
    every = [*drawn.predictions, *drawn.measured_predictions]
    samples = [one.sample for one in every]
    _, maps = priors_of_images(config, fitted, samples, len(look.source.class_names), reporter.note, None, empty)
    to_draw, measured, count = {}, {}, len(drawn.predictions)
    with reporter.progress("priors", len(maps)) as advance:
        for name, values in maps.items():
            pairs = zip(every, values.numpy(), strict=True)
            found = [replace(one, label_map=shown, predicted_map=shown, field=None) for one, shown in pairs]
            to_draw[name], measured[name] = look.sweep(found[:count]), look.sweep(found[count:])
            advance(1)
    return to_draw, measured
