"""What each row of a bench costs: time, memory and parameters of a forward pass, measured in one run and kept."""

from __future__ import annotations

import hashlib
import platform
import statistics
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch

from cdtr.api import find_device
from cdtr.config import Config, for_inference
from cdtr.errors import ConfigError
from cdtr.json_tree import parse_json
from cdtr.model.backbone import Backbone
from cdtr.model.cost import MIB, BareBackbone, forward_call, interleaved_seconds, multiply_adds, peak_bytes
from cdtr.model.methods import build_method
from cdtr.records import Method
from cdtr.reports.bench_table import RowCost
from cdtr.runs import write_json
from cdtr.workflows.reporting import Reporter

IMAGES, ROUNDS, WARMUP = 8, 9, 1


def check_methods(configs: Mapping[str, Config], classes: int, origin: str) -> None:
    """Build the method of each row once, without its weights.

    Raises:
        ConfigError: A method does not fit its backbone, its settings or the number of classes.
    """
    for row, config in configs.items():
        try:
            build_method(config, classes, load_weights=False)
        except ConfigError as error:
            raise ConfigError(f"{origin}, row {row!r}: {error}") from error


def measure_rows(
    configs: Mapping[str, Config], classes: int, kept: Path, reporter: Reporter
) -> tuple[dict[str, RowCost], str]:
    """Measure the rows, all in turns, or read what an earlier call measured for the same rows on the same machine.

    Args:
        configs: Settings by row.
        classes: Number of classes.
        kept: The file of the costs.
        reporter: Takes notes.

    Returns:
        The cost of each row, and the machine in words.
    """
    device = find_device(None)
    rows = {row: hashlib.sha256(config.to_yaml().encode()).hexdigest() for row, config in configs.items()}
    machine = _machine(device)
    wanted = {
        "machine": machine,
        "torch": torch.__version__,
        "classes": classes,
        "rows": rows,
        "measures": [one.name for one in fields(RowCost)],
    }
    if kept.is_file():
        try:
            before: dict[str, Any] = parse_json(kept.read_text(encoding="utf-8"))
        except ValueError:  # measured again
            before = {}
        if {key: before.get(key) for key in wanted} == wanted:
            return {row: RowCost(**cost) for row, cost in before["costs"].items()}, machine
    reporter.note(f"measuring the cost of {len(rows)} rows on {machine}")
    costs = _measure(configs, classes, device)
    write_json(kept, {**wanted, "costs": {row: cost.to_json() for row, cost in costs.items()}})
    return costs, machine


def _measure(configs: Mapping[str, Config], classes: int, device: torch.device) -> dict[str, RowCost]:
    calls: dict[str, Callable[[], object]] = {}
    models: dict[str, Method] = {}
    single: dict[str, Callable[[], object]] = {}
    bare_of: dict[str, str] = {}
    for row, config in configs.items():
        model = build_method(for_inference(config), classes, load_weights=False).to(device).eval()
        images = torch.randn(IMAGES, 3, *config.data.input_size, device=device)
        models[row], calls[f"row {row}"] = model, forward_call(model, images)
        single[row] = forward_call(model, images[:1])
        backbone = getattr(model, "backbone", None)
        if isinstance(backbone, Backbone):
            bare_of[row] = f"bare {config.backbone.model_dump_json()} {config.data.input_size}"
            if bare_of[row] not in calls:
                calls[bare_of[row]] = forward_call(BareBackbone(backbone).eval(), images)
    seconds = interleaved_seconds(calls, WARMUP, ROUNDS)
    found = {}
    for row, model in models.items():
        own = seconds[f"row {row}"]
        bare = seconds.get(bare_of.get(row, ""))
        low, middle, high = (1000 * value / IMAGES for value in statistics.quantiles(own, n=4))
        weights = sum(one.nbytes for one in (*model.parameters(), *model.buffers()))
        found[row] = RowCost(
            ms_per_image=middle,
            ms_low=low,
            ms_high=high,
            time_ratio=None if bare is None else statistics.median(a / b for a, b in zip(own, bare, strict=True)),
            memory_mib=(weights + peak_bytes(single[row], device)) / MIB,
            gmacs=multiply_adds(single[row]) / 1e9,
            parameters=sum(one.numel() for one in model.parameters()),
            trained_parameters=_trained(configs[row], classes),
        )
    return found


def _trained(config: Config, classes: int) -> int:
    """The number of parameters that training changes, with those of parts that only training needs."""
    method = build_method(config, classes, load_weights=False)
    return sum(one.numel() for one in method.parameters() if one.requires_grad)


def _machine(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"{threads} thread{'s' if threads != 1 else ''} of {platform.machine()}"
