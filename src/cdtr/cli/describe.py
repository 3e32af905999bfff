"""`cdtr describe`"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cdtr.cli._options import JsonOption

if TYPE_CHECKING:
    from cdtr.runs import RunFolder


def command(
    run: Annotated[str, typer.Argument(help="A trained run folder, or a hub id.")],
    json_file: JsonOption = None,
) -> None:
    """Say what a run is: data, settings that differ from the defaults, threshold, size, files.

    Example: cdtr describe runs/neu
    """
    from cdtr.api import find_run
    from cdtr.cli._output import write_answer
    from cdtr.cli._shared import require_outputs

    require_outputs(json_file)
    folder = find_run(run)
    for line in describe(folder):
        print(line)
    if json_file is not None:
        write_answer(json_file, describe_as_json(folder))


def describe(run: RunFolder) -> Iterator[str]:
    """The lines of the description."""
    from cdtr.api import choose_view, load_model
    from cdtr.config import Config, recipe_label

    model = load_model(run.path)  # first, so that weights that do not fit are an error before any line
    config, names = run.config(), run.class_names()
    manifest = run.known_manifest()
    yield f"run: {run.path}"
    yield f"recipe: {recipe_label(config)}"
    yield f"method: {config.method}, fidelity {config.fidelity}, backbone {config.backbone.name}"
    yield f"parameters: {sum(parameter.numel() for parameter in model.parameters()):,}"
    yield f"classes: {len(names)} ({', '.join(names[:6])}{', ...' if len(names) > 6 else ''})"
    splits = manifest.get("splits")
    if splits:
        counts = ", ".join(f"{part['images']} {name.replace('_', ' ')}" for name, part in splits.items())
        yield f"trained on: {(manifest.get('data') or {}).get('format') or 'unknown'} data, {counts} images"
    if manifest.get("imported"):
        origin = manifest["imported"]
        yield f"imported from: {origin['file']} (sha256 {origin['sha256']})"
    if manifest.get("broken_images"):
        yield f"broken images left out: {len(manifest['broken_images'])}"
    if manifest.get("clip_fit"):
        yield f"CLIP fit: {manifest['clip_fit']['fit']:.2f}, SBA {'on' if config.sba.enabled else 'off'}"
    view, configured = choose_view(run), config.evaluation.view
    yield f"view: {view}" + (f" (the settings say {configured})" if view != configured else "")
    yield f"threshold: {_threshold(run)}"
    yield "settings that differ from the defaults:"
    defaults = Config().model_dump(mode="json")
    for key, value in _differences(defaults, config.model_dump(mode="json")):
        yield f"  {key} = {value}"
    if manifest.get("versions"):
        yield "versions: " + ", ".join(f"{name} {number}" for name, number in manifest["versions"].items())
    yield "files:"
    for file in sorted(path for path in run.path.iterdir() if path.is_file()):
        yield f"  {file.name} ({_size(file.stat().st_size)})"


def describe_as_json(run: RunFolder) -> dict[str, Any]:
    """The same facts for programs."""
    from cdtr.api import choose_threshold, choose_view, load_model
    from cdtr.config import Config, recipe_label

    config = run.config()
    threshold, origin = choose_threshold(run)
    return {
        "run": str(run.path),
        "recipe": recipe_label(config),
        "method": config.method,
        "fidelity": config.fidelity,
        "backbone": config.backbone.name,
        "parameters": sum(parameter.numel() for parameter in load_model(run.path).parameters()),
        "classes": list(run.class_names()),
        "view": choose_view(run),
        "threshold": threshold,
        "threshold_source": origin,
        "settings": dict(_differences(Config().model_dump(mode="json"), config.model_dump(mode="json"))),
        "manifest": run.manifest() if run.manifest_file.is_file() else {},
        "files": {file.name: file.stat().st_size for file in sorted(run.path.iterdir()) if file.is_file()},
    }


def _threshold(run: RunFolder) -> str:
    from cdtr.api import choose_threshold

    threshold, origin = choose_threshold(run)
    return "none yet, run `cdtr calibrate`" if threshold is None else f"{threshold:.3g}, {origin}"


def _differences(default: dict[str, Any], found: dict[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in found.items():
        here = f"{path}.{key}".lstrip(".")
        if isinstance(value, dict) and isinstance(default.get(key), dict) and default[key]:
            yield from _differences(default[key], value, here)
        elif value != default.get(key):
            yield here, value


def _size(count: float) -> str:
    for unit in ("B", "kB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} MB"
