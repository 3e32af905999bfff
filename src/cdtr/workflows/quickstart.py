"""Draw a small data set, train on it, measure, localize, and write a page about it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cdtr.api import Localizer
from cdtr.config import Config, load_config
from cdtr.data.datasets.synthetic import generate
from cdtr.errors import ConfigError
from cdtr.evaluation import Evaluation, find_protocol
from cdtr.formats import find_exporter
from cdtr.model.clip_folder import WEIGHTS_FILE
from cdtr.model.methods import with_switches
from cdtr.records import DataSource, Sample
from cdtr.reports.quickstart_page import write_quickstart
from cdtr.runs import RunFolder, write_json
from cdtr.training.clip import SmallClip, train_clip
from cdtr.training.clip_fit import ClipFit
from cdtr.training.loop import train
from cdtr.workflows.box_files import localize_images
from cdtr.workflows.calibrate import calibrate
from cdtr.workflows.evaluate import evaluate_samples
from cdtr.workflows.opening import check_evaluation
from cdtr.workflows.report import count_parameters, examine
from cdtr.workflows.reporting import SILENT, Reporter
from cdtr.workflows.train import console_of

PRESET = "quickstart"
CLIP_EPOCHS = 4
LOCALIZED = 48  # validation images whose overlays are written
SPLIT = "val"


@dataclass(frozen=True, slots=True)
class Quickstart:
    """What a quickstart wrote.

    Attributes:
        run: the trained run.
        clip_fit: how well the small CLIP knows the classes; None where it was there already or SBA is off.
        evaluation: the scores on the validation images.
        numbers: the file of the scores.
        boxes: the folder of boxes and overlays of some validation images.
        page: the HTML file about all of it.
    """

    run: RunFolder
    clip_fit: ClipFit | None
    evaluation: Evaluation
    numbers: Path
    boxes: Path
    page: Path


def quickstart(
    out: str | Path = "runs/quickstart",
    *,
    images: tuple[int, int] = (3200, 800),
    seed: int = 0,
    overrides: Sequence[str] = (),
    reporter: Reporter = SILENT,
) -> Quickstart:
    """Draw a small data set, train on it, measure, and write a page about it: minutes on a CPU, no download.

    What is there already is kept, so that a stopped quickstart goes on when it is called again.

    Args:
        out: the folder to write.
        images: the numbers of training and of validation images to draw.
        seed: of the images and of the training.
        overrides: settings over the preset ``quickstart``, such as ``train.epochs=2``.
        reporter: takes notes and progress.

    Returns:
        The run, its scores and the page.

    Raises:
        ConfigError: a setting is wrong.
        DataError: ``out`` holds other files.
    """
    out = Path(out)
    settings = [f"seed={seed}", f"sba.model={(out / 'clip').resolve().as_posix()}", *overrides]
    config = with_switches(load_config(PRESET, settings))
    check_evaluation(config)
    seconds: dict[str, float] = {}
    with _timed(seconds, "drawing images"), reporter.progress("drawing images", sum(images)) as advance:
        source = generate(out / "data", *images, seed=seed, progress=lambda _done, _all: advance(1))
    clip_fit = None
    if config.sba.enabled:
        with _timed(seconds, "training a small CLIP"):
            clip_fit = _train_clip(config, source, out / "clip", reporter)
    with _timed(seconds, "training CDTR"):
        run = train(config, source, out / "run", resume=(out / "run").is_dir(), console=console_of(reporter))
    with _timed(seconds, "calibrating and measuring"):
        evaluation = _measure(run, source, out / "evaluation.json", reporter)
    with _timed(seconds, "localizing"):
        _localize(run, source, out / "boxes", seed, reporter)
        measured = examine(run, source, SPLIT, source.splits[SPLIT], evaluation, reporter=reporter)
        write_quickstart(run, count_parameters(run), measured, dict(seconds), out / "index.html")
    return Quickstart(run, clip_fit, evaluation, out / "evaluation.json", out / "boxes", out / "index.html")


def parse_counts(images: str) -> tuple[int, int]:
    """Return the numbers of training and validation images of a text, ``3200,800``; ConfigError for anything else."""
    try:
        n_train, n_val = (int(part) for part in images.split(","))
    except ValueError as error:
        raise ConfigError(
            f"`images={images!r}`: expected two numbers, of training and validation images: 3200,800"
        ) from error
    if n_val < 1:
        raise ConfigError(f"`images={images!r}`: expected at least one validation image")
    return n_train, n_val


def choose_samples(samples: Sequence[Sample], seed: int) -> list[Sample]:
    """Return up to ``LOCALIZED`` samples at random, in their order.

    Every n-th sample would be of one class, as the classes alternate.
    """
    order = np.random.default_rng(seed).permutation(len(samples))[:LOCALIZED]
    return [samples[index] for index in sorted(order)]


def _train_clip(config: Config, source: DataSource, out: Path, reporter: Reporter) -> ClipFit | None:
    """Train the small CLIP unless it is there."""
    if (out / WEIGHTS_FILE).is_file():
        return None
    return train_clip(config, source, out, SmallClip(epochs=CLIP_EPOCHS), console_of(reporter))


def _measure(run: RunFolder, source: DataSource, numbers: Path, reporter: Reporter) -> Evaluation:
    """Calibrate unless that is done, evaluate, and write the scores."""
    if run.calibration() is None:
        calibrate(run, source, reporter=reporter)
    rules = [find_protocol(run.config().evaluation.protocol)]
    (result,) = evaluate_samples(run, source, source.splits[SPLIT], rules, reporter=reporter)
    write_json(numbers, {"split": SPLIT, **result.to_json(source.class_names)})
    return result


def _localize(run: RunFolder, source: DataSource, out: Path, seed: int, reporter: Reporter) -> None:
    """Write the boxes and overlays of some validation images."""
    localizer = Localizer.from_pretrained(run.path)
    images = [(sample.image_id, sample.path) for sample in choose_samples(source.splits[SPLIT], seed)]
    found = localize_images(localizer, images, out, overlays=True, reporter=reporter)
    for name in ("coco", "csv"):
        exporter = find_exporter(name)
        exporter.write(found, out / exporter.file_name, source.class_names)


@contextmanager
def _timed(seconds: dict[str, float], step: str) -> Iterator[None]:
    """Note how long a step took."""
    start = time.perf_counter()
    yield
    seconds[step] = time.perf_counter() - start
