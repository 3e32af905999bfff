"""Choose a run's map threshold on images that are not the test set, and fit scores of boxes on them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache

import torch

from cdtr.api import as_seen, choose_threshold, choose_view, empty_classes, find_device, load_model
from cdtr.data.loader import EvalLoader, eval_loader
from cdtr.data.pixels import View
from cdtr.errors import ConfigError, DataError
from cdtr.evaluation import (
    PROTOCOLS,
    Calibration,
    ObjectScores,
    ObjectThreshold,
    Protocol,
    calibrate_predictions,
    calibrate_predictions_label_free,
    find_protocol,
    fit_box_scores,
)
from cdtr.evaluation.forward import ImagePrediction, predict
from cdtr.evaluation.presence import with_objects
from cdtr.image_files.paths import content_hash
from cdtr.localization.presence import EmptyClasses
from cdtr.localization.quality import BoxQuality
from cdtr.records import DataSource, Method, Sample
from cdtr.runs import RunFolder
from cdtr.workflows.calibrated_run import CalibratedRun, write_calibration
from cdtr.workflows.calibration_images import HashOf, calibration_samples, describe_split
from cdtr.workflows.opening import (
    DataLike,
    RunLike,
    group_by_view,
    pass_of,
    report_reading,
    resolve_data,
    resolve_run,
)
from cdtr.workflows.reporting import SILENT, Reporter, warn_of_left_out

_MOST_AFTER_TRAINING = 500  # images: the mean over their maps moves little with more


def calibrate(
    run: RunLike,
    data: DataLike,
    *,
    split: str | None = None,
    boxes: str | None = None,
    label_free: bool = False,
    mirror: bool = False,
    view: str | None = None,
    device: str | None = None,
    reporter: Reporter = SILENT,
) -> CalibratedRun:
    """Choose the map threshold of each protocol and write ``calibration.json`` into the run folder.

    With enough boxes, scores of boxes are fitted on the same images: the probability that a box's IoU is at least 0.5.

    Args:
        run: a run folder, its path, or a hub id; the calibration of a hub id lies in the hub's cache.
        data: the data set that the run was trained on, as a path or opened.
        split: the images to choose on; None takes the training images that were held out.
        boxes: a file or folder of boxes, where they do not lie in the data set.
        label_free: choose the threshold from the maps alone, without boxes; fits no scores of boxes.
        mirror: let the scores of boxes see the mirrored image as well; localizing then takes twice as long.
        view: what the network sees of an image, ``whole``, ``mirrored``, ``crop`` or ``tiled``; None keeps that of
            the last calibration, else takes the configured one.
        device: where to compute; None takes CUDA where there is one.
        reporter: takes notes and progress.

    Returns:
        What was chosen, under each protocol.

    Raises:
        ConfigError: the run's protocol has another view than the one given, or the options exclude each other.
        DataError: there is no box, no image, or the split is not one to choose on.

    Example:
        ``cdtr.calibrate("runs/neu", "NEU-DET").threshold``
    """
    if label_free and mirror:
        raise ConfigError(
            "`mirror=True` is for the scores of boxes, which `label_free=True` cannot fit: give one of them"
        )
    folder = resolve_run(run)
    source = resolve_data(folder, data, boxes, split, reporter)
    if not source.annotated and not label_free:
        raise DataError(
            f"{source.root} has no boxes: calibration needs some for the held-out images; without any, take "
            "`label_free=True`, or a threshold that looks right on the overlays of `cdtr localize --threshold T "
            "--overlays`"
        )
    own, own_view = _own_protocol(folder, view, reporter)
    hash_of = cache(content_hash)
    samples = calibration_samples(folder, source, split, hash_of, reporter)
    work = _Calibrator.of(folder, source, samples, describe_split(split), own_view, reporter, device)
    others = [protocol for protocol in PROTOCOLS.values() if protocol != own]
    by_protocol = work.choose_thresholds([own, *others], view, label_free)
    chosen, _ = by_protocol[own.name]
    has_object = work.choose_object_threshold()
    quality = None if label_free else work.fit_box_scores(own, own_view, chosen.threshold, mirror)
    found = CalibratedRun(folder, source, describe_split(split), chosen, own_view, quality, by_protocol, has_object)
    write_calibration(found, _hashes(samples, hash_of))
    if source is not data:
        report_reading(source, reporter)
    return found


def calibrate_after_training(run: RunFolder, source: DataSource, reporter: Reporter = SILENT) -> CalibratedRun | None:
    """Choose the threshold of a run that was just trained, from its maps alone, unless it has one.

    It costs little: one pass over at most 500 of the held-out images, for the protocols of the run's own view.
    ``calibrate`` replaces it.

    Args:
        run: the trained run.
        source: the data set that it was trained on.
        reporter: takes notes and progress, and a warning where no threshold can be chosen.

    Returns:
        What was chosen; None where the run has a threshold, and where none can be chosen.
    """
    if choose_threshold(run) is not None:
        return None
    if not ((run.manifest().get("splits") or {}).get("held_out") or {}).get("images"):
        reporter.warn(
            "no threshold is chosen, as no image was held out: set `evaluation.threshold`, train with `data.holdout`, "
            "or have a split val that `cdtr calibrate` takes by `split=`"
        )
        return None
    hash_of = cache(content_hash)
    own, view = _own_protocol(run, None, reporter)
    try:
        held_out = calibration_samples(run, source, None, hash_of, reporter)
        samples = held_out[:: math.ceil(len(held_out) / _MOST_AFTER_TRAINING)]
        work = _Calibrator.of(run, source, samples, describe_split(None), view, reporter)
        protocols = [own, *(one for one in PROTOCOLS.values() if one != own and one.view in {None, view.name})]
        by_protocol = work.choose_thresholds(protocols, None, label_free=True)
    except DataError as error:
        reporter.warn(f"no threshold is chosen: {error}")
        return None
    chosen, has_object = by_protocol[own.name][0], work.choose_object_threshold()
    found = CalibratedRun(run, source, describe_split(None), chosen, view, None, by_protocol, has_object)
    write_calibration(found, _hashes(samples, hash_of))
    return found


def _hashes(samples: Sequence[Sample], hash_of: HashOf) -> list[str]:
    """The SHA-256 of the files that can be read."""
    return sorted({found for sample in samples if (found := hash_of(sample.path)) is not None})


def _own_protocol(run: RunFolder, view: str | None, reporter: Reporter) -> tuple[Protocol, View]:
    """The run's own protocol, and its view; ConfigError for another view than the protocol has."""
    config = run.config()
    own = find_protocol(config.evaluation.protocol)
    if view is not None and own.view is not None and view != own.view:
        raise ConfigError(f"`view={view}`: the run's protocol {own.name} sees the {own.view}, leave `view=` out")
    seen = View.of(own.view or choose_view(run, view), config.data)
    if view is None and own.view is None and seen.name != config.evaluation.view:
        reporter.note(
            f"view {seen.name}, as the last calibration; the settings say {config.evaluation.view} (`view=` takes it)"
        )
    return own, seen


