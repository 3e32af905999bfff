"""The metadata of an exported file: all that is needed to get from an image to a box. Imports no PyTorch.

It is one JSON object under ``METADATA_KEY`` in the metadata of the ONNX file.
"""

from __future__ import annotations

import json
from importlib.metadata import version
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from cdtr.config import ViewName, recipe_label
from cdtr.config.types import Deviations, Means, Side
from cdtr.data.empty_classes import empty_labels
from cdtr.data.pixels import View
from cdtr.errors import CheckpointError, DataError
from cdtr.json_tree import parse_json
from cdtr.localization.presence import EmptyClasses
from cdtr.localization.quality import BoxQuality
from cdtr.localization.tile_grid import TileScale
from cdtr.runs import RunFolder, hash_file
from cdtr.threshold import Threshold

METADATA_KEY = "cdtr"
FORMAT: Final = 3  # goes up when a reader of the old format would go wrong
_WITHOUT_EMPTY: Final = 2  # what readers before classes without an object understand
_WITHOUT_CROPS: Final = 1  # what readers before the view crop understand

# int8-static is no longer written; files of it can still be read.
Precision = Literal["float32", "int8-dynamic", "int8-static"]
# A terminal would obey control characters.
ClassName = Annotated[str, Field(min_length=1, pattern=r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]+$")]
FLOAT32: Precision = "float32"


class _Part(BaseModel):
    """Frozen. What a later version adds without harm to this one is left aside."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class Run(_Part):
    """The run that a file was made of.

    Attributes:
        weights_sha256: hash of its ``model.safetensors``.
        recipe: the label of its recipe; None in files from before there were labels.
    """

    name: str
    method: str
    weights_sha256: str
    git_revision: str | None = None
    recipe: str | None = None


class Input(_Part):
    """How an RGB image becomes the input ``images``, float32 of shape (batch, 3, height, width).

    The image is resized as ``resize`` says, multiplied by ``scale``, less ``mean`` and divided by ``std``.

    resize: ``bilinear-antialiased``: the whole image resized to ``size_hw`` without a crop, by Pillow's BILINEAR, whose
    filter widens when it shrinks an image; elsewhere called antialiased bilinear, with half-pixel centres, rounded to
    8 bits before ``scale``. ``short-side-bicubic-crop``: the short side resized to ``short_side`` by Pillow's BICUBIC,
    the long side in proportion, cut off to a whole number; then the central ``size_hw``, its corner rounded half to
    even. The maps then cover the crop. view: what the run's network saw; a ``tiled`` network cuts its tiles itself.
    trained_hw: typical height and width of the training images, which are the scale of tiles of large images; None in
    files from before it was noted.
    """

    name: Literal["images"] = "images"
    channels: Literal["RGB"] = "RGB"
    size_hw: tuple[Side, Side]
    resize: Literal["bilinear-antialiased", "short-side-bicubic-crop"] = "bilinear-antialiased"
    short_side: Side | None = None
    view: ViewName = "whole"
    trained_hw: tuple[Side, Side] | None = None
    scale: float = Field(1 / 255, ge=1 / 256, le=1 / 255)
    mean: Means
    std: Deviations
    max_pixels: int = Field(ge=1, le=1_000_000_000)

    @model_validator(mode="after")
    def _usable(self) -> Input:
        if (self.resize == "short-side-bicubic-crop") != (self.short_side is not None):
            raise ValueError("short_side belongs to the resize short-side-bicubic-crop")
        self.as_view()
        return self

    def as_view(self) -> View:
        """How an image becomes pixels. Tiles are cut in the network, for which the image is whole."""
        if self.short_side is None:
            return View("whole", self.size_hw, self.size_hw)
        return View("crop", self.size_hw, (self.short_side, self.short_side))


class Outputs(_Part):
    """logits: (batch, classes), a softmax makes them probabilities. maps: (batch, classes, h, w), not normalised."""

    logits: Literal["logits"] = "logits"
    maps: Literal["maps"] = "maps"


class Facts(_Part):
    """The metadata of an exported file.

    threshold: share of a map's maximum that the object reaches, once the map is resized to the image and scaled to
    [0, 1]; None where the run has none. box_scores: of ``BoxQuality``, None for a run calibrated without boxes.
    calibrated_threshold: the one that ``box_scores`` were fitted at; None in files from before. map_span: the span of a
    typical image's map, by which tiles of large images are judged; None in files from before. precision: how the
    weights are stored. empty_classes: those without an object, whose images get no box; object_threshold: probability
    of an object from which an image gets one, None where the most probable class decides.
    """

    format: Literal[1, 2, 3] = _WITHOUT_CROPS
    cdtr_version: str
    run: Run
    class_names: tuple[ClassName, ...] = Field(min_length=1)
    input: Input
    outputs: Outputs = Outputs()
    threshold: float | None = Field(None, ge=0, lt=1)
    threshold_source: str | None = None
    box_scores: dict[str, Any] | None = None
    calibrated_threshold: float | None = Field(None, ge=0, lt=1)
    map_span: float | None = Field(None, ge=0)
    precision: Precision = FLOAT32
    empty_classes: tuple[ClassName, ...] = ()
    object_threshold: float | None = Field(None, ge=0, lt=1)

    def map_threshold(self) -> Threshold | None:
        """The threshold and where it is from."""
        return None if self.threshold is None else Threshold.parse(self.threshold, self.threshold_source)

    def box_quality(self) -> BoxQuality | None:
        """What scores the boxes, if anything."""
        return None if self.box_scores is None else BoxQuality.from_json(self.box_scores, len(self.class_names))

    def tile_scale(self) -> TileScale:
        """What chooses the tiles of large images."""
        return TileScale(self.input.size_hw, self.input.trained_hw or self.input.size_hw, self.map_span)

    def empty(self) -> EmptyClasses | None:
        """The classes without an object and the rule by which an image gets no box, if there are such classes."""
        labels = empty_labels(self.empty_classes, self.class_names, "the file")
        return EmptyClasses(labels, self.object_threshold) if labels else None

    def to_json(self) -> str:
        """Return the facts as JSON, as the file's metadata holds them."""
        return json.dumps(self.model_dump(mode="json"), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str, origin: str) -> Facts:
        """CheckpointError for a newer format, and for what ``to_json`` did not write. origin: whose they are."""
        try:
            tree = parse_json(text)
            json.dumps(tree, ensure_ascii=False).encode("utf-8")  # names that are no text
            newer = isinstance(tree, dict) and isinstance(tree.get("format"), int) and tree["format"] > FORMAT
            if newer:
                raise CheckpointError(
                    f"{origin} has format {tree['format']}, this version of cdtr reads up to {FORMAT}: "
                    "install a newer cdtr"
                )
            facts = cls.model_validate(tree)
            facts.box_quality()
            facts.empty()
        except DataError as error:
            raise CheckpointError(f"{origin}: {error}: export the run again") from error
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise CheckpointError(f"{origin}: metadata {where}: {first['msg']}: export the run again") from error
        except (ValueError, RecursionError) as error:
            raise CheckpointError(f"{origin}: metadata is not JSON ({error}): export the run again") from error
        return facts


def run_facts(run: RunFolder, threshold: Threshold | None, view: ViewName = "whole") -> Facts:
    """The facts of a trained run, with the threshold that counts, where it is from, and what the network sees."""
    config = run.config()
    calibration = run.calibration() or {}
    seen = View.of(view, config.data)
    cropped = seen.name == "crop"
    names = config.data.empty_classes
    of_view = (calibration.get("has_object") or {}) if calibration.get("view", "whole") == view else {}
    return Facts(
        format=FORMAT if names else _WITHOUT_EMPTY if cropped else _WITHOUT_CROPS,
        cdtr_version=version("cdtr"),
        run=Run(
            name=run.path.resolve().name,
            method=config.method,
            weights_sha256=hash_file(run.weights),
            git_revision=run.known_manifest().get("git_revision"),
            recipe=recipe_label(config),
        ),
        class_names=run.class_names(),
        input=Input(
            size_hw=seen.size_hw,
            resize="short-side-bicubic-crop" if cropped else "bilinear-antialiased",
            short_side=min(seen.resize_hw) if cropped else None,
            view=view,
            trained_hw=run.trained_hw(),
            mean=config.data.mean,
            std=config.data.std,
            max_pixels=config.data.max_pixels,
        ),
        threshold=None if threshold is None else threshold.value,
        threshold_source=None if threshold is None else str(threshold),
        box_scores=calibration.get("box_scores"),
        calibrated_threshold=calibration.get("threshold"),
        map_span=calibration.get("map_span"),
        empty_classes=names,
        object_threshold=of_view.get("threshold") if names else None,
    )
