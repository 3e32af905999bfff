"""`cdtr quickstart`"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from cdtr.config import Config
    from cdtr.evaluation import Evaluation
    from cdtr.records import DataSource, Sample
    from cdtr.runs import RunFolder

PRESET = "quickstart"
CLIP_EPOCHS = 4
LOCALIZED = 48  # validation images whose overlays are written


def command(
    out: Annotated[Path, typer.Option("--out", help="The folder to write.")] = Path("runs/quickstart"),
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the pictures and of the training.")] = 0,
    images: Annotated[str, typer.Option("--images", help="Training and validation images to draw.")] = "3200,800",
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="One setting, such as train.epochs=2; may be repeated.")
    ] = None,
) -> None:
    """Draw a small data set, train on it, measure, and write a page about it: minutes on a CPU, nothing to download.

    What is there already is kept, so that a stopped quickstart goes on when called again.

    Example: cdtr quickstart --out runs/quickstart
    """
    from cdtr.cli._shared import require_folder
    from cdtr.config import load_config
    from cdtr.model.methods import with_switches
    from cdtr.workflows.opening import check_evaluation

    n_train, n_val = parse_counts(images)
    require_folder(out)
    settings = [f"seed={seed}", f"sba.model={(out / 'clip').resolve().as_posix()}", *(overrides or [])]
    config = with_switches(load_config(PRESET, settings))
    check_evaluation(config)
    seconds: dict[str, float] = {}
    with _step(seconds, "drawing images"):
        source = draw(out / "data", n_train, n_val, seed)
    from cdtr.training.loop import train

    if config.sba.enabled:
        with _step(seconds, "training a small CLIP"):
            train_small_clip(config, source, out / "clip")
    with _step(seconds, "training CDTR"):
        run = train(config, source, out / "run", resume=(out / "run").is_dir())
    samples = source.splits["val"]
    with _step(seconds, "calibrating and measuring"):
        result = measure(run, source, samples, out)
    with _step(seconds, "localizing"):
        page = write_answers(run, source, samples, result, seconds, seed, out)
    print(f"wrote {out / 'boxes'}: boxes and overlays of some validation images")
    print(f"wrote {page}: open it in a browser")


def parse_counts(images: str) -> tuple[int, int]:
    from cdtr.errors import ConfigError

    try:
        n_train, n_val = (int(part) for part in images.split(","))
    except ValueError as error:
        raise ConfigError(
            f"--images {images!r}: expected two numbers, of training and validation images: 3200,800"
        ) from error
    if n_val < 1:
        raise ConfigError(f"--images {images!r}: expected at least one validation image")
    return n_train, n_val


def draw(root: Path, n_train: int, n_val: int, seed: int) -> DataSource:
    from cdtr.cli._shared import progress_bar
    from cdtr.data.datasets.synthetic import generate

    with progress_bar("drawing images", n_train + n_val) as move:
        return generate(root, n_train, n_val, seed=seed, progress=lambda _done, _all: move(1))


def train_small_clip(config: Config, source: DataSource, out: Path) -> None:
    from cdtr.model.clip_folder import WEIGHTS_FILE
    from cdtr.training.clip import SmallClip, train_clip

    if (out / WEIGHTS_FILE).is_file():
        return
    print(train_clip(config, source, out, SmallClip(epochs=CLIP_EPOCHS)).line("held-out training images"))


def measure(run: RunFolder, source: DataSource, samples: tuple[Sample, ...], out: Path) -> Evaluation:
    """Calibrate if that was not done, evaluate, and write and print the numbers."""
    from cdtr.cli.calibrate import calibrate_run
    from cdtr.cli.evaluate import evaluate_run
    from cdtr.evaluation import find_protocol
    from cdtr.reports.tables import metrics_table, summary_lines
    from cdtr.runs import write_json
    from cdtr.terminal import PlainConsole

    if run.calibration() is None:
        calibrate_run(run, source)
    (result,) = evaluate_run(run, source, samples, [find_protocol(run.config().evaluation.protocol)])
    PlainConsole().print(metrics_table(result))
    for line in summary_lines(result):
        print(line)
    write_json(out / "evaluation.json", {"split": "val", **result.to_json(source.class_names)})
    print(f"wrote {out / 'evaluation.json'}")
    return result


def choose_samples(samples: Sequence[Sample], seed: int) -> list[Sample]:
    """Up to ``LOCALIZED`` samples at random, in their order: every n-th would be of one class, as classes alternate."""
    import numpy as np

    order = np.random.default_rng(seed).permutation(len(samples))[:LOCALIZED]
    return [samples[index] for index in sorted(order)]


def write_answers(
    run: RunFolder,
    source: DataSource,
    samples: tuple[Sample, ...],
    evaluation: Evaluation,
    seconds: dict[str, float],
    seed: int,
    out: Path,
) -> Path:
    """Boxes and overlays of some validation images, and the page."""
    from cdtr.api import Localizer
    from cdtr.cli._shared import TERMINAL
    from cdtr.cli.report import count_parameters, examine
    from cdtr.exports import find_exporter
    from cdtr.reports.quickstart import write_quickstart
    from cdtr.workflows.box_files import localize_images

    localizer = Localizer.from_pretrained(run.path)
    pictures = [(sample.image_id, sample.path) for sample in choose_samples(samples, seed)]
    found = localize_images(localizer, pictures, out / "boxes", overlays=True, reporter=TERMINAL)
    for name in ("coco", "csv"):
        exporter = find_exporter(name)
        exporter.write(found, out / "boxes" / exporter.file_name, source.class_names)
    page = out / "index.html"
    measured = examine(run, source, "val", samples, evaluation)
    write_quickstart(run, count_parameters(run), measured, dict(seconds), page)
    return page


@contextmanager
def _step(seconds: dict[str, float], name: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    seconds[name] = time.perf_counter() - start
