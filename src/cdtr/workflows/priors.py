"""Compare the object priors on a user's own images before any training, and choose one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cdtr.config import Config, load_config
from cdtr.data.empty_classes import empty_labels
from cdtr.data.opening import open_data
from cdtr.data.split import training_samples
from cdtr.errors import ConfigError, DataError
from cdtr.evaluation import Tally, find_protocol, tally_predictions
from cdtr.evaluation.forward import ImagePrediction
from cdtr.files import write_atomic
from cdtr.image_files.reading import check_images, read_size
from cdtr.localization.maps import normalise_maps
from cdtr.model.maps import correlation
from cdtr.records import Annotation, DataSource, FloatArray, Sample
from cdtr.reports.notebook import html_table
from cdtr.reports.priors_sheet import PriorScore
from cdtr.training.features import FITTED
from cdtr.training.priors import COMPARED, priors_of_images
from cdtr.training.sba_choice import fair_sample
from cdtr.workflows.reporting import SILENT, Reporter, warn_of_left_out

PRESET = "imagenet"  # whose frozen CNN the priors are computed with
_MOST_BOXED = 500  # images with boxes that are measured
_METRIC = "max_box_acc"
_CLEARLY_MORE = 0.1  # of a correlation


@dataclass(frozen=True, slots=True)
class PriorComparison:
    """The priors of some images.

    Attributes:
        source: the data set.
        config: the settings that the priors were computed with.
        scores: by name of the prior, the best first.
        samples: the images to show.
        maps: (n, h, w) in [0, 1] by prior, of the images to show.
        annotations: true boxes of the images to show, None each without boxes.
        boxed: the number of images with boxes that were measured.
        compared: the number of images that the agreement was measured on.
    """

    source: DataSource
    config: Config
    scores: Mapping[str, PriorScore]
    samples: Sequence[Sample]
    maps: Mapping[str, FloatArray]
    annotations: Sequence[Annotation | None]
    boxed: int
    compared: int

    @property
    def chosen(self) -> str:
        """The recipe's own prior, unless another is clearly better.

        Better is: with boxes, that its interval lies above that of the recipe's own; without, that it agrees with the
        others by 0.1 more.
        """
        best = next(iter(self.scores))
        own = self.own
        return best if own is None or self._is_clearly_better(best, own) else own

    @property
    def own(self) -> str | None:
        """The prior of the configuration; None if it is not among those compared."""
        return self.config.ocm.prior if self.config.ocm.prior in self.scores else None

    @property
    def reason(self) -> str:
        """Why that one, in a line."""
        others = [name for name in self.scores if name != self.chosen]
        beaten = [name for name in others if self._is_clearly_better(self.chosen, name)]
        why = "the recipe's own prior" if self.chosen == self.own else "not the recipe's own prior"
        if not self.boxed:
            more = f", which agrees clearly more with the others than {', '.join(beaten)}" if beaten else ""
            return f"{self.chosen}: {why}{more}; agreement is a hint, a few boxes (`boxes=`) measure priors"
        told = f", which finds clearly more objects than {', '.join(beaten)}" if beaten else ""
        unclear = [name for name in others if name not in beaten]
        rest = f"; {self.boxed} boxed images do not tell it from {', '.join(unclear)}" if unclear else ""
        return f"{self.chosen}: {why}{told}{rest}"

    def to_json(self) -> dict[str, Any]:
        """Convert to plain values."""
        return {
            "chosen": self.chosen,
            "boxed_images": self.boxed,
            "compared_images": self.compared,
            "priors": {
                name: {"agreement": one.agreement, _METRIC: one.found, "interval": one.interval}
                for name, one in self.scores.items()
            },
        }

    def _is_clearly_better(self, name: str, other: str) -> bool:
        one, two = self.scores[name], self.scores[other]
        if not self.boxed:
            return one.agreement > two.agreement + _CLEARLY_MORE
        return one.interval is not None and two.interval is not None and one.interval[0] > two.interval[1]

    def _repr_html_(self) -> str:
        rows = [
            (name, f"{one.agreement:.2f}", "-" if one.found is None else f"{one.found:.1f}")
            for name, one in self.scores.items()
        ]
        return html_table("object priors", ["prior", "agreement", "objects found (%)"], rows)


def compare_priors(
    data: str | Path,
    config: str | Path | Config | None = None,
    *,
    overrides: Sequence[str] = (),
    boxes: str | None = None,
    images: int = 16,
    reporter: Reporter = SILENT,
) -> PriorComparison:
    """Compute the object priors of training images, say how far they agree, and measure them where boxes are at hand.

    Args:
        data: a folder with one folder of images a class, or the root of a data set.
        config: a preset, a YAML file or a configuration with a frozen CNN; None takes the preset ``imagenet``.
        overrides: settings over it.
        boxes: a file or folder of a few boxes of training images; without it no box is looked at.
        images: how many images to show.
        reporter: takes notes and progress.

    Returns:
        The comparison; ``chosen`` is the prior to train with.

    Raises:
        ConfigError: a setting is wrong, or has no frozen CNN.
        DataError: the data set cannot be read, or no training image has a box in ``boxes``.

    Example:
        ``cdtr.compare_priors("photos").chosen``
    """
    if images < 1:
        raise ConfigError(f"`images={images}`: expected at least one image to show")
    changes = {} if boxes is None else {"data": {"boxes": boxes}}
    if isinstance(config, Config):
        settings = load_config(None, overrides, config.updated(**changes).model_dump(mode="json"))
    else:
        settings = load_config(config or PRESET, overrides, changes)
    source = open_data(Path(data), settings.data, reporter.note)
    samples, broken = check_images(training_samples(source), settings.data.max_pixels)
    on_broken = warn_of_left_out(reporter)
    for sample, reason in broken:
        on_broken(sample, reason)
    if not samples:
        raise DataError(f"no training image of {source.root} can be read")
    fitted = fair_sample(samples, FITTED, settings.seed)
    boxed = [] if boxes is None else _with_boxes(source, samples)
    if boxes is not None and not boxed:
        raise DataError(f"no training image of {source.root} has a box in {boxes}: expected boxes of these images")
    shown = fair_sample(boxed or fitted, images, settings.seed)
    wanted = {sample.image_id: sample for sample in (*shown, *boxed, *fitted)}
    empty = empty_labels(settings.data.empty_classes, source.class_names, str(source.root))
    read, maps = priors_of_images(
        settings, fitted, list(wanted.values()), len(source.class_names), reporter.note, on_broken, empty
    )
    place = {sample.image_id: number for number, sample in enumerate(read)}
    of_shown = [sample for sample in shown if sample.image_id in place]
    rows = [place[sample.image_id] for sample in of_shown]
    scores = {name: PriorScore(_agreement(name, maps)) for name in COMPARED}
    if boxed:
        scores = {
            name: _measured(one, maps[name].numpy(), place, boxed, settings, source) for name, one in scores.items()
        }
    ranked = sorted(scores, key=lambda name: -(scores[name].found or 0) if boxed else -scores[name].agreement)
    return PriorComparison(
        source=source,
        config=settings,
        scores={name: scores[name] for name in ranked},
        samples=of_shown,
        maps={name: normalise_maps(maps[name][rows].numpy()) for name in ranked},
        annotations=[source.annotate(sample) if boxed else None for sample in of_shown],
        boxed=len(boxed),
        compared=len(read),
    )


def write_prior_config(found: PriorComparison, path: str | Path) -> str:
    """Write a configuration that trains with the chosen prior.

    Args:
        found: the comparison.
        path: the YAML file to write.

    Returns:
        A line that says so.
    """
    file = Path(path)
    how = f"chosen with {found.boxed} boxed images" if found.boxed else "chosen without boxes"
    first = f"# cdtr priors, {how}: {found.chosen}"
    config = found.config.updated(data={"boxes": "auto"}) if found.boxed else found.config
    if config == load_config(PRESET):
        lines = [f"extends: {PRESET}", f"recipe: {_recipe(found)}", f"ocm: {{prior: {found.chosen}}}"]
    else:  # other settings were given, which training needs too
        lines = [config.updated(recipe=_recipe(found), ocm={"prior": found.chosen}).to_yaml().rstrip()]
    write_atomic(file, "\n".join([first, *lines]) + "\n")
    return f"wrote {file}"


def _recipe(found: PriorComparison) -> str:
    """A name that says what the prior was chosen with: boxes are more than the paper's supervision."""
    name = found.config.recipe
    return f"{name} with a prior by {found.boxed} boxed images" if found.boxed else name


