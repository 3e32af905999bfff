"""One CDTR training step with SBA at CLIP ViT-B/32's size, this package against what released code does.

    python benchmarks/sba_step.py --batch 8 --rounds 5

All weights are random (nothing is downloaded): DeiT-S for CDTR, ViT-B-32-quickgelu for CLIP, float32 on the CPU or with
``--device cuda``. A step is forward, losses, backward and AdamW. Each variant lives in a process of its own, and they
take turns.

``ours``: prompts encoded once for the run, frozen weights, foreground and background in one pass of CLIP.
``released``: for the foreground, then for the background, the images and the batch's prompts go through CLIP, whose
weights take gradients that are stored, never used and never cleared; attention matrices are kept and stacked.

Peak memory is that of live tensors (harness.py) above the weights and the optimiser's state, gradients included, and
beside it the most memory that the process ever held (``peak_rss_mib``; weights, libraries and allocator slack too).
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import sys
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

import torch
from torch import Tensor, nn

from cdtr.config import Config
from cdtr.model.clip import FrozenClip, clean_class_name, load_clip
from cdtr.model.cost import MIB, interleaved_seconds, peak_bytes
from cdtr.model.methods import build_method
from cdtr.model.sba import Sba
from cdtr.records import Batch
from cost import BACKBONE, KeepingBackbone
from harness import arguments, check_peak_live_bytes, gradient_bytes, machine_facts, ms_per_image, ratio_to, show

VARIANTS = ("ours", "released")
LEAST_SPEEDUP = 4.5
MOST_MEMORY = 0.5
COLOURS = ("Black", "White", "Red", "Yellow", "Brown", "Gray", "Olive", "Blue", "Green", "Golden")
MARKS = ("footed", "winged", "headed", "throated", "crowned")
BIRDS = ("Albatross", "Blackbird", "Cuckoo", "Flycatcher", "Gull", "Kingfisher", "Sparrow", "Warbler", "Woodpecker")


def class_names(count: int) -> list[str]:
    """As many names as asked for, of the length and make of CUB's: ``001.Black_footed_Albatross``."""
    kinds = [f"{colour}_{mark}_{bird}" for bird in BIRDS for mark in MARKS for colour in COLOURS]
    return [f"{index + 1:03d}.{kinds[index % len(kinds)]}" for index in range(count)]


