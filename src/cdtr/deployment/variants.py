"""The int8 variants of an exported file, each measured against float32, and which of them is worth keeping."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from cdtr.deployment.compare import Agreement, measure_agreement, measure_scores
from cdtr.deployment.facts import FLOAT32, Facts, Precision
from cdtr.deployment.graph import model_bytes
from cdtr.deployment.pictures import Pictures, run_all
from cdtr.deployment.quantise import quantise
from cdtr.deployment.session import Outputs, Pixels, session_runner
from cdtr.evaluation import Protocol
from cdtr.evaluation.measure import Annotate
from cdtr.model.cost import interleaved_seconds

TIMED_BATCH = 8


@dataclass(frozen=True, slots=True)
class Variant:
    """A file and what it measures.

    agreement: of its boxes with those of float32. scores: in percent, None without true boxes. ms_per_image: of CPU
    time with one thread, in batches of up to ``TIMED_BATCH``. speedup: how many times as fast as float32, the median
    over rounds.
    """

    precision: Precision
    content: bytes
    agreement: Agreement
    scores: Mapping[str, float | None] | None
    ms_per_image: float
    speedup: float


@dataclass(frozen=True, slots=True)
class TrueBoxes:
    """What scores are measured against, and under which protocol."""

    annotate: Annotate
    protocol: Protocol

    def score(self, outputs: Outputs, pictures: Pictures, threshold: float) -> dict[str, float | None]:
        """See ``measure_scores``."""
        return measure_scores(outputs, pictures, self.annotate, self.protocol, threshold)


def measure_variants(
    plain: bytes,
    model: Any,
    facts: Facts,
    pictures: Pictures,
    threshold: float,
    calibration: Pixels | None = None,
    truth: TrueBoxes | None = None,
    rounds: int = 15,
) -> list[Variant]:
    """Float32 first, then each int8 variant, on the same pictures. plain: the float32 file of ``model``."""
    contents: dict[Precision, bytes] = {FLOAT32: plain}
    for precision, made in quantise(model, calibration).items():
        contents[precision] = model_bytes(made, facts.model_copy(update={"precision": precision}))
    runners = {name: session_runner(content, threads=1) for name, content in contents.items()}
    outputs = {name: run_all(runner, pictures) for name, runner in runners.items()}
    pixels = pictures.pixels[:TIMED_BATCH]
    calls: dict[str, Callable[[], object]] = {name: partial(runner, pixels) for name, runner in runners.items()}
    seconds = interleaved_seconds(calls, 2, rounds, time.thread_time)
    base = np.array(seconds[FLOAT32])
    return [
        Variant(
            precision=name,
            content=content,
            agreement=measure_agreement(outputs[FLOAT32], outputs[name], pictures, threshold),
            scores=None if truth is None else truth.score(outputs[name], pictures, threshold),
            ms_per_image=1000 * float(np.median(seconds[name])) / len(pixels),
            speedup=float(np.median(base / np.array(seconds[name]))),
        )
        for name, content in contents.items()
    ]


def choose_variant(variants: Sequence[Variant]) -> Variant:
    """The int8 variant whose boxes are nearest to those of float32; of those alike to 0.01 the fastest."""
    return max(
        (variant for variant in variants if variant.precision != FLOAT32),
        key=lambda variant: (round(variant.agreement.iou, 2), variant.speedup),
    )
