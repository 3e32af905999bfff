"""What the benchmarks share: arguments, facts of the machine, and ratios. Time and memory: ``cdtr.model.cost``."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from cdtr.model.cost import MIB, peak_live_bytes

_CPU = torch.device("cpu")


def arguments(description: str | None, batch: int, rounds: int) -> argparse.ArgumentParser:
    """A parser with the options that every benchmark has."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=batch, help="images a batch (default: %(default)s)")
    parser.add_argument("--classes", type=int, default=200, help="classes (default: %(default)s)")
    parser.add_argument("--size", type=int, default=224, help="height and width in pixels (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=rounds, help="timed rounds (default: %(default)s)")
    parser.add_argument("--warmup", type=int, default=1, help="rounds before them, not timed (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=None, help="torch threads (default: torch's choice)")
    parser.add_argument("--device", type=torch.device, default="cpu", help="cpu or cuda (default: %(default)s)")
    return parser


def machine_facts(device: torch.device = _CPU) -> dict[str, Any]:
    """What a reader needs to judge the milliseconds."""
    return {
        "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load_average": [round(load, 2) for load in os.getloadavg()] if hasattr(os, "getloadavg") else None,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "system": platform.system(),
    }


def _cpu_name() -> str:
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text(encoding="utf-8").splitlines() if facts.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def ratio_to(seconds: Mapping[str, Sequence[float]], reference: str) -> dict[str, dict[str, float]]:
    """Each variant's time as a multiple of the reference's in the same round: the median, the lowest, the highest.

    ``of_fastest`` compares each one's fastest round instead, which a busy neighbour disturbs least.
    """
    found = {}
    for name, times in seconds.items():
        ratios = [mine / base for mine, base in zip(times, seconds[reference], strict=True)]
        found[name] = {
            "median": round(statistics.median(ratios), 3),
            "lowest": round(min(ratios), 3),
            "highest": round(max(ratios), 3),
            "of_fastest": round(min(times) / min(seconds[reference]), 3),
        }
    return found


def ms_per_image(seconds: Sequence[float], batch: int) -> float:
    return float(f"{statistics.median(seconds) / batch * 1000:.4g}")


def check_peak_live_bytes() -> None:
    """Refuse to report memory with a torch whose profiler no longer answers what is known beforehand."""

    def three_then_two() -> None:
        first = torch.empty(3 * MIB, dtype=torch.uint8)
        del first
        torch.empty(2 * MIB, dtype=torch.uint8)

    found = peak_live_bytes(three_then_two)
    if found != 3 * MIB:
        raise SystemExit(f"torch.profiler saw a peak of {found} bytes, expected {3 * MIB}: use another torch version")


def gradient_bytes(module: torch.nn.Module) -> int:
    return sum(p.grad.nbytes for p in module.parameters() if p.grad is not None)


def show(report: Mapping[str, Any]) -> None:
    print(json.dumps(report, indent=2, default=str))
