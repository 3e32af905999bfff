"""A method in PyTorch, in ONNX Runtime, and with 8-bit weights there: time, differences and what int8 costs in boxes.

    python benchmarks/onnx_runtime.py runs/neu --data NEU-DET --images 360
    python benchmarks/onnx_runtime.py --preset cub --images 16

All run in one process with one thread, in turns; times are CPU time, which a busy machine changes least. A preset's
weights are random, so that its times and the difference between PyTorch and ONNX Runtime count, and its boxes do not.
IoU is that of int8's boxes with those of float32.
"""

from __future__ import annotations

import argparse
import statistics
import time
from functools import partial
from pathlib import Path
from typing import Any

import onnxruntime
import torch
from torch import nn

from cdtr.api import choose_threshold, find_view, load_model
from cdtr.cli.export import Trial, prepare_trial
from cdtr.config import Config, load_config
from cdtr.deployment.compare import measure_difference
from cdtr.deployment.facts import FLOAT32, Facts, Input, Run, run_facts
from cdtr.deployment.graph import model_bytes, onnx_model
from cdtr.deployment.pictures import drawn_pictures
from cdtr.deployment.program import export_program, method_runner
from cdtr.deployment.session import session_runner
from cdtr.deployment.variants import Variant, measure_variants
from cdtr.localization.tiles import tiled
from cdtr.model.cost import interleaved_seconds
from cdtr.model.methods import build_method
from cdtr.runs import RunFolder
from cdtr.workflows.opening import open_source
from harness import machine_facts, ratio_to, show

PYTORCH = "pytorch"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", nargs="?", type=Path, help="a trained run folder")
    parser.add_argument("--preset", help="in its place, a preset with random weights and 200 classes")
    parser.add_argument("--data", type=Path, help="the run's data set; without it, drawn pictures")
    parser.add_argument("--split", default=None, help="by default the first of test, val, held-out")
    parser.add_argument("--images", type=int, default=200, help="pictures at most (default: %(default)s)")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8], help="sizes timed (default: 1 8)")
    parser.add_argument("--rounds", type=int, default=20, help="timed rounds (default: %(default)s)")
    given = parser.parse_args()
    if (given.run is None) == (given.preset is None):
        parser.error("give a run or --preset")
    torch.set_num_threads(1)
    method, facts, trial = _of_preset(given) if given.run is None else _of_run(given)
    model = onnx_model(export_program(method, facts.input.size_hw))
    plain, reference = model_bytes(model, facts), method_runner(method)
    variants = measure_variants(
        plain, model, facts, trial.pictures, trial.threshold, trial.calibration, trial.truth, rounds=1
    )
    difference = measure_difference(reference, session_runner(plain), trial.pictures.pixels)
    runners = {PYTORCH: reference} | {one.precision: session_runner(one.content, threads=1) for one in variants}
    times = {}
    for batch in given.batches:
        pixels = trial.pictures.pixels[:batch]
        calls = {name: partial(runner, pixels) for name, runner in runners.items()}
        seconds = interleaved_seconds(calls, 3, given.rounds, time.thread_time)
        ms = {name: round(1000 * statistics.median(found) / len(pixels), 2) for name, found in seconds.items()}
        times[f"batch_{len(pixels)}"] = {"cpu_ms_per_image": ms, "times_of_pytorch": ratio_to(seconds, PYTORCH)}
    show(
        {
            "machine": {**machine_facts(), "onnxruntime": onnxruntime.__version__},
            "model": {"name": facts.run.name, "method": facts.run.method, "size_hw": facts.input.size_hw},
            "measured_on": trial.where,
            "largest_difference": {"logits": difference.logits, "maps": difference.maps},
            "times": times,
            "boxes": None if given.preset else {one.precision: _boxes(one) for one in variants},
            "mb": {one.precision: round(len(one.content) / 1e6, 2) for one in variants},
        }
    )


def _of_run(given: argparse.Namespace) -> tuple[nn.Module, Facts, Trial]:
    run = RunFolder(given.run)
    chosen, view = choose_threshold(run), find_view(run)
    source = None if given.data is None else open_source(run, given.data)
    trial = prepare_trial(run, chosen[0], source, given.split, given.images, int8=True, view=view.name)
    method = tiled(load_model(run.path), view.input_hw, view.size_hw)
    return method, run_facts(run, chosen, view.name), trial


def _of_preset(given: argparse.Namespace) -> tuple[nn.Module, Facts, Trial]:
    off: dict[str, Any] = {"sba": {"enabled": False}, "guide": {"enabled": False}, "ocm": {"prior": "none"}}
    config: Config = load_config(given.preset).updated(**off)
    torch.manual_seed(0)
    data = config.data
    facts = Facts(
        cdtr_version="-",
        run=Run(name=given.preset, method=config.method, weights_sha256="-"),
        class_names=tuple(f"class {label}" for label in range(200)),
        input=Input(size_hw=data.input_size, mean=data.mean, std=data.std, max_pixels=data.max_pixels),
    )
    method = build_method(config, len(facts.class_names), load_weights=False).eval()
    pictures = drawn_pictures(given.images, data)
    return method, facts, Trial(f"{given.images} drawn pictures", pictures, 0.2, calibration=pictures.pixels[:32])


def _boxes(variant: Variant) -> dict[str, Any]:
    agreement = variant.agreement
    return {
        "iou_with_float32": round(agreement.iou, 4),
        "same_class": round(agreement.same_class, 4),
        "same_box": 1.0 if variant.precision == FLOAT32 else round(agreement.same_box, 4),
        "scores": None if variant.scores is None else dict(variant.scores),
    }


if __name__ == "__main__":
    main()
