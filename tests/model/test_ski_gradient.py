"""How strongly SKI's loss teaches attention and CSM, beside CSM's own loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from cdtr.records import Batch


def gradient_norms(method: Any, batch: Batch, term: str) -> tuple[float, float]:
    """Of one loss term, on the attention of all blocks and on CSM's parameters."""
    kept: list[torch.Tensor] = []

    def keep(_module: object, _inputs: object, output: Any) -> None:
        output.attention.retain_grad()
        kept.append(output.attention)

    handle = method.backbone.register_forward_hook(keep)
    method.zero_grad()
    method.losses(method(batch.images), batch)[term].backward()
    handle.remove()
    csm = torch.cat([p.grad.flatten() for p in method.csm.parameters() if p.grad is not None])
    return float(kept[0].grad.norm()), float(csm.norm())


@pytest.mark.parametrize(
    ("settings", "alive"),
    [
        ({"attention": "scaled"}, True),
        ({"attention": "scaled", "pool": "attention"}, True),
        ({"attention": "raw", "offsets_from": "out"}, True),
        ({"attention": "raw"}, False),
    ],
    ids=["default", "pooled", "released", "raw"],
)
def test_skis_gradient_reaches_attention_and_csm(
    make_method: Callable[..., Any], settings: dict[str, str], alive: bool
) -> None:
    """Within a factor of 100 of CSM's own, on a grid of 14 x 14; with raw attention it is not, which is why it is no
    free choice."""
    torch.manual_seed(0)
    method = make_method(data={"input_size": (112, 112), "resize": (128, 128)}, ski=settings)
    images = torch.randn(6, 3, 112, 112)
    batch = Batch(images, torch.tensor([0, 1, 2, 0, 1, 2]), (), ())
    of_csm, of_ski = (gradient_norms(method, batch, term) for term in ("csm", "ski"))
    within = [ski > 0.01 * csm for ski, csm in zip(of_ski, of_csm, strict=True)]
    assert within == [alive, alive], f"SKI {of_ski}, CSM {of_csm}"
