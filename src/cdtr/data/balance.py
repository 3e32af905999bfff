"""Classes of very different sizes: whether a training balances them, and the weights of the loss that do it.

``cdtr.data.sampler`` has the order of images that does it as well.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from cdtr.config import Config
from cdtr.errors import ConfigError
from cdtr.image_files.tar_members import in_tar
from cdtr.records import Sample
from cdtr.text import printable

UNEVEN_RATIO = 3.0  # images of the largest class to those of the smallest, above which ``auto`` balances


def settle_balance(
    config: Config, samples: Sequence[Sample], class_names: Sequence[str], say: Callable[[str], None]
) -> Config:
    """Decide ``train.balance: auto`` by the numbers of images of the classes.

    Args:
        config: The settings.
        samples: The images to train on.
        class_names: By label.
        say: Takes a line where classes are uneven and get balanced.

    Returns:
        The settings. Where the largest class has more than ``UNEVEN_RATIO`` times the images of the smallest, ``auto``
        has become ``sampling``, or ``weights`` for images in tar shards, whose order cannot be chosen. Else they are
        unchanged, and ``auto`` has no effect.

    Raises:
        ConfigError: ``sampling`` was asked for and the images are in tar shards.
    """
    asked, streamed = config.train.balance, in_tar(samples[0].path)
    if asked == "sampling" and streamed:
        raise ConfigError("train.balance sampling needs single files, and tar shards are read in a row: use weights")
    if asked != "auto" or not is_uneven(samples):
        return config
    chosen = "weights" if streamed else "sampling"
    (large, most), *_, (small, least) = Counter(sample.label for sample in samples).most_common()
    say(
        f"the classes are uneven ({printable(class_names[large])} has {most} training images, "
        f"{printable(class_names[small])} {least}): train.balance is {chosen}; set it to none to leave them as "
        "they are"
    )
    return config.updated(train={"balance": chosen})


def is_uneven(samples: Sequence[Sample]) -> bool:
    """Whether the largest class has more than ``UNEVEN_RATIO`` times the images of the smallest that has any."""
    counts = Counter(sample.label for sample in samples).values()
    return max(counts) > UNEVEN_RATIO * min(counts)


def class_weights(samples: Sequence[Sample], classes: int) -> Tensor:
    """Compute weights of the classes that give each the same part in the loss.

    Args:
        samples: The images to train on.
        classes: Number of classes C.

    Returns:
        (C,) float32, inverse to the class's number of images, with a mean of 1 over the images; 0 for a class without
        images.
    """
    counts = torch.bincount(torch.tensor([sample.label for sample in samples]), minlength=classes)
    present = int((counts > 0).sum())
    return torch.where(counts > 0, len(samples) / (present * counts.clamp(min=1)), 0.0)
