"""What the benchmarks share: facts of the machine, interleaved timing, and the exact peak of live tensor bytes.

Peak memory is read from torch's own allocator events (``torch.profiler`` with ``profile_memory``): every storage that
the CPU allocator hands out or takes back, temporaries of kernels included, in the order of time. The running sum
starts at 0 where the measured call starts: what lives before it is not in it, and what the call frees of that is not
taken off, so callers first drop what a step would replace (gradients). Scratch space that MKL and oneDNN take from
the system behind torch's back is not seen.
"""

from __future__ import annotations

import os

os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # Kineto writes start and stop notes between the lines otherwise.

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

MIB = 2**20


def arguments(description: str | None, batch: int, rounds: int) -> argparse.ArgumentParser:
    """A parser with the options that every benchmark has."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=batch, help="images a batch (default: %(default)s)")
    parser.add_argument("--classes", type=int, default=200, help="classes (default: %(default)s)")
    parser.add_argument("--size", type=int, default=224, help="height and width in pixels (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=rounds, help="timed rounds (default: %(default)s)")
    parser.add_argument("--warmup", type=int, default=1, help="rounds before them, not timed (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=None, help="torch threads (default: torch's choice)")
    return parser


def machine_facts() -> dict[str, Any]:
    """What a reader needs to judge the milliseconds."""
    return {
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


def interleaved_seconds(calls: Mapping[str, Callable[[], object]], warmup: int, rounds: int) -> dict[str, list[float]]:
    """Time every call once a round, A B C, then B C A, so that a busy neighbour and the order hit all alike."""
    names = list(calls)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for index in range(warmup + rounds):
        turn = index % len(names)
        for name in names[turn:] + names[:turn]:
            start = time.perf_counter()
            calls[name]()
            if index >= warmup:
                seconds[name].append(time.perf_counter() - start)
    return seconds


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
    return round(statistics.median(seconds) / batch * 1000, 1)


def peak_live_bytes(call: Callable[[], object]) -> int:
    """The most bytes that were live at once during ``call``, above those that lived before it."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        result = call()
    del result
    results: Any = recorded.profiler
    events = [event for event in results.kineto_results.events() if event.name() == "[memory]"]
    live = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        live += event.nbytes()
        peak = max(peak, live)
    return peak


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
    print(json.dumps(report, indent=2))
