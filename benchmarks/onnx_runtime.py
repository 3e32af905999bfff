"""A method in PyTorch, in ONNX Runtime, and with 8-bit weights there: time, and what int8 costs in boxes.

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
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import onnxruntime
import torch
from torch import nn

from cdtr.api import DEFAULT_THRESHOLD, choose_threshold, find_view, load_model
from cdtr.config import Config, load_config
from cdtr.deployment.compared_images import drawn_images
from cdtr.deployment.facts import FLOAT32, Facts, Input, Run, run_facts
from cdtr.deployment.int8 import INT8
from cdtr.deployment.program import method_runner
from cdtr.deployment.session import session_runner
from cdtr.localization.tiles import tiled
from cdtr.model.cost import interleaved_seconds
from cdtr.model.methods import build_method
from cdtr.runs import RunFolder
from cdtr.workflows.export import TrialImages, make_model, prepare_trial
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
    made = make_model(method, facts, trial, int8=True)
    contents = {FLOAT32: made.content, INT8: made.int8_content or b""}
    runners = {PYTORCH: method_runner(method)}
    runners |= {name: session_runner(content, threads=1) for name, content in contents.items()}
    times = {}
    for batch in given.batches:
        pixels = trial.compared.pixels[:batch]
        calls = {name: partial(runner, pixels) for name, runner in runners.items()}
        seconds = interleaved_seconds(calls, 3, given.rounds, time.thread_time)
        ms = {name: round(1000 * statistics.median(found) / len(pixels), 2) for name, found in seconds.items()}
        times[f"batch_{len(pixels)}"] = {"cpu_ms_per_image": ms, "times_of_pytorch": ratio_to(seconds, PYTORCH)}
    show(
        {
            "machine": {**machine_facts(), "onnxruntime": onnxruntime.__version__},
            "model": {"name": facts.run.name, "method": facts.run.method, "size_hw": facts.input.size_hw},
            "measured_on": trial.where,
            "largest_difference": {"logits": made.difference.logits, "maps": made.difference.maps},
            "times": times,
            "int8_boxes": None if given.preset or made.int8 is None else asdict(made.int8.agreement),
            "mb": {name: round(len(content) / 1e6, 2) for name, content in contents.items()},
        }
    )


def _of_run(given: argparse.Namespace) -> tuple[nn.Module, Facts, TrialImages]:
    run = RunFolder(given.run)
    chosen, view = choose_threshold(run), find_view(run)
    level = DEFAULT_THRESHOLD if chosen[0] is None else chosen[0]
    trial = prepare_trial(run, level, given.data, given.split, given.images, view.name)
    method = tiled(load_model(run.path), view.input_hw, view.size_hw)
    return method, run_facts(run, chosen, view.name), trial


def _of_preset(given: argparse.Namespace) -> tuple[nn.Module, Facts, TrialImages]:
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
    pictures = drawn_images(given.images, data)
    return method, facts, TrialImages(f"{given.images} drawn pictures", pictures, 0.2)


if __name__ == "__main__":
    main()
