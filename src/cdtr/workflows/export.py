"""Write a run as one ONNX file that needs no PyTorch: what ``cdtr export`` does, from Python."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cdtr.api import DEFAULT_THRESHOLD, as_seen, find_run, find_view, load_model, view_threshold
from cdtr.config import ViewName
from cdtr.deployment.agreement import BATCHES, Agreement, Difference, check_same, measure_agreement, measure_difference
from cdtr.deployment.compared_images import ComparedImages, drawn_images, read_compared, run_all
from cdtr.deployment.facts import Facts, run_facts
from cdtr.deployment.graph import model_bytes, onnx_model
from cdtr.deployment.int8 import Int8Gain, int8_bytes, measure_int8
from cdtr.deployment.program import export_program, method_runner
from cdtr.deployment.session import SUFFIX, session_runner
from cdtr.errors import ConfigError
from cdtr.records import Sample
from cdtr.reports.notebook import html_table
from cdtr.runs import RunFolder, write_atomic
from cdtr.workflows.opening import HELD_OUT, find_split, find_test_split, open_source
from cdtr.workflows.reporting import SILENT, Reporter, warn_of_left_out

if TYPE_CHECKING:
    from torch import nn

_DRAWN = 32


@dataclass(frozen=True, slots=True)
class TrialImages:
    """The images that a file is compared on, in words (``where``) and as pixels, and the map threshold."""

    where: str
    compared: ComparedImages
    threshold: float


@dataclass(frozen=True, slots=True)
class ExportedModel:
    """A checked file, not yet written.

    Attributes:
        content: the bytes of the ONNX file.
        difference: from the run, of logits and maps.
        agreement: of its boxes with the run's.
        int8_content: the bytes of the int8 file, where it was asked for.
        int8: what it gains and costs against float32.
    """

    content: bytes
    difference: Difference
    agreement: Agreement
    int8_content: bytes | None = None
    int8: Int8Gain | None = None


@dataclass(frozen=True, slots=True, repr=False)
class Exported:
    """What ``export`` wrote and measured.

    Attributes:
        files: size in bytes of each file that was written.
        measured_on: the images that the file was compared on, in words.
        n_images: how many they are.
        model: the differences from the run.
    """

    files: dict[Path, int]
    measured_on: str
    n_images: int
    model: ExportedModel

    def __repr__(self) -> str:
        names = ", ".join(f"{path}: {size / 1e6:.1f} MB" for path, size in self.files.items())
        return f"Exported({names}; largest difference from the run {self.model.difference.largest:.1e})"

    def lines(self) -> Iterator[str]:
        """Yield what was measured and written, for people."""
        difference, same = self.model.difference, round(self.model.agreement.same_box * self.n_images)
        yield (
            f"ONNX: largest difference from the run {difference.logits:.1e} (logits), {difference.maps:.1e} (maps), in "
            f"batches of {', '.join(map(str, BATCHES))}; {same} of {self.n_images} boxes the same, on "
            f"{self.measured_on}"
        )
        int8 = self.model.int8
        if int8 is not None:
            yield (
                f"int8-dynamic: IoU with float32's boxes {int8.agreement.iou:.3f}, same class "
                f"{100 * int8.agreement.same_class:.1f}%; {int8.int8_ms:.1f} ms of CPU time an image, float32 "
                f"{int8.float32_ms:.1f}, {int8.speedup:.2f} times as fast"
            )
            if int8.speedup <= 1:
                yield "int8 is not faster than float32 on this machine: it saves space alone"
        for path, size in self.files.items():
            yield f"wrote {path}: {size / 1e6:.1f} MB"

    def _repr_html_(self) -> str:
        difference, int8 = self.model.difference, self.model.int8
        rows = [(str(path), f"{size / 1e6:.1f} MB") for path, size in self.files.items()]
        rows += [
            ("compared on", self.measured_on),
            ("largest difference of logits", f"{difference.logits:.1e}"),
            ("largest difference of maps", f"{difference.maps:.1e}"),
            ("images with the same box", f"{self.model.agreement.same_box:.1%}"),
        ]
        if int8 is not None:
            rows.append(("int8: images with the same box", f"{int8.agreement.same_box:.1%}"))
            rows.append(("int8: milliseconds an image", f"{int8.int8_ms:.1f} (float32: {int8.float32_ms:.1f})"))
        return html_table("exported", ["fact", "value"], rows)

    def to_json(self) -> dict[str, Any]:
        """Return the files and the measures as a tree for JSON."""
        model, int8 = self.model, self.model.int8
        tree: dict[str, Any] = {
            "files": {str(path): size for path, size in self.files.items()},
            "measured_on": self.measured_on,
            "ONNX": {
                "logits": model.difference.logits,
                "maps": model.difference.maps,
                "same_boxes": model.agreement.same_box,
            },
        }
        if int8 is not None:
            agreement = {name: getattr(int8.agreement, name) for name in ("iou", "same_class", "same_box")}
            times = {"float32_ms": int8.float32_ms, "int8_ms": int8.int8_ms, "speedup": int8.speedup}
            tree["int8"] = {"precision": "int8-dynamic", "agreement": agreement, **times}
        return tree


def export(
    run: str | os.PathLike[str],
    out: str | Path,
    *,
    int8: bool = False,
    data: str | Path | None = None,
    split: str | None = None,
    images: int = 200,
    threshold: float | None = None,
    view: str | None = None,
    reporter: Reporter = SILENT,
) -> Exported:
    """Write a run as one ONNX file that needs no PyTorch, and check that it gives the same logits and maps.

    Args:
        run: a run, its folder, or a hub id.
        out: the file to write, ``NAME.onnx``.
        int8: also write ``NAME.int8.onnx``, with 8-bit weights of linear layers, and measure what it gains and costs.
        data: the data set whose images the file is checked on; by default drawn images.
        split: the split of the data set; by default the first of test, val, held-out.
        images: number of images at most.
        threshold: map threshold that is stored; by default the calibrated one.
        view: what the network sees of an image; by default as the run was calibrated.
        reporter: takes notes.

    Returns:
        The files and how far they are from the run.

    Raises:
        CheckpointError: logits or maps differ by more than 0.0001; nothing was written.
        ConfigError: an argument is wrong, the method cannot be exported, or a library is missing.

    Example:
        >>> cdtr.export("runs/neu", "neu.onnx")  # doctest: +SKIP
        Exported(neu.onnx: 2.2 MB; largest difference from the run 1.9e-06)
    """
    run, path = os.fspath(run), Path(out)
    if path.suffix.lower() != SUFFIX or path.is_dir():
        raise ConfigError(f"{path}: expected the name of a file that ends in {SUFFIX}")
    if data is None and split is not None:
        raise ConfigError("`split=` is of a data set: give `data=` as well")
    folder = find_run(run)
    seen = find_view(folder, view)
    chosen = view_threshold(folder, threshold, seen.name)
    level = DEFAULT_THRESHOLD if chosen is None else chosen.value
    trial = prepare_trial(folder, level, None if data is None else Path(data), split, images, seen.name, reporter)
    if chosen is None:
        reporter.warn(
            f"{run} has no threshold, so the file has none: run `cdtr calibrate` first, with `label_free=True` where "
            "there are no boxes, or give `threshold=`"
        )
    method = as_seen(load_model(folder.path), seen)
    model = make_model(method, run_facts(folder, chosen, seen.name), trial, int8, reporter)
    contents = {path: model.content}
    if model.int8_content is not None:
        contents[path.with_suffix(".int8.onnx")] = model.int8_content
    for file, content in contents.items():
        write_atomic(file, content)
    sizes = {file: len(content) for file, content in contents.items()}
    return Exported(sizes, trial.where, len(trial.compared), model)


def make_model(
    method: nn.Module, facts: Facts, trial: TrialImages, int8: bool = False, reporter: Reporter = SILENT
) -> ExportedModel:
    """Translate a method to ONNX and compare it with the method in PyTorch.

    Raises:
        CheckpointError: logits or maps differ by more than 0.0001.
        ConfigError: the method cannot be exported, or a library is missing.
    """
    reporter.note("tracing the method")
    program = export_program(method, facts.input.size_hw)
    reporter.note("translating it to ONNX")
    model = onnx_model(program)
    content = model_bytes(model, facts)
    reference, other = method_runner(method), session_runner(content, threads=1)
    difference = measure_difference(reference, other, trial.compared.pixels)
    check_same("ONNX", difference)
    outputs = run_all(reference, trial.compared), run_all(other, trial.compared)
    agreement = measure_agreement(*outputs, trial.compared, trial.threshold)
    if not int8:
        return ExportedModel(content, difference, agreement)
    reporter.note("making and measuring int8")
    quantised = int8_bytes(model, facts)
    gain = measure_int8(content, quantised, trial.compared, trial.threshold)
    return ExportedModel(content, difference, agreement, quantised, gain)


def prepare_trial(
    run: RunFolder,
    threshold: float,
    data: Path | None,
    split: str | None,
    images: int,
    view: ViewName,
    reporter: Reporter = SILENT,
) -> TrialImages:
    """Read images of a data set, evenly chosen, or draw some where there is none."""
    config = run.config()
    if data is None:
        drawn = drawn_images(_DRAWN, config.data, view=view)
        return TrialImages(f"{_DRAWN} drawn images (`data=` takes your own)", drawn, threshold)
    source = open_source(run, data, None, split, reporter)
    name = split or find_test_split(source) or HELD_OUT
    samples = _evenly(find_split(run, source, name), images)
    compared = read_compared(samples, config, warn_of_left_out(reporter), view)
    return TrialImages(f"{len(compared)} images of {name}", compared, threshold)


def _evenly(samples: Sequence[Sample], most: int) -> list[Sample]:
    """Return at most so many samples, at even steps, so that all classes of a sorted list are among them."""
    step = max(1, len(samples) / most)
    return [samples[int(index * step)] for index in range(min(most, len(samples)))]
