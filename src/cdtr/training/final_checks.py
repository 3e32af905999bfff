"""What the held-out images say at the end of a training: a line for each thing that went wrong, and what to do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from cdtr.config import Config
from cdtr.metrics.recall import ClassCounts
from cdtr.text import printable
from cdtr.training.held_out import HeldOut

_NAMED = 3  # classes that a line names
_FEWEST_IMAGES = 10  # held out, for a line on the largest class


def final_lines(held_out: HeldOut, class_names: Sequence[str], config: Config) -> Iterator[str]:
    """Say what is wrong with a trained classifier and its attention.

    Args:
        held_out: Measured on the held-out images.
        class_names: By label.
        config: The settings of the training.

    Yields:
        A line where the classifier knows no more than the largest class, where a class is never predicted, and where
        the attention is inverted; nothing where all is well, or where no image was held out.
    """
    counts = held_out.counts
    if not counts.images:
        return
    balance = "" if config.train.balance in {"sampling", "weights"} or _even(counts) else "train.balance: sampling"
    if counts.images >= _FEWEST_IMAGES and counts.knows_no_more_than_largest:
        low, high = counts.largest_share_interval
        yield (
            f"warning: the classifier knows no more than the largest class: held-out Top-1 Cls {counts.top1_cls:.1f}, "
            f"and {printable(class_names[counts.largest])} alone is {counts.largest_share:.1f}% of the "
            f"{counts.images} images (95% interval {low:.1f} to {high:.1f}); mean recall {counts.mean_recall:.1f}, "
            f"chance {counts.chance_recall[0]:.1f}. Next: train with "
            + (balance or f"more epochs (train.epochs: {2 * config.train.epochs})")
            + ", or from a pretrained start (docs/pretraining.md)"
        )
    missed = counts.never_predicted
    if missed:
        names = ", ".join(printable(class_names[label]) for label in missed[:_NAMED])
        more = f" and {len(missed) - _NAMED} more" if len(missed) > _NAMED else ""
        images = int(counts.labels[missed].sum())
        yield (
            f"warning: never predicted, for none of {counts.images} held-out images: {names}{more} ({images} images). "
            "Next: look for wrong labels and near copies with `cdtr data check DATA`, then train with "
            + (f"{balance} or " if balance else "")
            + "more images of them"
        )
    likeness = held_out.attention_over_classes
    if likeness < 0:
        yield (
            f"warning: the attention is inverted at the end (correlation with the label's class map {likeness:.2f}, "
            "mean over classes): boxes may lie around the objects. Next: look at the overlays of "
            "`cdtr localize`, then train with "
            + ("another ocm.prior" if config.guide.enabled else "the preset small, which has a guide and a prior")
            + " (docs/training.md)"
        )


def _even(counts: ClassCounts) -> bool:
    present = counts.labels[counts.labels > 0]
    return int(np.max(present)) < 2 * int(np.min(present))
