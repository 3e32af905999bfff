"""The paper's figures of images (2, 4, 6, 8, 11b, 12, 13): a grid of maps, and what it shows as CSV."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from cdtr.config import PaperGallery, Reproduction
from cdtr.errors import DataError
from cdtr.evaluation import AttentionNoise, ImageMaps, Protocol, ScoredImage
from cdtr.metrics.noise import noise_regions
from cdtr.records import FloatArray
from cdtr.reports.figures import tidy
from cdtr.reports.frame_images import (
    NOISE_COLOURS,
    NOISE_WORDS,
    frame_image,
    in_frame,
    under_map,
    under_noise,
    with_boxes,
)
from cdtr.reports.image_grid import GridBlock, GridRow, image_grid
from cdtr.reports.tables import ERROR_NAMES, csv_text

_NO_BOX = np.zeros((0, 4))
_BOX_WORDS = {
    "both": "Solid green: the box found. Dashed red: the true boxes.",
    "true": "Dashed red: the true boxes.",
    "none": "",
}
_MAP_WORDS = "Each map is coloured from its own lowest (blue) to its highest value (red)."


@dataclass(frozen=True, slots=True)
class ShownRun:
    """A row of the figure on one data set: one run on the chosen images.

    Attributes:
        row, label: its name, and its words in the figure.
        seed: of the run.
        threshold: the map threshold.
        view: what the network sees of an image.
        recipe: the label of the run's recipe.
        scored: the scores of each image.
        after: the maps of each image, in the same order.
        before: the same of the method as its training started; empty where that is not known.
        before_note: what ``before`` is, or why it is not known.
        noise: attention outside the boxes, of more images than are shown.
    """

    row: str
    label: str
    seed: int
    threshold: float
    view: str
    recipe: str
    scored: Sequence[ScoredImage]
    after: Sequence[ImageMaps] = ()
    before: Sequence[ImageMaps] = ()
    before_note: str = ""
    noise: AttentionNoise | None = None


@dataclass(frozen=True, slots=True)
class ShownData:
    """The runs on one data set.

    Attributes:
        data, label: the name of the data set, and its words in the figure.
        class_names: its classes.
        protocol: whose frame, boxes and IoU are used.
        images: the pixels of the chosen images.
        rule: how they were chosen, in words.
        runs: the rows.
        kinds: the kind of error of each image, where it was chosen for one.
    """

    data: str
    label: str
    class_names: Sequence[str]
    protocol: Protocol
    images: Sequence[Image.Image]
    rule: str
    runs: Sequence[ShownRun]
    kinds: Sequence[str] = field(default=())


def gallery_figure(found: Reproduction, spec: PaperGallery, parts: Sequence[ShownData]) -> Figure:
    """Draw every part.

    Args:
        found: The figure, for its title.
        spec: Which panels, boxes and numbers are shown.
        parts: At least one, each with at least one run.

    Returns:
        One block a data set: the images, then a row for each run and panel.
    """
    legend = [(NOISE_WORDS[kind], colour) for kind, colour in NOISE_COLOURS.items()] if "noise" in spec.panels else []
    return image_grid(f"{found.caption}. {found.table.title}", [gallery_block(spec, part) for part in parts], legend)


def gallery_block(spec: PaperGallery, part: ShownData) -> GridBlock:
    """Return the images of one data set, then a row for each run and panel, for ``image_grid``."""
    frames = [frame_image(image, part.protocol) for image in part.images]
    first = part.runs[0].scored
    titles = [part.class_names[one.sample.label].replace("_", " ") for one in first]
    if part.kinds:
        titles = [f"{name}: {ERROR_NAMES[kind]}" for name, kind in zip(titles, part.kinds, strict=True)]
    true = [_NO_BOX if spec.boxes == "none" else one.true_xyxy for one in first]
    rows = [GridRow("image", [with_boxes(*three) for three in zip(frames, [_NO_BOX] * len(frames), true, strict=True)])]
    for run in part.runs:
        texts = [_iou_text(one) for one in run.scored] if spec.iou else ()
        for label, panels in _panels(spec, part.protocol, frames, run):
            found = [one.found_xyxy if spec.boxes == "both" else _NO_BOX for one in run.scored]
            drawn = [with_boxes(*three) for three in zip(panels, found, true, strict=True)]
            rows.append(GridRow(label, drawn, texts))
    return GridBlock(part.label, titles, rows, _text(spec, part))


def _text(spec: PaperGallery, part: ShownData) -> str:
    return " ".join(filter(None, _words(spec, part)))


def _iou_text(one: ScoredImage) -> str:
    return "" if one.row.iou_label is None else f"{100 * one.row.iou_label:.1f}"


def _words(spec: PaperGallery, part: ShownData) -> Iterator[str]:
    yield part.rule
    at = ", ".join(f"{run.threshold:.2f}" for run in part.runs)
    thresholds = f", at the runs' thresholds ({at})" if spec.boxes == "both" else ""
    seeds = " and ".join(dict.fromkeys(str(run.seed) for run in part.runs))
    views = " and ".join(dict.fromkeys(run.view for run in part.runs))
    yield f"In the frame of protocol {part.protocol.name}{thresholds}; view {views}; runs of seed {seeds}."
    yield f"Recipe: {', '.join(dict.fromkeys(run.recipe for run in part.runs))}."
    yield _BOX_WORDS[spec.boxes]
    yield "White: IoU in percent." if spec.iou else ""
    yield _MAP_WORDS
    if "before" in spec.panels:
        notes = {run.before_note: run.label for run in part.runs}
        for note in notes:
            labels = ", ".join(run.label for run in part.runs if run.before_note == note)
            yield f"Before training ({labels}): {note}."


def _panels(
    spec: PaperGallery, protocol: Protocol, frames: Sequence[Image.Image], run: ShownRun
) -> Iterator[tuple[str, list[Image.Image]]]:
    """The rows of a run: label and images. A panel that its method cannot have is left out."""

    def under(maps: Sequence[FloatArray]) -> list[Image.Image]:
        parts = zip(maps, run.after, strict=True)
        placed = [in_frame(one, image.size_hw, protocol, image.field) for one, image in parts]
        return [under_map(frame, one) for frame, one in zip(frames, placed, strict=True)]

    for panel in spec.panels:
        if panel == "map":
            shown = [under_map(frame, one.map) for frame, one in zip(frames, run.scored, strict=True)]
            yield run.label, shown
        elif panel == "pseudo_map":
            pseudo = [one.pseudo_map for one in run.after if one.pseudo_map is not None]
            if len(pseudo) == len(frames):
                yield f"{run.label}\npseudo map", under(pseudo)
        elif panel == "noise":
            regions = [_regions(one) for one in run.after]
            known = [one for one in regions if one is not None]
            if len(known) == len(frames):
                parts = zip(frames, run.after, known, run.scored, strict=True)
                yield (
                    f"{run.label}\nattention outside\nthe boxes, by kind",
                    [under_noise(f, m.attention, r, s.true_xyxy, s.size_hw, protocol, m.field) for f, m, r, s in parts],
                )
        else:
            if panel == "before" and run.before:
                yield f"{run.label}\nattention before\ntraining", under([one.attention for one in run.before])
            yield f"{run.label}\nattention after\ntraining", under([one.attention for one in run.after])


def _regions(maps: ImageMaps) -> Any:
    try:
        return None if maps.class_maps is None else noise_regions(maps.class_maps, maps.sample.label)
    except DataError:
        return None


def gallery_text(found: Reproduction, spec: PaperGallery, parts: Sequence[ShownData]) -> str:
    """Return what the figure shows and how its images were chosen, as Markdown, with the figure's notes."""
    lines = [f"# {found.caption}. {found.table.title}", ""]
    for part in parts:
        lines += [f"**{part.label}**: {_text(spec, part)}", ""]
    if not parts:
        lines += ["Nothing is trained yet.", ""]
    return "\n".join([*lines, *(f"- {one}" for one in found.table.notes)]).rstrip() + "\n"


