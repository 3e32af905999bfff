"""What localization costs beside plain classification: parameters, multiply-adds, time and memory.

    python benchmarks/cost.py --batch 16 --rounds 7

Every variant is DeiT-S with random weights in float32, on the CPU or with ``--device cuda``, in one process, measured
in turns: ``plain`` is timm's classifier; ``tscam``, ``catr`` and ``cdtr`` (SBA off) are this package's methods, with
logits and all class maps; ``cdtr_keeps`` is the same CDTR with attention computed in the open and every block's
(B, S, N, N) matrix kept until the forward pass ends; ``cdtr_stacks`` also stacks them to (L, B, S, N, N) and averages
whole matrices, as released code for this family of methods does.

Multiply-adds: ``FlopCounterMode`` / 2 for one image in evaluation mode. It counts linear layers, convolutions and the
two matrix products of attention (through the unfused path, so that they are seen), not norms, activations, softmax
or resizing; ``gmacs_layers`` leaves attention's products out, as ptflops and the paper do.
Peak memory: see cdtr/model/cost.py; above the weights, and for training also above the optimiser's state.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from cdtr.config import Config
from cdtr.model.backbone import Tokens, VitBackbone
from cdtr.model.cost import MIB, forward_call, interleaved_seconds, layer_multiply_adds, multiply_adds, peak_bytes
from cdtr.model.methods import build_method
from cdtr.records import Batch
from harness import arguments, check_peak_live_bytes, machine_facts, ms_per_image, ratio_to, show

BACKBONE = "deit_small_patch16_224"
METHODS = ("tscam", "catr", "cdtr")
MOST_TIME = 1.10  # inference, as a multiple of plain classification
MOST_MEMORY = 0.25  # forward pass, as a share of the variant that keeps every matrix


class KeepMatrices(TorchFunctionMode):
    """While active, computes attention without the fused kernel and keeps each block's (B, S, N, N) matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[Tensor] = []

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is not F.scaled_dot_product_attention:
            return func(*args, **(kwargs or {}))
        query, key, value = args[:3]
        self.kept.append(((query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1)).softmax(dim=-1))
        return self.kept[-1] @ value


class KeepingBackbone(VitBackbone):
    """Answers what ``Backbone`` answers, the costly way."""

    def __init__(self, vit: nn.Module, stack: bool) -> None:
        super().__init__(vit)
        self.stack = stack

    def forward(self, images: Tensor) -> Tokens:
        with KeepMatrices() as attended:
            tokens = self.vit.forward_features(images)  # type: ignore[operator]
        if self.stack:
            stacked = torch.stack(attended.kept, dim=1)
            stacked.mean(dim=1)  # The released code averages whole matrices before it takes a row.
            rows = stacked[..., 0, self.prefix_tokens :]
        else:
            rows = torch.stack([matrix[:, :, 0, self.prefix_tokens :] for matrix in attended.kept], dim=1)
        batch, (height, width) = images.shape[0], self.grid_hw
        patches = tokens[:, self.prefix_tokens :].transpose(1, 2).reshape(batch, self.dim, height, width)
        return Tokens(patches, tokens[:, 0], rows.reshape(*rows.shape[:-1], height, width))


def build_variants(classes: int, size: int) -> dict[str, nn.Module]:
    def method(name: str) -> nn.Module:
        changes: dict[str, Any] = {
            "backbone": {"name": BACKBONE, "weights": "none"},
            "data": {"input_size": (size, size)},
            "sba": {"enabled": False},
        }
        return build_method(Config(method=name).updated(**changes), classes)

    variants: dict[str, nn.Module] = {"plain": timm.create_model(BACKBONE, num_classes=classes, img_size=size)}
    variants |= {name: method(name) for name in METHODS}
    for name, stack in (("cdtr_keeps", False), ("cdtr_stacks", True)):
        variants[name] = method("cdtr")
        variants[name].backbone = KeepingBackbone(variants[name].backbone.vit, stack)  # type: ignore[arg-type,union-attr]
    return variants


