"""A run's calibration, and the file that keeps it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cdtr.data.pixels import View
from cdtr.evaluation import Calibration, ObjectThreshold
from cdtr.localization.quality import BoxQuality
from cdtr.records import DataSource
from cdtr.reports.charts import threshold_charts
from cdtr.reports.notebook import html_charts, html_table
from cdtr.reports.tables import percent
from cdtr.runs import RunFolder, write_json


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


def write_calibration(found: CalibratedRun, contents: Sequence[str]) -> None:
    """Write ``calibration.json`` into the run folder.

    Args:
        found: what was chosen.
        contents: SHA-256 of the files of the images that it was chosen on.
    """
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