def gallery_data(parts: Sequence[ShownData]) -> str:
    """Return CSV of what is shown, one line an image and run; IoU in percent, empty where there is no true box."""
    header = ["data", "row", "label", "seed", "image_id", "class", "predicted", "probability", "iou"]
    return csv_text([*header, "error", "threshold", "protocol", "view", "recipe"], _lines(parts))


def _lines(parts: Sequence[ShownData]) -> Iterator[list[Any]]:
    for part in parts:
        for run in part.runs:
            for one in run.scored:
                row = one.row
                iou = "" if row.iou_label is None else f"{100 * row.iou_label:.2f}"
                names = part.class_names[row.label], part.class_names[row.predicted]
                start = [part.data, run.row, run.label, run.seed, row.image_id, *names, f"{row.prob:.4f}", iou]
                yield [*start, row.error or "", f"{run.threshold:.4g}", part.protocol.name, run.view, run.recipe]


def noise_data(parts: Sequence[ShownData]) -> str:
    """Return CSV of the attention outside the true boxes: mean and standard deviation over the images, in percent."""
    header = ["data", "row", "label", "seed", "images", "count", "kind", "share_of", "when", "mean", "std"]
    return csv_text([*header, "view", "recipe"], _noise_lines(parts))


def _noise_lines(parts: Sequence[ShownData]) -> Iterator[list[Any]]:
    for part, run, noise in _measured(parts):
        groups = {"all": np.ones(len(noise.right), dtype=bool), "classified correctly": noise.right}
        layers: list[tuple[str, str, Any]] = [("all kinds", "attention", noise)]
        layers += [(kind, "attention", shares) for kind, shares in noise.kinds.items()]
        layers += [(kind, "scaled attention", shares) for kind, shares in noise.scaled.items()]
        for (group, of_group), (kind, of, shares) in product(groups.items(), layers):
            start = [part.data, run.row, run.label, run.seed, group, of_group.sum(), kind]
            columns = [(of, "before training", shares.before), (of, "after training", shares.after)]
            for *words, values in columns if of != "attention" else [("area", "", shares.area), *columns]:
                if values is not None and of_group.any():
                    known = 100 * values[of_group]
                    spread = f"{known.mean():.3f}", f"{known.std():.3f}"
                    yield [*start, *words, *spread, run.view, run.recipe]


