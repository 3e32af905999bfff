"""What an exported file says of itself: all that is needed to get from a picture to a box. No PyTorch here.

It stands as one JSON object under ``METADATA_KEY`` in the metadata of the ONNX file, and as ``METADATA_FILE`` in a
``.pt2`` file.
"""

from __future__ import annotations

import json
from importlib.metadata import version
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from cdtr.config import recipe_label
from cdtr.errors import CheckpointError
from cdtr.localization.quality import BoxQuality
from cdtr.runs import RunFolder, hash_file

METADATA_KEY = "cdtr"
METADATA_FILE = "cdtr.json"
FORMAT: Final = 1  # goes up when a reader of the old format would go wrong

Side = Annotated[int, Field(ge=1)]
Colours = tuple[float, float, float]
Precision = Literal["float32", "int8-dynamic", "int8-static"]
FLOAT32: Precision = "float32"


class _Part(BaseModel):
    """Frozen. What a later version adds without harm to this one is left aside."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class Run(_Part):
    """Which run it was made of. weights_sha256: of its model.safetensors. recipe: the label of its recipe, None in
    files from before."""

    name: str
    method: str
    weights_sha256: str
    git_revision: str | None = None
    recipe: str | None = None


class Input(_Part):
    """From an RGB picture to the input ``images``: the whole picture resized to ``size_hw`` without a crop, times
    ``scale``, less ``mean``, by ``std``; float32, (batch, 3, height, width).

    resize: Pillow's BILINEAR, whose filter widens when it shrinks a picture; elsewhere called antialiased bilinear,
    with half-pixel centres, rounded to 8 bits before ``scale``.
    """

    name: Literal["images"] = "images"
    channels: Literal["RGB"] = "RGB"
    size_hw: tuple[Side, Side]
    resize: Literal["bilinear-antialiased"] = "bilinear-antialiased"
    scale: float = 1 / 255
    mean: Colours
    std: Colours
    max_pixels: int = Field(ge=1)

    @model_validator(mode="after")
    def _usable(self) -> Input:
        if min(self.std) <= 0:
            raise ValueError(f"std {self.std}: expected numbers above 0")
        return self


class Outputs(_Part):
    """logits: (batch, classes), a softmax makes them probabilities. maps: (batch, classes, h, w), not normalised."""

    logits: Literal["logits"] = "logits"
    maps: Literal["maps"] = "maps"


class Facts(_Part):
    """The metadata of an exported file.

    threshold: share of a map's maximum that the object reaches, once the map is resized to the picture and scaled to
    [0, 1]; None where the run has none. box_scores: of ``BoxQuality``, None for a run calibrated without boxes.
    precision: how the weights are stored.
    """

    format: Literal[1] = FORMAT
    cdtr_version: str
    run: Run
    class_names: tuple[str, ...] = Field(min_length=1)
    input: Input
    outputs: Outputs = Outputs()
    threshold: float | None = Field(None, ge=0, lt=1)
    threshold_source: str | None = None
    box_scores: dict[str, Any] | None = None
    precision: Precision = FLOAT32

    def box_quality(self) -> BoxQuality | None:
        """What scores the boxes, if anything."""
        return None if self.box_scores is None else BoxQuality.from_json(self.box_scores, len(self.class_names))

    def to_json(self) -> str:
        return json.dumps(self.model_dump(mode="json"), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str, origin: str) -> Facts:
        """CheckpointError for a newer format, and for what ``to_json`` did not write. origin: whose they are."""
        try:
            tree = json.loads(text)
            newer = isinstance(tree, dict) and isinstance(tree.get("format"), int) and tree["format"] > FORMAT
            if newer:
                raise CheckpointError(
                    f"{origin} has format {tree['format']}, this version of cdtr reads up to {FORMAT}: "
                    "install a newer cdtr"
                )
            facts = cls.model_validate(tree)
            facts.box_quality()
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise CheckpointError(f"{origin}: metadata {where}: {first['msg']}: export the run again") from error
        except ValueError as error:
            raise CheckpointError(f"{origin}: metadata is not JSON ({error}): export the run again") from error
        return facts


def run_facts(run: RunFolder, threshold: float | None, threshold_source: str | None) -> Facts:
    """The facts of a trained run, with the threshold that counts and where it is from."""
    config = run.config()
    revision = run.manifest().get("git_revision") if run.manifest_file.is_file() else None
    return Facts(
        cdtr_version=version("cdtr"),
        run=Run(
            name=run.path.resolve().name,
            method=config.method,
            weights_sha256=hash_file(run.weights),
            git_revision=revision if isinstance(revision, str) else None,
            recipe=recipe_label(config),
        ),
        class_names=run.class_names(),
        input=Input(
            size_hw=config.data.input_size,
            mean=config.data.mean,
            std=config.data.std,
            max_pixels=config.data.max_pixels,
        ),
        threshold=threshold,
        threshold_source=threshold_source,
        box_scores=(run.calibration() or {}).get("box_scores"),
    )
