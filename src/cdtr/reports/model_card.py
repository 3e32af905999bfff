"""The model card of a run: a README.md with the YAML header that the Hugging Face hub reads."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from cdtr.config import recipe_label, uses_prior_maps
from cdtr.reports.run_facts import cnn_of
from cdtr.reports.tables import ALL_BASELINE_NAMES, METRIC_NAMES, score_rows
from cdtr.runs import RunFolder
from cdtr.threshold import Threshold

_IN_HEADER = ("gt_known_loc", "top1_loc", "top1_cls")
_CLASSES_SHOWN = 20


def model_card(run: RunFolder, threshold: Threshold | None, title: str, repo_id: str | None = None) -> str:
    """The card of a run: data, protocol, threshold with its source, and the scores that `cdtr evaluate` stored.

    threshold: of the maps, and where it is from. repo_id: the name that the examples of use have.
    """
    scores, manifest = run.scores(), run.known_manifest()
    header = ModelCardData(
        library_name="cdtr",
        pipeline_tag="object-detection",
        tags=["weakly-supervised-object-localization", "heat-maps", run.config().method],
        model_name=title,
        eval_results=_eval_results(scores) or None,
    )
    body = [
        *_opening(run, title),
        *_use(repo_id or title),
        *_data(run, manifest),
        *_threshold(run, threshold),
        *_scores(run, scores),
        *_versions(manifest),
    ]
    return f"---\n{header.to_yaml()}\n---\n\n" + "\n".join(body).rstrip() + "\n"


def _eval_results(scores: list[dict[str, Any]]) -> list[EvalResult]:
    """The main metrics, for the hub's header."""
    return [
        EvalResult(
            task_type="object-detection",
            task_name="weakly supervised object localization",
            dataset_type=str(entry.get("data")),
            dataset_name=str(entry.get("data")),
            dataset_split=str(entry.get("split")),
            metric_type=metric,
            metric_name=f"{METRIC_NAMES[metric]}, protocol {entry.get('protocol')}",
            metric_value=round(entry["metrics"][metric], 2),
        )
        for entry in scores
        for metric in _IN_HEADER
        if (entry.get("metrics") or {}).get(metric) is not None
    ]


def _opening(run: RunFolder, title: str) -> Iterator[str]:
    config = run.config()
    height, width = config.data.input_size
    yield f"# {_plain(title)}\n"
    teachers = "image-level labels alone: nobody drew a box for the training"
    if config.backbone.stem == "cnn" and config.backbone.cnn.weights != "none":
        teachers += f", on features of {_plain(cnn_of(config.backbone.cnn))}"
    if uses_prior_maps(config):
        words = config.data.prior_maps_taught_with
        teachers = f"image-level labels and the maps of another tool, which was taught with: {words}"
    yield (
        f"Boxes and heat maps for {len(run.class_names())} classes, learned from {teachers}. Method "
        f"`{config.method}`, recipe `{_code(recipe_label(config))}`, on "
        f"`{config.backbone.name}`, images of {height}x{width} pixels.\n"
    )


def _use(name: str) -> Iterator[str]:
    yield "## Use\n"
    yield "```python\nimport cdtr\n"
    yield f'localizer = cdtr.Localizer.from_pretrained("{name}")'
    yield 'for found in localizer(["a.jpg", "b.png"]):\n    print(found.boxes_xyxy, found.scores, found.labels)\n```\n'
    yield f"```\ncdtr localize {name} IMAGES --out boxes --format coco,csv --overlays\n```\n"


def _data(run: RunFolder, manifest: Mapping[str, Any]) -> Iterator[str]:
    yield "## Data\n"
    splits, origin = manifest.get("splits") or {}, manifest.get("imported")
    if origin:
        model, file = _plain(origin.get("model", "unknown")), _code(origin["file"])
        yield f"- Weights of {model}, from `{file}` (sha256 `{_code(origin['sha256'])}`)"
    if splits:
        counts = ", ".join(
            f"{part['images']} {'held out' if name == 'held_out' else name}" for name, part in splits.items()
        )
        yield f"- Images of `{_code((manifest.get('data') or {}).get('format') or 'unknown')}` data: {counts}"
    names = run.class_names()
    more = f", and {len(names) - _CLASSES_SHOWN} more (classes.txt)" if len(names) > _CLASSES_SHOWN else ""
    yield f"- {len(names)} classes: {', '.join(f'`{_code(name)}`' for name in names[:_CLASSES_SHOWN])}{more}\n"
    empty = ", ".join(f"`{_code(name)}`" for name in run.config().data.empty_classes)
    if empty:
        yield f"- Images of these classes have no object and get no box: {empty}\n"


def _threshold(run: RunFolder, threshold: Threshold | None) -> Iterator[str]:
    yield "## Protocol and threshold\n"
    yield f"The run's protocol is `{_code(run.config().evaluation.protocol)}`."
    if threshold is None:
        yield "The maps have no calibrated threshold yet; `cdtr calibrate` chooses one, with or without boxes.\n"
    else:
        yield f"The object is what reaches {threshold.value:g} of the map's maximum: {_plain(threshold)}.\n"


def _scores(run: RunFolder, scores: list[dict[str, Any]]) -> Iterator[str]:
    yield "## Scores\n"
    if not scores:
        yield "Not measured yet: `cdtr evaluate` keeps its numbers in the run.\n"
        return
    yield "In percent. Numbers of different protocols cannot be compared.\n"
    for entry in scores:
        threshold = entry.get("threshold")
        at = (
            "no threshold"
            if threshold is None
            else f"threshold {threshold:.3g} ({_plain(entry.get('threshold_source'))})"
        )
        split, data, protocol = (_code(entry.get(key)) for key in ("split", "data", "protocol"))
        recipe = _code(entry.get("recipe") or recipe_label(run.config()))
        yield f"### `{split}` of `{data}`, protocol `{protocol}`\n"
        view = f"view `{_code(entry['view'])}`, " if entry.get("view") else ""
        yield f"Recipe `{recipe}`, {view}{entry.get('n_images')} images, {at}.\n"
        yield from _table(entry)
    yield "\\* chosen on the evaluated images, which flatters these boxes that never look at the image.\n"


def _table(entry: Mapping[str, Any]) -> Iterator[str]:
    columns = ["metric", "this model", "95% interval", *ALL_BASELINE_NAMES.values()]
    yield "| " + " | ".join(name.replace("*", "\\*") for name in columns) + " |"
    yield "|" + "---|" * len(columns)
    metrics = {key: value for key, value in (entry.get("metrics") or {}).items() if value is not None}
    for name, values in score_rows(metrics, entry.get("intervals") or {}, entry.get("baselines") or {}):
        yield "| " + " | ".join([name, *values]) + " |"
    yield ""


def _versions(manifest: Mapping[str, Any]) -> Iterator[str]:
    if manifest.get("versions"):
        yield "## Made with\n"
        yield ", ".join(f"{name} {number}" for name, number in manifest["versions"].items())


def _plain(text: object) -> str:
    """Text that cannot become markup: names come from folders and files of other people."""
    return re.sub(r"([\\`*_{}\[\]|#])", r"\\\1", html.escape(" ".join(str(text).split()), quote=False))


def _code(text: object) -> str:
    """Text for between two backticks."""
    return " ".join(str(text).replace("`", "'").split())
