"""Write the page about a run: its training, scores, errors, and images with their maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cdtr.api import DEFAULT_THRESHOLD, Localizer, as_seen, load_model, protocol_threshold
from cdtr.api.run_model import RunModel
from cdtr.data.loader import eval_loader
from cdtr.errors import CdtrError, ConfigError, DataError
from cdtr.evaluation import AttentionNoise, Evaluation, find_protocol, measure_noise
from cdtr.localization.torch_model import TorchModel
from cdtr.model.methods import initial_method
from cdtr.records import DataSource, Method, Sample
from cdtr.reports.gallery import choose_random
from cdtr.reports.notebook import html_evaluation, html_text
from cdtr.reports.report_page import Measured, write_report
from cdtr.reports.run_facts import start_of
from cdtr.runs import RunFolder, hash_file, library_versions
from cdtr.threshold import Threshold, ThresholdSource
from cdtr.workflows.evaluate import evaluate_samples
from cdtr.workflows.opening import DataLike, RunLike, choose_split, name_of, resolve_data, resolve_run
from cdtr.workflows.reporting import SILENT, Reporter

GALLERY_IMAGES = 4
NOISE_IMAGES = 1000  # images whose attention is measured before and after training


@dataclass(frozen=True, slots=True, repr=False)
class Report:
    """A page that was written.

    Attributes:
        page: the HTML file.
        measured: what the images added to it; None where they could not be had.
        absent: why no image was looked at; empty where some were.
    """

    page: Path
    measured: Measured | None
    absent: str

    def __repr__(self) -> str:
        """The file, and the images in it."""
        found = self.measured
        seen = f"no images: {self.absent}" if found is None else f"{len(found.samples)} images of {found.split}"
        return f"{type(self).__name__}({self.page}: {seen})"

    def _repr_html_(self) -> str:
        link = f'<p><a href="{html_text(str(self.page))}">{html_text(repr(self))}</a></p>'
        found = self.measured
        return link if found is None else link + html_evaluation(f"{found.split}, in percent", found.evaluation)


def report(
    run: RunLike,
    data: DataLike | None = None,
    *,
    out: str | Path | None = None,
    split: str | None = None,
    boxes: str | None = None,
    images: int = GALLERY_IMAGES,
    device: str | None = None,
    reporter: Reporter = SILENT,
) -> Report:
    """Write one HTML file about a run, which needs no other file and no connection.

    Args:
        run: a run folder, its path, or a hub id.
        data: the data set, as a path or opened; None takes where it lay when the run was trained, and leaves the images
            out if it is no longer there.
        out: the file; None takes ``report.html`` in the run folder, or in the working directory for a hub id.
        split: the images to measure on; None takes the first of test, val and held-out.
        boxes: a file or folder of boxes, where they do not lie in the data set.
        images: images in each gallery.
        device: where to compute; None takes CUDA where there is one.
        reporter: takes notes and progress.

    Returns:
        The page, and what was measured for it.

    Raises:
        ConfigError: out is a folder.
        DataError: the data that was named cannot be read, or has no such split.

    Example:
        ``cdtr.report("runs/neu", "NEU-DET", out="neu.html")``
    """
    folder, shown = resolve_run(run), name_of(run)
    home = folder.path if Path(shown).is_dir() else Path()  # a run from the hub lies in a cache
    page = home / "report.html" if out is None else Path(out)
    if page.is_dir():
        raise ConfigError(f"{page} is a folder: name the file to write, such as {page / 'report.html'}")
    measured, absent = _measure_run(folder, data, split, boxes, images, device, reporter)
    if measured is None:
        reporter.note(f"no images: {absent}")
    write_report(folder, shown, count_parameters(folder), measured, absent, page)
    return Report(page, measured, absent)


def _measure_run(
    run: RunFolder,
    data: DataLike | None,
    split: str | None,
    boxes: str | None,
    images: int,
    device: str | None,
    reporter: Reporter,
) -> tuple[Measured | None, str]:
    """What the images add, or None and why they cannot be had; DataError for that where ``data`` is given."""
    found: DataLike | None = data or (run.known_manifest().get("data") or {}).get("root")
    if found is None:
        return None, "the run does not say where its data lies; name it with `data=`."
    if data is None and not Path(str(found)).is_dir():
        return None, f"its data is no longer in {found}; name it with `data=`."
    try:
        source = resolve_data(run, found, boxes, split, reporter)
        name, samples = choose_split(run, source, split)
        evaluation = _evaluate(run, source, samples, device, reporter)
    except DataError as error:
        if data is not None or split is not None:
            raise
        return None, f"{error}."
    return examine(run, source, name, samples, evaluation, images, device, reporter), ""


def _evaluate(
    run: RunFolder, source: DataSource, samples: Sequence[Sample], device: str | None, reporter: Reporter
) -> Evaluation:
    """The run's own protocol at its threshold, at a common default where it has none; a leak is marked, no error."""
    rules = find_protocol(run.config().evaluation.protocol)
    default = None
    if protocol_threshold(run, rules, source.name) is None:
        default = Threshold(DEFAULT_THRESHOLD, ThresholdSource.DEFAULT)
    (found,) = evaluate_samples(
        run, source, samples, [rules], threshold=default, device=device, allow_leak=True, reporter=reporter
    )
    return found