def check_equal(variants: dict[str, nn.Module], images: Tensor) -> None:
    """The costly variants must compute the same maps, or the comparison means nothing."""
    with torch.inference_mode():
        for name in ("cdtr_keeps", "cdtr_stacks"):
            variants[name].load_state_dict(variants["cdtr"].state_dict())
            ours, theirs = variants["cdtr"].eval()(images), variants[name].eval()(images)
            torch.testing.assert_close(ours.maps, theirs.maps, rtol=1e-3, atol=1e-5)


def training_call(model: nn.Module, images: Tensor, labels: Tensor) -> Callable[[], object]:
    optimiser = torch.optim.AdamW(model.parameters(), lr=5e-5)
    method: Any = model
    batch = Batch(images, labels, samples=(), sizes_hw=())

    def call() -> object:
        optimiser.zero_grad()
        output = method(images)
        if isinstance(output, Tensor):
            loss = F.cross_entropy(output, labels)
        else:
            loss, _ = method.weigh(method.losses(output, batch))
        loss.backward()
        optimiser.step()
        if images.device.type == "cuda":
            torch.cuda.synchronize(images.device)
        return None

    return call


def main() -> None:
    options = arguments(__doc__, batch=16, rounds=7).parse_args()
    device = options.device
    if options.threads:
        torch.set_num_threads(options.threads)
    check_peak_live_bytes()
    torch.manual_seed(0)
    images = torch.randn(options.batch, 3, options.size, options.size, device=device)
    labels = torch.randint(options.classes, (options.batch,), device=device)
    variants = {name: model.to(device) for name, model in build_variants(options.classes, options.size).items()}
    check_equal(variants, images[:2])

    for model in variants.values():
        model.eval()
    rows: dict[str, dict[str, float]] = {}
    for name, model in variants.items():
        rows[name] = {
            "parameters": sum(p.numel() for p in model.parameters()),
            "gmacs": round(multiply_adds(forward_call(model, images[:1])) / 1e9, 3),
            "gmacs_layers": round(layer_multiply_adds(forward_call(model, images[:1])) / 1e9, 3),
            "forward_peak_mib": round(peak_bytes(forward_call(model, images), device) / MIB, 1),
        }
    calls = {name: forward_call(model, images) for name, model in variants.items()}
    forward = interleaved_seconds(calls, options.warmup, options.rounds)

    for model in variants.values():
        model.train()
    calls = {name: training_call(model, images, labels) for name, model in variants.items()}
    training = interleaved_seconds(calls, options.warmup, options.rounds)
    for name in variants:
        # Steps are behind it, so the optimiser's state lives already.
        variants[name].zero_grad()
        rows[name]["training_peak_mib"] = round(peak_bytes(calls[name], device) / MIB, 1)
        rows[name]["forward_ms_per_image"] = ms_per_image(forward[name], options.batch)
        rows[name]["training_ms_per_image"] = ms_per_image(training[name], options.batch)
    show(
        {
            "benchmark": "cost",
            "machine": machine_facts(device),
            "arguments": vars(options),
            "variants": rows,
            "forward_time_to_plain": ratio_to(forward, "plain"),
            "training_time_to_plain": ratio_to(training, "plain"),
            "targets": targets(rows, ratio_to(forward, "plain")),
        }
    )


def targets(rows: dict[str, dict[str, float]], times: dict[str, dict[str, float]]) -> dict[str, Any]:
    time_found = times["cdtr"]["median"]
    shares = {
        name: round(rows["cdtr"]["forward_peak_mib"] / rows[name]["forward_peak_mib"], 3)
        for name in ("cdtr_keeps", "cdtr_stacks")
    }
    return {
        "forward_time_to_plain": {"at_most": MOST_TIME, "found": time_found, "met": time_found <= MOST_TIME},
        "forward_memory_to_keeping": {
            "at_most": MOST_MEMORY,
            "found": shares,
            "met": {name: share <= MOST_MEMORY for name, share in shares.items()},
        },
    }


if __name__ == "__main__":
    main()