@dataclass(slots=True)
class _Calibrator:
    """A run with its method, loaded once, and the images to calibrate it on.

    images: what these are, in words. own_view: that of the run's own protocol. empty: the classes without an object.
    """

    run: RunFolder
    source: DataSource
    samples: Sequence[Sample]
    images: str
    module: Method
    device: torch.device
    reporter: Reporter
    own_view: View
    empty: EmptyClasses | None
    object_scores: ObjectScores = field(default_factory=ObjectScores)

    @classmethod
    def of(
        cls,
        run: RunFolder,
        source: DataSource,
        samples: Sequence[Sample],
        images: str,
        own_view: View,
        reporter: Reporter,
        device: str | None = None,
    ) -> _Calibrator:
        """Load the run's method; the probability of an object of an earlier calibration counts for nothing."""
        where, empty = find_device(device), empty_classes(run, own_view.name)
        empty = None if empty is None else empty.without_threshold()
        module = load_model(run.path, where)
        return cls(run, source, samples, images, module, where, reporter, own_view, empty)

    def choose_thresholds(
        self, protocols: Sequence[Protocol], view: str | None, label_free: bool
    ) -> dict[str, tuple[Calibration, View]]:
        """Each protocol's calibration and the view that it was made under, by the protocol's name."""
        groups = group_by_view(self.run, protocols, view, self.reporter)
        found: dict[str, tuple[Calibration, View]] = {}
        for seen, members in groups.items():
            title = f"calibrating on {self.images}{pass_of(seen, members) if len(groups) > 1 else ''}"
            with self.reporter.progress(title, len(self.samples)) as advance:
                predictions = self._predictions(seen)
                if label_free:
                    some = calibrate_predictions_label_free(with_objects(predictions, advance), members, advance)
                else:
                    some = calibrate_predictions(predictions, self.source.annotate, members, advance)
            found |= {one.protocol: (one, seen) for one in some}
        return found

    def _predictions(self, view: View) -> Iterator[ImagePrediction]:
        """Those for the images; their probabilities of an object are noted under the run's own view."""
        method, batches = self._method_and_batches(view)
        found = predict(method, batches, self.device, empty=self.empty)
        return self.object_scores.watch(found) if view == self.own_view else found

    def choose_object_threshold(self) -> ObjectThreshold | None:
        """From which probability of an object an image gets a box; None where every class has an object.

        None as well, with a note, where the images are not of both kinds. What is fitted afterwards follows the rule.
        """
        if self.empty is None:
            return None
        found = self.object_scores.choose()
        if found is None:
            self.reporter.warn(
                f"the {self.images} are not of both kinds, with an object and without: an image gets a box where its "
                "most probable class has an object"
            )
            return None
        self.empty = replace(self.empty, threshold=found.threshold)
        self.reporter.note(str(found))
        return found

    def fit_box_scores(self, protocol: Protocol, view: View, threshold: float, mirror: bool) -> BoxQuality | None:
        """Scores of the boxes found at the threshold; None, with a note, where they cannot be fitted."""
        method, batches = self._method_and_batches(view)
        try:
            with self.reporter.progress("fitting scores of boxes", len(self.samples)) as advance:
                return fit_box_scores(
                    method,
                    batches,
                    self.source.annotate,
                    protocol,
                    threshold,
                    len(self.source.class_names),
                    self.device,
                    advance,
                    mirrored=mirror,
                    empty=self.empty,
                )
        except DataError as error:
            self.reporter.warn(f"no scores of boxes: {error}")
            return None

    def _method_and_batches(self, view: View) -> tuple[Method, EvalLoader]:
        on_broken = warn_of_left_out(self.reporter)
        batches = eval_loader(self.samples, self.run.config(), on_broken=on_broken, view=view.name)
        return as_seen(self.module, view), batches
