"""Images a second of a training step on images in memory: what a loader has to feed.

    python benchmarks/train_step.py --preset ilsvrc --device cuda --batch 128 --precision bf16

A step is forward, losses, backward and AdamW, with random weights and images; SBA is off. Reading and cropping images
and the validation after each epoch are not in it. Printed as JSON, one entry a method.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time

import torch

from cdtr.config import load_config
from cdtr.model.methods import build_method
from cdtr.records import Batch
from harness import machine_facts

METHODS = ("tscam", "catr", "cdtr")
STEPS = 8  # in a row, between two looks at the clock
WARM_UP = 4


def measure(
    method: str, preset: str, device: torch.device, batch: int, classes: int, precision: str, rounds: int
) -> dict[str, float]:
    """Images a second, milliseconds of a step and peak memory in MiB (of a GPU, else 0)."""
    config = load_config(preset, [f"method={method}", "sba.enabled=false"])
    network = build_method(config, classes, None, load_weights=False).to(device).train()
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-4, fused=device.type == "cuda")
    images = torch.randn(batch, 3, *config.data.input_size, device=device)
    of = Batch(images, torch.randint(classes, (batch,), device=device), (), ())
    on_gpu = device.type == "cuda"

    def steps(count: int) -> float:
        start = time.perf_counter()
        for _ in range(count):
            with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
                terms = network.losses(network(images), of)
            loss, _ = network.weigh(terms)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        if on_gpu:
            torch.cuda.synchronize(device)
        return (time.perf_counter() - start) / count

    if on_gpu:
        torch.cuda.reset_peak_memory_stats(device)
    steps(WARM_UP)
    seconds = statistics.median(steps(STEPS) for _ in range(rounds))
    peak = torch.cuda.max_memory_allocated(device) / 2**20 if on_gpu else 0.0
    return {"images_a_second": batch / seconds, "ms": 1000 * seconds, "peak_mib": peak}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="ilsvrc", help="a preset's name (default: ilsvrc)")
    parser.add_argument("--methods", default=",".join(METHODS), help="names, with commas")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    parser.add_argument("--batch", type=int, default=128, help="images a step (default: 128)")
    parser.add_argument("--classes", type=int, default=1000, help="classes (default: 1000)")
    parser.add_argument("--precision", choices=("no", "bf16"), default="bf16", help="default: bf16")
    parser.add_argument("--rounds", type=int, default=5, help=f"of {STEPS} steps; the median counts (default: 5)")
    given = parser.parse_args()
    device = torch.device(given.device)
    found = {
        method: measure(method, given.preset, device, given.batch, given.classes, given.precision, given.rounds)
        for method in given.methods.split(",")
    }
    print(json.dumps({"machine": machine_facts(device), **vars(given), "found": found}, indent=1))


if __name__ == "__main__":
    main()