def examine(
    run: RunFolder,
    source: DataSource,
    split: str,
    samples: Sequence[Sample],
    evaluation: Evaluation,
    images: int = GALLERY_IMAGES,
    device: str | None = None,
    reporter: Reporter = SILENT,
) -> Measured:
    """Return what a report needs of evaluated images beside the numbers.

    Args:
        run: the run.
        source: the data set.
        split: the name of the split of the samples.
        samples: the images that were evaluated.
        evaluation: their scores.
        images: images in each gallery.
        device: where to compute; None takes CUDA where there is one.
        reporter: takes progress.

    Returns:
        The methods after and before training, ready to predict, and how noisy their attention is.
    """
    localizer = Localizer.from_pretrained(run.path, device, evaluation.threshold)
    start, start_note = rebuild_start(run)
    noise = _measure_attention(localizer, start, source, samples, evaluation, reporter)
    after = _run_model(localizer, localizer.method)
    before = None if start is None else _run_model(localizer, start)
    drawn = after, localizer.threshold, images, noise, before, start_note, localizer.empty
    return Measured(source, split, samples, evaluation, *drawn)


def _run_model(localizer: Localizer, method: Method) -> TorchModel:
    """Return the localizer's model with a method in the place of its own."""
    return RunModel(method, localizer.config, localizer.class_names, localizer.device, view=localizer.view.name)


def _measure_attention(
    localizer: Localizer,
    start: Method | None,
    source: DataSource,
    samples: Sequence[Sample],
    evaluation: Evaluation,
    reporter: Reporter,
) -> AttentionNoise | None:
    """How much attention lies outside the true boxes, after training and before, of up to ``NOISE_IMAGES`` images."""
    with_boxes = {row.image_id for row in evaluation.rows if row.attention_ratio is not None}
    known = [sample for sample in samples if sample.image_id in with_boxes]
    if not known:
        return None
    chosen = choose_random(known, NOISE_IMAGES, localizer.config.seed)
    view = localizer.view
    before = None if start is None else as_seen(start, view)
    batches = eval_loader(chosen, localizer.config, view=view.name)
    steps = len(chosen) * (1 if start is None else 2)
    with reporter.progress("attention after and before training", steps) as advance:
        return measure_noise(
            as_seen(localizer.method, view), before, batches, source.annotate, localizer.device, advance
        )


def rebuild_start(run: RunFolder) -> tuple[Method | None, str]:
    """Build the method again as its training started with it.

    Args:
        run: a trained run.

    Returns:
        The method and what it is, in words; or None and why it cannot be had.
    """
    manifest, config = run.known_manifest(), run.config()
    if manifest.get("imported"):
        return None, "not known, as the weights were imported"
    started = manifest.get("started_from")
    if started and (not Path(started["file"]).is_file() or hash_file(Path(started["file"])) != started["sha256"]):
        return None, f"not known, as the weights that it started from are no longer in {started['file']}"
    try:
        method = initial_method(config, len(run.class_names()))
    except CdtrError as error:
        return None, f"not known, as the start cannot be built again ({error})"
    note = f"{start_of(run)}, built again with the run's seed ({config.seed})"
    then, now = manifest.get("versions") or {}, library_versions()
    changed = [
        f"{name} {then[name]}, now {now[name]}" for name in ("torch", "timm") if then.get(name, now[name]) != now[name]
    ]
    if changed:
        note += f"; it may differ, as the run was trained with {' and '.join(changed)}"
    return method, note


def count_parameters(run: RunFolder) -> int:
    """Return the number of parameters of a run's method, without those that only training needs."""
    return sum(parameter.numel() for parameter in load_model(run.path).parameters())
