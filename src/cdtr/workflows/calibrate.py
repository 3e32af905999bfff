"""Choose a run's map threshold on images that are not the test set, and fit scores of boxes on them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache

import torch

from cdtr.api import as_seen, choose_view, empty_classes, find_device, load_model
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
from cdtr.reports.charts import threshold_charts
from cdtr.reports.notebook import html_charts, html_table
from cdtr.reports.tables import percent
from cdtr.runs import RunFolder, write_json
from cdtr.workflows.calibration_images import calibration_samples, describe_split
from cdtr.workflows.opening import (
    DataLike,
    RunLike,
    group_by_view,
    report_reading,
    resolve_data,
    resolve_run,
)
from cdtr.workflows.reporting import SILENT, Reporter, warn_of_left_out


@dataclass(frozen=True, slots=True, repr=False)
class CalibratedRun:
    """A run's calibration, as it was written to ``calibration.json``.

    Attributes:
        run: the run.
        source: the data set.
        chosen_on: what images the threshold was chosen on, in words.
        calibration: the threshold of the run's own protocol, which `cdtr localize` uses.
        view: what the network saw of each image under that protocol.
        box_scores: what scores the boxes; None for a label-free calibration and where too few boxes were found.
        by_protocol: each protocol's calibration and the view that it was made under.
        has_object: from which probability of an object an image gets a box; None where every class has one, and where
            the images are not of both kinds.
    """

    run: RunFolder
    source: DataSource
    chosen_on: str
    calibration: Calibration
    view: View
    box_scores: BoxQuality | None
    by_protocol: Mapping[str, tuple[Calibration, View]]
    has_object: ObjectThreshold | None = None

    @property
    def threshold(self) -> float:
        """The map threshold of the run's own protocol, in [0, 1)."""
        return self.calibration.threshold

    def __repr__(self) -> str:
        """The run, the threshold, its score, and the images that it was chosen on."""
        found = self.calibration
        score = "label-free" if found.gt_known_loc is None else f"GT-known Loc {found.gt_known_loc:.1f}%"
        return (
            f"{type(self).__name__}({self.run.path}: threshold {found.threshold:.3g}, {score}, on {found.n_images} "
            f"{self.chosen_on}, protocol {found.protocol})"
        )

    def _repr_html_(self) -> str:
        rows = [
            [name, view.name, f"{found.threshold:.3g}", percent(found.gt_known_loc)]
            for name, (found, view) in self.by_protocol.items()
        ]
        caption = f"{self.run.path}: map thresholds, chosen on {self.calibration.n_images} {self.chosen_on}"
        table = html_table(caption, ["protocol", "view", "threshold", "GT-known Loc (%)"], rows)
        chosen = {**self.calibration.to_json(), "source": self.chosen_on}
        return table + html_charts(threshold_charts(None, chosen))


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
    where = find_device(device)
    module, empty = load_model(folder.path, where), empty_classes(folder, own_view.name)
    empty = None if empty is None else empty.without_threshold()
    work = _Calibrator(folder, source, samples, describe_split(split), module, where, reporter, own_view, empty)
    others = [protocol for protocol in PROTOCOLS.values() if protocol != own]
    by_protocol = work.choose_thresholds([own, *others], view, label_free)
    chosen, _ = by_protocol[own.name]
    has_object = work.choose_object_threshold()
    quality = None if label_free else work.fit_box_scores(own, own_view, chosen.threshold, mirror)
    found = CalibratedRun(folder, source, describe_split(split), chosen, own_view, quality, by_protocol, has_object)
    contents = sorted({hash_of(sample.path) or "unreadable" for sample in samples} - {"unreadable"})
    _write(found, contents)
    if source is not data:
        report_reading(source, reporter)
    return found


def _write(found: CalibratedRun, contents: Sequence[str]) -> None:
    """Write ``calibration.json``. contents: SHA-256 of the images' files."""
    by_protocol = {
        name: {"threshold": one.threshold, "gt_known_loc": one.gt_known_loc, "view": view.name}
        for name, (one, view) in found.by_protocol.items()
    }
    tree = {
        "source": found.chosen_on,
        "view": found.view.name,
        **found.calibration.to_json(),
        "by_protocol": by_protocol,
        "box_scores": None if found.box_scores is None else found.box_scores.to_json(),
        "contents": list(contents),
        **({} if found.has_object is None else {"has_object": found.has_object.to_json()}),
    }
    write_json(found.run.calibration_file, tree)


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

    def choose_thresholds(
        self, protocols: Sequence[Protocol], view: str | None, label_free: bool
    ) -> dict[str, tuple[Calibration, View]]:
        """Each protocol's calibration and the view that it was made under, by the protocol's name."""
        groups = group_by_view(self.run, protocols, view, self.reporter)
        found: dict[str, tuple[Calibration, View]] = {}
        for seen, members in groups.items():
            title = f"calibrating on {self.images}" + (f", {seen.name}" if len(groups) > 1 else "")
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
