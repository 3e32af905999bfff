"""Measure two runs on the same images, with paired tests."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from cdtr.config import recipe_label
from cdtr.errors import DataError
from cdtr.evaluation import Evaluation, find_protocol
from cdtr.metrics.paired import PairedDifference, compare_rows
from cdtr.records import DataSource, Sample
from cdtr.reports.notebook import html_table
from cdtr.reports.tables import METRIC_NAMES, percent
from cdtr.runs import RunFolder
from cdtr.workflows.evaluate import evaluate_samples
from cdtr.workflows.opening import (
    HELD_OUT,
    DataLike,
    RunLike,
    check_classes,
    find_split,
    find_test_split,
    name_of,
    resolve_data,
    resolve_run,
)
from cdtr.workflows.reporting import SILENT, Reporter

_LEAK_ADVICE = "compare on another `split=`, such as val/CLASS folders of images that neither run was trained on"


@dataclass(frozen=True, slots=True, repr=False)
class Comparison:
    """Two runs, a and b, on the same images.

    Attributes:
        run_a: the path or hub id of the first run.
        run_b: that of the second.
        recipes: the labels of their recipes.
        source: the data set.
        split: the name of the split.
        protocol: the name of the protocol.
        evaluations: of a and b.
        differences: b minus a in percent, for each accuracy, with its interval and p-value.
    """

    run_a: str
    run_b: str
    recipes: tuple[str, str]
    source: DataSource
    split: str
    protocol: str
    evaluations: tuple[Evaluation, Evaluation]
    differences: tuple[PairedDifference, ...]

    @property
    def n_images(self) -> int:
        """The images that both runs were measured on."""
        return len(self.evaluations[0].rows)

    def threshold_lines(self) -> Iterator[str]:
        """Yield the map threshold and the view of each run, for people, or that there was no box to use one on."""
        if not any(found.n_annotated for found in self.evaluations):
            yield "no image has a box, so only the classes are compared: `boxes=` names a file or folder of boxes"
            return
        for letter, found in zip("ab", self.evaluations, strict=True):
            threshold = "none" if found.threshold is None else f"{found.threshold:.3g}, {found.threshold_source}"
            yield f"threshold of {letter}: {threshold}; view {found.view}"

    def to_json(self) -> dict[str, Any]:
        """The tree that `cdtr compare --json` writes."""
        first, second = self.evaluations
        return {
            "a": self.run_a,
            "b": self.run_b,
            "recipes": {"a": self.recipes[0], "b": self.recipes[1]},
            "views": {"a": first.view, "b": second.view},
            "split": self.split,
            "protocol": self.protocol,
            "differences": {difference.metric: asdict(difference) for difference in self.differences},
        }

    def __repr__(self) -> str:
        """The runs, the images, and each difference with its 95% interval."""
        found = ", ".join(
            f"{METRIC_NAMES[one.metric]} {one.difference:+.1f} ({one.low:+.1f} to {one.high:+.1f})"
            for one in self.differences
        )
        return (
            f"{type(self).__name__}({self.run_b} minus {self.run_a} on {self.n_images} images of {self.split} of "
            f"{self.source.root}, protocol {self.protocol}: {found})"
        )

    def _repr_html_(self) -> str:
        rows = [
            [
                METRIC_NAMES[one.metric],
                percent(one.a),
                percent(one.b),
                f"{one.difference:+.1f}",
                f"{one.low:+.1f} to {one.high:+.1f}",
                f"{one.p_value:.3f}",
            ]
            for one in self.differences
        ]
        caption = (
            f"a: {self.run_a}, b: {self.run_b}; percent, {self.n_images} images of {self.split}, "
            f"protocol {self.protocol}"
        )
        return html_table(caption, ["metric", "a", "b", "b - a", "95% interval", "p"], rows)


def compare(
    run_a: RunLike,
    run_b: RunLike,
    data: DataLike,
    *,
    split: str | None = None,
    boxes: str | None = None,
    protocol: str | None = None,
    device: str | None = None,
    reporter: Reporter = SILENT,
) -> Comparison:
    """Measure two runs on the same images, with paired tests and intervals of the difference.

    Args:
        run_a: a run folder, its path, or a hub id.
        run_b: another run, trained on the same classes.
        data: the data set, as a path or opened; without boxes, only classes are compared.
        split: the images to measure on; None takes the first of test, val and held-out. ``held-out`` needs two runs
            that held out the same images.
        boxes: a file or folder of boxes, where they do not lie in the data set.
        protocol: a name; None takes that of the first run.
        device: where to compute; None takes CUDA where there is one.
        reporter: takes notes and progress.

    Returns:
        Both evaluations, and the differences b minus a.

    Raises:
        DataError: the runs have other classes than the data, the split is missing, or a run was calibrated on it.

    Example:
        ``cdtr.compare("runs/tscam", "runs/cdtr", "NEU-DET").differences``
    """
    first, second = resolve_run(run_a), resolve_run(run_b)
    rules = find_protocol(protocol or first.config().evaluation.protocol)
    source = resolve_data(first, data, boxes, split, reporter)
    check_classes(second, source)
    name, samples = choose_common_split(first, second, source, split)
    evaluation_a, evaluation_b = (
        evaluate_samples(folder, source, samples, [rules], device=device, leak_advice=_LEAK_ADVICE, reporter=reporter)[
            0
        ]
        for folder in (first, second)
    )
    return Comparison(
        run_a=name_of(run_a),
        run_b=name_of(run_b),
        recipes=(recipe_label(first.config()), recipe_label(second.config())),
        source=source,
        split=name,
        protocol=rules.name,
        evaluations=(evaluation_a, evaluation_b),
        differences=tuple(compare_rows(evaluation_a.rows, evaluation_b.rows)),
    )


def choose_common_split(
    first: RunFolder, second: RunFolder, source: DataSource, split: str | None
) -> tuple[str, Sequence[Sample]]:
    """Return the name and the images of a split that neither run was fitted to.

    Args:
        first: a run.
        second: another one.
        source: the data set.
        split: a name; None takes the first of test, val and held-out.

    Raises:
        DataError: the split is missing, or it is ``held-out`` and the runs did not hold out the same images.
    """
    name = split or find_test_split(source) or HELD_OUT
    if name == HELD_OUT and _held_out_hash(first) != _held_out_hash(second):
        other = find_test_split(source)
        advice = (
            "give as `data=` a folder with val/CLASS folders of images that neither was trained on, or train both on "
            "the same images with the same seed and data.holdout"
        )
        raise DataError(
            f"{first.path} and {second.path} did not hold out the same images, so one was fitted to some of the "
            f"other's: {advice if other is None else f'compare on `split={other}`'}"
        )
    return name, find_split(first, source, name)


def _held_out_hash(run: RunFolder) -> str | None:
    """The hash of the ids of the images that a run held out; None where its manifest does not say."""
    sha256: str | None = ((run.known_manifest().get("splits") or {}).get("held_out") or {}).get("sha256")
    return sha256
