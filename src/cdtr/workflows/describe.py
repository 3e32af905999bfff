"""What a run is: data, settings, threshold, size and files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from cdtr.api import choose_threshold, choose_view, load_model
from cdtr.config import Config, ViewName, load_config, parse_config, preset_names, recipe_label, switched_by_method
from cdtr.model.registry import find_method
from cdtr.reports.notebook import html_table
from cdtr.reports.run_facts import start_of
from cdtr.runs import RunFolder
from cdtr.threshold import Threshold
from cdtr.workflows.opening import RunLike, resolve_run

_CLASSES_SHOWN = 6


@dataclass(frozen=True, slots=True, repr=False)
class Description:
    """What a run is.

    Attributes:
        run: the run.
        config: its settings.
        class_names: the names of the classes, by label.
        manifest: what is known of the training; empty where the run has no manifest.
        parameters: the number of the method's parameters, without those that only training needs.
        preset: the preset whose settings are the most like those that were asked for.
        view: what the network sees of an image.
        threshold: the map threshold and where it is from; None where there is none yet.
        files: the size in bytes of each file, by name.
    """

    run: RunFolder
    config: Config
    class_names: tuple[str, ...]
    manifest: Mapping[str, Any]
    parameters: int
    preset: str
    view: ViewName
    threshold: Threshold | None
    files: Mapping[str, int]

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that differ from the defaults, by dotted name; those of the preset are among them."""
        defaults = type(self.config)()  # with the sections of the run's method
        return dict(_differences(defaults.model_dump(mode="json"), self.config.model_dump(mode="json")))

    @property
    def changed(self) -> dict[str, Any]:
        """The settings that were asked for and differ from those of the preset, by dotted name."""
        return _changes(load_config(self.preset), _requested(self.config, self.manifest))

    def lines(self) -> Iterator[str]:
        """Yield the lines that `cdtr describe` prints."""
        for name, value in self._facts():
            yield f"{name}: {value}"
        changed = self.changed
        yield f"settings changed from those of {self.preset}:" + ("" if changed else " none")
        for key, value in changed.items():
            yield f"  {key} = {value}"
        if self.manifest.get("versions"):
            yield "versions: " + ", ".join(f"{name} {number}" for name, number in self.manifest["versions"].items())
        yield "files:"
        for name, size in self.files.items():
            yield f"  {name} ({_readable_size(size)})"

    def to_json(self) -> dict[str, Any]:
        """The same facts for programs."""
        return {
            "run": str(self.run.path),
            "recipe": recipe_label(self.config),
            "method": self.config.method,
            "fidelity": self.config.fidelity,
            "backbone": self.config.backbone.name,
            "started_from": start_of(self.run),
            "parameters": self.parameters,
            "classes": list(self.class_names),
            "view": self.view,
            "threshold": None if self.threshold is None else self.threshold.value,
            "threshold_source": None if self.threshold is None else str(self.threshold),
            "preset": self.preset,
            "changed": self.changed,
            "settings": self.settings,
            "manifest": dict(self.manifest),
            "files": dict(self.files),
        }

    def __repr__(self) -> str:
        """The run, its recipe, method, classes and threshold."""
        threshold = "no threshold" if self.threshold is None else f"threshold {self.threshold.value:.3g}"
        return (
            f"{type(self).__name__}({self.run.path}: recipe {recipe_label(self.config)}, method {self.config.method}, "
            f"{len(self.class_names)} classes, {self.parameters:,} parameters, {threshold})"
        )

    def _repr_html_(self) -> str:
        return html_table(str(self.run.path), ["fact", "value"], self._facts())

    def _facts(self) -> Iterator[tuple[str, str]]:
        config, names, manifest = self.config, self.class_names, self.manifest
        yield "run", str(self.run.path)
        yield "preset", self.preset
        yield "recipe", recipe_label(config)
        yield "method", f"{config.method}, fidelity {config.fidelity}, backbone {config.backbone.name}"
        yield "started from", start_of(self.run)
        yield "parameters", f"{self.parameters:,}"
        more = ", ..." if len(names) > _CLASSES_SHOWN else ""
        yield "classes", f"{len(names)} ({', '.join(names[:_CLASSES_SHOWN])}{more})"
        if manifest.get("splits"):
            counts = ", ".join(
                f"{part['images']} {name.replace('_', ' ')}" for name, part in manifest["splits"].items()
            )
            yield "trained on", f"{(manifest.get('data') or {}).get('format') or 'unknown'} data, {counts} images"
        if manifest.get("imported"):
            origin = manifest["imported"]
            yield "imported from", f"{origin['file']} (sha256 {origin['sha256']})"
        if manifest.get("broken_images"):
            yield "broken images left out", str(len(manifest["broken_images"]))
        if manifest.get("clip_fit"):
            yield "CLIP fit", f"{manifest['clip_fit']['fit']:.2f}, SBA {'on' if config.sba.enabled else 'off'}"
        configured = config.evaluation.view
        yield "view", self.view + (f" (the settings say {configured})" if self.view != configured else "")
        if self.threshold is None:
            yield "threshold", "none yet, run `cdtr calibrate`, with `label_free=True` where there are no boxes"
        else:
            yield "threshold", f"{self.threshold.value:.3g}, {self.threshold}"


