"""`cdtr export`"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cdtr.cli._options import BoxesOption, JsonOption, SplitOption, ThresholdOption, ViewOption

if TYPE_CHECKING:
    from torch import nn

    from cdtr.config import ViewName
    from cdtr.deployment.facts import Facts
    from cdtr.deployment.pictures import Pictures
    from cdtr.deployment.program import Runner
    from cdtr.deployment.session import Pixels
    from cdtr.deployment.variants import TrueBoxes, Variant
    from cdtr.records import DataSource, Sample
    from cdtr.runs import RunFolder

DRAWN = 32
CALIBRATION_IMAGES = 128


def command(
    run: Annotated[str, typer.Argument(help="A trained run folder, or a hub id.")],
    onnx: Annotated[Path | None, typer.Option("--onnx", help="The ONNX file to write, NAME.onnx.")] = None,
    int8: Annotated[
        bool, typer.Option("--int8", help="With --onnx, write NAME.int8.onnx too, and measure what it costs.")
    ] = False,
    torch_export: Annotated[
        Path | None, typer.Option("--torch-export", help="The file to write with torch.export, NAME.pt2.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option("--data", help="The data set to check and measure on, and to fit --int8 to; else drawn pictures."),
    ] = None,
    split: SplitOption = None,
    boxes: BoxesOption = None,
    images: Annotated[int, typer.Option("--images", min=1, help="At most so many images of --data.")] = 200,
    threshold: ThresholdOption = None,
    view: ViewOption = None,
    json_file: JsonOption = None,
) -> None:
    """Write a run as one file that needs no PyTorch, and check that it answers the same.

    The ONNX file holds the network without what only training needs, any number of images a batch, and in its metadata
    the sizes, means, class names, threshold and scores of boxes: `cdtr localize NAME.onnx` needs nothing else. A file
    whose logits or maps are more than 0.0001 off is not written.

    Example: cdtr export runs/neu --onnx neu.onnx --int8 --data NEU-DET
    """
    from cdtr.api import find_run, find_view, load_model, view_threshold
    from cdtr.cli._output import write_answer
    from cdtr.cli._shared import LOCALIZE_REST, TERMINAL, next_steps, note, require_outputs, shell
    from cdtr.deployment.facts import run_facts
    from cdtr.errors import ConfigError
    from cdtr.localization.tiles import tiled
    from cdtr.runs import write_atomic
    from cdtr.workflows.opening import open_source

    if onnx is None and torch_export is None:
        raise ConfigError("nothing to write: give --onnx NAME.onnx, --torch-export NAME.pt2, or both")
    if int8 and onnx is None:
        raise ConfigError("--int8 is a variant of the ONNX file: give --onnx NAME.onnx as well")
    for path, suffix in ((onnx, ".onnx"), (torch_export, ".pt2")):
        if path is not None and (path.suffix.lower() != suffix or path.is_dir()):
            raise ConfigError(f"{path}: expected the name of a file that ends in {suffix}")
    if data is None and (split is not None or boxes is not None):
        raise ConfigError("--split and --boxes are of a data set: give --data as well")
    require_outputs(json_file)
    folder = find_run(run)
    seen = find_view(folder, view)
    chosen = view_threshold(folder, threshold, seen.name)
    source = None if data is None else open_source(folder, data, boxes, split, TERMINAL)
    trial = prepare_trial(folder, None if chosen is None else chosen.value, source, split, images, int8, seen.name)
    if chosen is None:
        note(f"{run} has no threshold, so the file has none: run `cdtr calibrate` first, or give --threshold")
    method = tiled(load_model(folder.path), seen.input_hw, seen.size_hw)
    written = export_run(method, run_facts(folder, chosen, seen.name), trial, onnx, torch_export, int8)
    for path, content in written.items():
        write_atomic(path, content)
        print(f"wrote {path}: {len(content) / 1e6:.1f} MB")
    files = {str(path): len(content) for path, content in written.items()}
    write_answer(json_file, {"run": run, "files": files, "measured_on": trial.where, **trial.measured})
    if onnx is not None:
        next_steps([shell("cdtr", "localize", onnx) + LOCALIZE_REST])


def export_run(
    method: nn.Module,
    facts: Facts,
    trial: Trial,
    onnx: Path | None,
    torch_export: Path | None = None,
    int8: bool = False,
) -> dict[Path, bytes]:
    """The files to write, each checked against the method in PyTorch and its measures printed; nothing is written."""
    from io import BytesIO

    from cdtr.cli._shared import note
    from cdtr.deployment.graph import model_bytes, onnx_model
    from cdtr.deployment.program import export_program, load_program, method_runner, program_bytes
    from cdtr.deployment.session import session_runner

    written: dict[Path, bytes] = {}
    reference = method_runner(method)
    note("tracing the method")
    program = export_program(method, facts.input.size_hw)
    if torch_export is not None:
        written[torch_export] = program_bytes(program, facts)
        trial.check("torch.export", reference, load_program(BytesIO(written[torch_export])))
    if onnx is not None:
        note("translating it to ONNX")
        model = onnx_model(program)
        written[onnx] = model_bytes(model, facts)
        trial.check("ONNX", reference, session_runner(written[onnx], threads=1))
        if int8:
            written[onnx.with_suffix(".int8.onnx")] = trial.choose_int8(written[onnx], model, facts)
    return written


@dataclass(frozen=True, slots=True)
class Trial:
    """What the files are tried on, and in whose words. calibration: images that int8 is fitted to.

    measured: what was printed, for programs.
    """

    where: str
    pictures: Pictures
    threshold: float
    truth: TrueBoxes | None = None
    calibration: Pixels | None = None
    measured: dict[str, Any] = field(default_factory=dict)

    def check(self, what: str, reference: Runner, other: Runner) -> None:
        """Print how far a file is from the run; CheckpointError where that is too far."""
        from cdtr.deployment.compare import BATCHES, check_same, measure_agreement, measure_difference
        from cdtr.deployment.pictures import run_all

        difference = measure_difference(reference, other, self.pictures.pixels)
        check_same(what, difference)
        outputs = run_all(reference, self.pictures), run_all(other, self.pictures)
        same = measure_agreement(*outputs, self.pictures, self.threshold).same_box
        self.measured[what] = {"logits": difference.logits, "maps": difference.maps, "same_boxes": same}
        print(
            f"{what}: largest difference from the run {difference.logits:.1e} (logits), {difference.maps:.1e} (maps), "
            f"in batches of {', '.join(map(str, BATCHES))}; {round(same * len(self.pictures))} of "
            f"{len(self.pictures)} boxes the same, on {self.where}"
        )

    def choose_int8(self, plain: bytes, model: Any, facts: Facts) -> bytes:
        """Print what each int8 variant costs and brings, and answer the better one."""
        from cdtr.cli._shared import note
        from cdtr.deployment.variants import choose_variant, measure_variants

        note("making and measuring int8 variants")
        measured = measure_variants(plain, model, facts, self.pictures, self.threshold, self.calibration, self.truth)
        for variant in measured:
            print(_describe(variant))
        chosen = choose_variant(measured)
        self.measured["int8"] = {"chosen": chosen.precision, "variants": [_as_json(one) for one in measured]}
        print(f"chosen for int8: {chosen.precision}, measured on {self.where}")
        if chosen.speedup <= 1:
            print("int8 is not faster than float32 on this machine: it saves space alone")
        return chosen.content


def _as_json(variant: Variant) -> dict[str, Any]:
    tree = asdict(replace(variant, content=b""))
    del tree["content"]
    return {**tree, "bytes": len(variant.content)}


def _describe(variant: Variant) -> str:
    """A line."""
    agreement, scores = variant.agreement, variant.scores or {}
    titles = {"gt_known_loc": "GT-known Loc", "top1_loc": "Top-1 Loc", "top1_cls": "Top-1 Cls"}
    measured = "".join(f", {titles[name]} {score:.1f}%" for name, score in scores.items() if score is not None)
    return (
        f"{variant.precision}: IoU with float32's boxes {agreement.iou:.3f}, same class "
        f"{100 * agreement.same_class:.1f}%{measured}; {len(variant.content) / 1e6:.1f} MB; "
        f"{variant.ms_per_image:.1f} ms of CPU time an image, {variant.speedup:.2f} times as fast"
    )


def prepare_trial(
    run: RunFolder,
    threshold: float | None,
    source: DataSource | None,
    split: str | None,
    images: int,
    int8: bool,
    view: ViewName,
) -> Trial:
    """Pictures of the data set, evenly chosen, or drawn ones where there is none."""
    from cdtr.api import DEFAULT_THRESHOLD
    from cdtr.cli._shared import report_broken
    from cdtr.data.split import training_samples
    from cdtr.deployment.pictures import drawn_pictures, read_pictures
    from cdtr.deployment.variants import TrueBoxes
    from cdtr.evaluation import find_protocol
    from cdtr.workflows.opening import choose_split

    config, level = run.config(), DEFAULT_THRESHOLD if threshold is None else threshold
    if source is None:
        where = f"{DRAWN} drawn pictures (--data takes your own)"
        return Trial(where, drawn_pictures(DRAWN, config.data, view=view), level)
    name, samples = choose_split(run, source, split)
    pictures = read_pictures(_some(samples, images), config, report_broken, view)
    truth = TrueBoxes(source.annotate, find_protocol(config.evaluation.protocol)) if source.annotated else None
    calibration = None
    if int8:
        chosen = _some(training_samples(source), CALIBRATION_IMAGES)
        calibration = read_pictures(chosen, config, report_broken, view).pixels
    return Trial(f"{len(pictures)} images of {name}", pictures, level, truth, calibration)


def _some(samples: Sequence[Sample], most: int) -> list[Sample]:
    """At most so many, at even steps, so that all classes of a sorted list are among them."""
    step = max(1, len(samples) / most)
    return [samples[int(index * step)] for index in range(min(most, len(samples)))]