def noise_figure(found: Reproduction, parts: Sequence[ShownData]) -> Figure | None:
    """Draw bars of each kind of noise before and after training beside its area, one panel a run.

    Returns:
        None where no noise was measured.
    """
    measured = [(part, run, noise) for part, run, noise in _measured(parts) if noise.scaled]
    if not measured:
        return None
    figure = Figure(figsize=(1.0 + 3.6 * len(measured), 3.6), layout="constrained")
    panels = figure.subplots(1, len(measured), squeeze=False, sharey=True)[0]
    for axes, (part, run, noise) in zip(panels, measured, strict=True):
        names = list(noise.scaled)
        layers = [("area", "area", "0.7"), ("before", "attention before training", "C1")]
        layers.append(("after", "attention after training", "C0"))
        for index, (name, label, colour) in enumerate(layers):
            shares = [getattr(shares, name) for shares in noise.scaled.values()]
            if any(one is None for one in shares):
                continue
            means, spreads = ([100 * float(f(one)) for one in shares] for f in (np.mean, np.std))
            places = np.arange(len(names)) + 0.27 * (index - 1)
            axes.bar(places, means, 0.25, yerr=spreads, capsize=2, color=colour, label=label, error_kw={"linewidth": 1})
        axes.set_xticks(np.arange(len(names)), names)
        axes.set(title=f"{part.label}, {run.label}\n{len(noise.image_ids)} images", ylim=(0, None))
        tidy(axes)
    panels[0].set(ylabel="outside the true boxes, % of the whole")
    panels[0].legend(fontsize="small")
    figure.suptitle(f"{found.caption}: scaled attention outside the boxes, mean and s.d. over the images", fontsize=10)
    return figure


def _measured(parts: Sequence[ShownData]) -> Iterator[tuple[ShownData, ShownRun, AttentionNoise]]:
    for part in parts:
        for run in part.runs:
            if run.noise is not None:
                yield part, run, run.noise