class UncachedSba(Sba):
    """Answers what ``Sba`` answers, with everything that a frozen CLIP and fixed prompts make needless.

    text holds the prompts' tokens (C, T) instead of their features.
    """

    def __init__(self, clip: FrozenClip, prompts: Tensor, config: Config) -> None:
        super().__init__(clip, prompts, config.sba, config.data)
        visual: Any = clip.model.visual
        visual.conv1 = plain_convolution(visual.conv1.weight)
        clip.model.requires_grad_(True)

    def similarities(self, images: Tensor, mask: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
        pixels = (images * self.std + self.mean).clamp(0, 1)
        return self._similarity(pixels * mask, text), self._similarity(pixels * (1 - mask), text)

    def _similarity(self, pixels: Tensor, prompts: Tensor) -> Tensor:
        features = self.clip.image_features(pixels)
        encoded: Tensor = self.clip.model.encode_text(prompts, normalize=True)  # type: ignore[operator]
        return (features * encoded).sum(dim=-1)


def plain_convolution(weight: nn.Parameter) -> nn.Conv2d:
    """CLIP's patch layer as it was before ``freeze`` made it a matrix product."""
    channels, colours, side, _ = weight.shape
    conv = nn.Conv2d(colours, channels, side, stride=side, bias=False)
    conv.weight = weight
    return conv


def build_sba(variant: str, config: Config, classes: int) -> Sba:
    clip = load_clip(config.sba.model, config.sba.pretrained)
    names = class_names(classes)
    if variant == "ours":
        return Sba(clip, clip.text_features(names, config.sba.templates), config.sba, config.data)
    prompts = clip.tokenizer([config.sba.templates[0].format(clean_class_name(name)) for name in names])
    return UncachedSba(clip, prompts, config)


class Step:
    """A model, its optimiser and one batch, ready to be trained on again and again."""

    def __init__(self, variant: str, options: argparse.Namespace) -> None:
        torch.manual_seed(0)
        changes: dict[str, Any] = {
            "backbone": {"name": BACKBONE, "weights": "none"},
            "data": {"input_size": (options.size, options.size)},
            "sba": {"enabled": True, "pretrained": "none"},
        }
        config = Config(method="cdtr").updated(**changes)
        self.device = options.device
        self.sba = build_sba(variant, config, options.classes).to(self.device)
        torch.manual_seed(0)  # CLIP and CDTR start alike in every variant, however much chance was used in between.
        self.method: Any = build_method(config, options.classes, self.sba).to(self.device).train()
        if variant != "ours":
            self.method.backbone = KeepingBackbone(self.method.backbone.vit, stack=True)
        self.optimiser = torch.optim.AdamW(self.method.parameters(), lr=5e-5)
        images = torch.randn(options.batch, 3, options.size, options.size).to(self.device)
        labels = torch.randint(options.classes, (options.batch,)).to(self.device)
        self.batch = Batch(images, labels, samples=(), sizes_hw=())

    def __call__(self) -> float:
        self.optimiser.zero_grad()
        terms = self.method.losses(self.method(self.batch.images), self.batch)
        loss, _ = self.method.weigh(terms)
        loss.backward()
        self.optimiser.step()
        return float(terms["sba"].detach())

    def memory_mib(self) -> dict[str, float]:
        """Call after a step or more: CLIP's gradients, which no optimiser clears, are then held already."""
        self.optimiser.zero_grad()
        held = gradient_bytes(self.sba.clip.model)
        peak = held + peak_bytes(self, self.device)
        return {"peak_mib": round(peak / MIB, 1), "of_which_clip_gradients_mib": round(held / MIB, 1)}


def work(variant: str, options: argparse.Namespace, orders: Connection) -> None:
    """The life of a variant's process: build, then obey until told to stop."""
    if options.threads:
        torch.set_num_threads(options.threads)
    step = Step(variant, options)
    orders.send("ready")
    while (order := orders.recv()) != "stop":
        if order == "step":
            orders.send(step())
        else:
            # The kernel counts KiB on Linux and bytes on macOS. Read first: profiling has its own needs.
            unit = 1 if sys.platform == "darwin" else 1024
            rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
            orders.send({"peak_rss_mib": round(rss / MIB, 1), **step.memory_mib()})


def ask(worker: Connection, order: str) -> Any:
    worker.send(order)
    return worker.recv()


def main() -> None:
    options = arguments(__doc__, batch=8, rounds=5).parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    check_peak_live_bytes()
    fresh = multiprocessing.get_context("spawn")
    workers: dict[str, Connection] = {}
    processes = []
    for variant in VARIANTS:
        workers[variant], theirs = fresh.Pipe()
        processes.append(fresh.Process(target=work, args=(variant, options, theirs), daemon=True))
        processes[-1].start()
        workers[variant].recv()
    first_loss = {variant: ask(worker, "step") for variant, worker in workers.items()}
    calls: dict[str, Callable[[], object]] = {v: partial(ask, worker, "step") for v, worker in workers.items()}
    seconds = interleaved_seconds(calls, options.warmup, options.rounds)
    memory = {variant: ask(worker, "memory") for variant, worker in workers.items()}
    for worker, process in zip(workers.values(), processes, strict=True):
        worker.send("stop")
        process.join()
    show(report(options, first_loss, seconds, memory))


def report(
    options: argparse.Namespace,
    first_loss: dict[str, float],
    seconds: dict[str, list[float]],
    memory: dict[str, dict[str, float]],
) -> dict[str, Any]:
    ratios = ratio_to(seconds, "ours")
    speedup = ratios["released"]["median"]
    share = round(memory["ours"]["peak_mib"] / memory["released"]["peak_mib"], 3)
    return {
        "benchmark": "sba_step",
        "machine": machine_facts(options.device),
        "arguments": vars(options),
        "variants": {
            variant: {
                "ms_per_image": ms_per_image(seconds[variant], options.batch),
                "first_sba_loss": round(first_loss[variant], 5),
                **memory[variant],
            }
            for variant in seconds
        },
        "time_to_ours": ratios,
        "targets": {
            "speedup": {"at_least": LEAST_SPEEDUP, "found": speedup, "met": speedup >= LEAST_SPEEDUP},
            "memory_share": {"at_most": MOST_MEMORY, "found": share, "met": share <= MOST_MEMORY},
        },
    }


if __name__ == "__main__":
    main()