def describe(run: RunLike) -> Description:
    """Return what a run is.

    Args:
        run: a run folder, its path, or a hub id.

    Raises:
        CheckpointError: the run is missing or damaged, or its weights do not fit its settings.

    Example:
        ``cdtr.describe("runs/neu").settings``
    """
    folder = resolve_run(run)
    model = load_model(folder.path)
    return Description(
        run=folder,
        config=folder.config(),
        class_names=folder.class_names(),
        manifest=folder.known_manifest(),
        preset=_nearest_preset(folder.config(), folder.known_manifest()),
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        view=choose_view(folder),
        threshold=choose_threshold(folder),
        files={file.name: file.stat().st_size for file in sorted(folder.path.iterdir()) if file.is_file()},
    )


def _requested(config: Config, manifest: Mapping[str, Any]) -> Config:
    """The settings that a training was asked for, before it settled what they left open; else the run's own."""
    text = manifest.get("requested_config")
    return config if text is None else parse_config(str(text), "manifest.json")


def _changes(preset: Config, asked: Config) -> dict[str, Any]:
    """The settings that were asked for and are not those of a preset, by dotted name.

    Switches that a preset leaves open are on or off as the method says, which is no change of anybody's.
    """
    of_preset, found = (switched_by_method(one, find_method(asked.method).MODULES) for one in (preset, asked))
    # The method may have settings that the preset's method has not.
    before = {**type(found)().model_dump(mode="json"), **of_preset.model_dump(mode="json")}
    return dict(_differences(before, found.model_dump(mode="json")))


def _nearest_preset(config: Config, manifest: Mapping[str, Any]) -> str:
    """The preset that a run was asked for, as far as its settings tell: it does not keep the name.

    Of the presets of the run's recipe it is the one that sets the most, of those that set nothing else than what was
    asked for. Another recipe gives the preset from which the fewest settings differ, of equals that of the data set.
    """
    presets = {name: load_config(name) for name in preset_names()}
    asked = _requested(config, manifest)
    base = presets.get(config.recipe)
    if base is None:
        data = (manifest.get("data") or {}).get("format")

        def distance(name: str) -> tuple[int, bool, int]:
            return len(_changes(presets[name], asked)), name.replace("-", "_") != data, len(name)

        return min(presets, key=distance)
    own = {
        name: dict(_differences(base.model_dump(mode="json"), one.model_dump(mode="json")))
        for name, one in presets.items()
        if one.recipe == config.recipe
    }
    held = [name for name, sets in own.items() if not sets.keys() & _changes(presets[name], asked).keys()]
    return max(held or [config.recipe], key=lambda name: (len(own[name]), name == config.recipe))


def _differences(default: dict[str, Any], found: dict[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in found.items():
        here = f"{path}.{key}".lstrip(".")
        if isinstance(value, dict) and isinstance(default.get(key), dict) and default[key]:
            yield from _differences(default[key], value, here)
        elif value != default.get(key):
            yield here, value


def _readable_size(count: float) -> str:
    for unit in ("B", "kB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} MB"