def _with_boxes(source: DataSource, samples: Sequence[Sample]) -> list[Sample]:
    found: list[Sample] = []
    for sample in samples:
        annotation = source.annotate(sample)
        if annotation is not None and len(annotation.boxes_xyxy):
            found.append(sample)
        if len(found) == _MOST_BOXED:
            break
    return found


def _agreement(name: str, maps: Mapping[str, torch.Tensor]) -> float:
    others = [float(correlation(maps[name], maps[other]).mean()) for other in maps if other != name]
    return float(np.mean(others))


def _measured(
    score: PriorScore,
    maps: FloatArray,
    place: Mapping[str, int],
    boxed: Sequence[Sample],
    config: Config,
    source: DataSource,
) -> PriorScore:
    """Add the share of objects that a prior finds, at the threshold that is best for it."""
    tally = Tally(find_protocol(config.evaluation.protocol), None)
    predictions = (
        ImagePrediction(
            sample=sample,
            size_hw=read_size(sample.path, config.data.max_pixels),
            label=sample.label,
            predicted=sample.label,
            prob=1.0,
            in_top5=True,
            label_map=maps[place[sample.image_id]],
            predicted_map=maps[place[sample.image_id]],
        )
        for sample in boxed
        if sample.image_id in place
    )
    tally_predictions([tally], predictions, source.annotate)
    result = tally.finish()
    return PriorScore(score.agreement, result.metrics[_METRIC], result.intervals.get(_METRIC))
