"""What was trained on what: the words of a run's settings and manifest, for its report."""

from __future__ import annotations

from typing import NamedTuple

from cdtr.config import CnnConfig, Config, beyond_paper, is_on, recipe_label, specs_of
from cdtr.evaluation.run_view import choose_view
from cdtr.model.methods import takes_cnn
from cdtr.model.packaged import distribution_of
from cdtr.runs import RunFolder

_CLASSES_SHOWN = 20
_VIEWS = {
    "whole": "the whole image at that size",
    "mirrored": "the whole image at that size, and its mirror image",
    "crop": "the centre of the image, its short side resized to {0} pixels",
    "tiled": "tiles of that size from the image at {0}×{1} pixels, their maps stitched",
}
_STARTS = {"none": "random weights", "hub": "the pretrained weights of timm's hub"}


class Module(NamedTuple):
    """One of the modules that a run can switch. settings: what it was set to, empty where it is off."""

    name: str
    does: str
    on: bool
    settings: str


Facts = list[tuple[str, str]]


def start_of(run: RunFolder) -> str:
    """What the training of the network started from, in words."""
    manifest, weights = run.known_manifest(), run.config().backbone.weights
    if manifest.get("imported"):
        return f"weights imported from {manifest['imported']['file']}"
    pretrained = ((manifest.get("started_from") or {}).get("notes") or {}).get("pretrained_on")
    start = _STARTS.get(weights, f"the file {weights}") + (f", pretrained on {pretrained}" if pretrained else "")
    backbone = run.config().backbone
    if weights == "package":
        start = f"the ImageNet weights of the package {distribution_of(backbone.name)}"
    start += ", frozen" if backbone.frozen else ""
    return f"{cnn_of(backbone.cnn)}; the rest from {start}" if backbone.stem == "cnn" else start


def cnn_of(cnn: CnnConfig) -> str:
    """The CNN that patches are made from and its weights, in words."""
    package = f"the ImageNet weights of the package {distribution_of(cnn.name)}"
    weights = {"package": package, "hub": "the pretrained weights of timm's hub", "none": "random weights"}
    return f"{cnn.name}{', frozen,' if cnn.frozen else ''} with {weights.get(cnn.weights, f'the file {cnn.weights}')}"


def data_facts(run: RunFolder) -> Facts:
    """Describe the data set of a run."""
    manifest, names = run.known_manifest(), run.class_names()
    found, splits = manifest.get("data") or {}, manifest.get("splits") or {}
    facts = []
    if found.get("format"):
        facts.append(("Data set", found["format"] + (f", from {found['root']}" if found.get("root") else "")))
    more = f" and {len(names) - _CLASSES_SHOWN} more" if len(names) > _CLASSES_SHOWN else ""
    facts.append(("Classes", f"{len(names)}: {', '.join(names[:_CLASSES_SHOWN])}{more}"))
    if "fit" in splits:
        facts.append(("Trained on", f"{splits['fit']['images']:,} images with class labels; no box was looked at"))
    if "held_out" in splits:
        use = "for the threshold and the curves"
        facts.append(("Held out", f"{splits['held_out']['images']:,} training images, {use}"))
    if manifest.get("broken_images"):
        facts.append(("Left out", f"{len(manifest['broken_images']):,} images that could not be read"))
    return facts


def model_facts(run: RunFolder, parameters: int) -> Facts:
    """Describe the method and its modules."""
    config = run.config()
    height, width = config.data.input_size
    own = ", ".join(f"{name} {value}" for name, value in config.backbone.overrides.items())
    backbone = config.backbone.name + (f" with {own}" if own else "")
    return [
        ("Recipe", recipe_label(config)),
        ("Method", f"{config.method}, the {_fidelity(config)}"),
        ("Backbone", backbone if takes_cnn(config) else f"{backbone}, {config.backbone.stem} stem"),
        ("Started from", start_of(run)),
        ("Size", f"{parameters:,} parameters, images of {height}×{width} pixels"),
        ("Sees", _VIEWS[choose_view(run)].format(*config.data.resize)),
    ]


def training_facts(run: RunFolder) -> Facts:
    """Describe how a run was trained."""
    config, manifest = run.config(), run.known_manifest()
    train = config.train
    if manifest.get("imported"):
        return [("Training", "somewhere else: the weights were imported")]
    facts = [
        ("Length", f"{_epochs(train.epochs)}, {train.batch_size} images a step"),
        ("Learning rate", f"{train.lr:g}, {train.schedule}, warm-up of {_epochs(train.warmup_epochs)}"),
        ("Augmentation", config.data.augment.replace("_", " and ")),
        ("Seed", str(config.seed)),
    ]
    for again in manifest.get("resumed_with") or []:
        changed = ", ".join(f"{key} = {value}" for key, value in again["settings"].items())
        facts.append(("Resumed", f"at step {again['step']} with {changed}"))
    return facts


def version_facts(run: RunFolder) -> Facts:
    """List the versions that a run was trained with."""
    manifest = run.known_manifest()
    versions = ", ".join(f"{name} {number}" for name, number in (manifest.get("versions") or {}).items())
    facts = [("Versions", versions)] if versions else []
    if manifest.get("git_revision"):
        facts.append(("Git revision", manifest["git_revision"]))
    return facts


def modules(run: RunFolder) -> list[Module]:
    """List the modules of a run's configuration, on or off, in the order of the paper."""
    config, manifest = run.config(), run.known_manifest()
    found = []
    for spec in specs_of(config):
        if spec.methods and config.method not in spec.methods:
            continue
        on = is_on(config, spec.name)
        settings = spec.summary(getattr(config, spec.name), manifest) if on else ""
        found.append(Module(spec.title, spec.description, on, settings))
    return found


def _epochs(count: float) -> str:
    return f"{count:g} epoch{'' if count == 1 else 's'}"


def _fidelity(config: Config) -> str:
    own = "paper's equations" if config.fidelity == "paper" else "released code's ways"
    more = ", ".join(beyond_paper(config).values())
    return f"{own}, and what the paper has not: {more}" if more else own
