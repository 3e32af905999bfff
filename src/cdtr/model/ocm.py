"""Object Constraint Module: suppress the clutter in ``M*_ca``, awaken the object (section III-D, Eqs. 5-8)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cdtr.config import OcmConfig, Padding
from cdtr.errors import ConfigError
from cdtr.model.maps import scale_maps
from cdtr.model.norm import conv_norm_act


class Ocm(nn.Module):
    """Makes the pixel-level pseudo map ``M_ocm`` from the attention of K blocks, and the two losses."""

    def __init__(self, depth: int, heads: int, config: OcmConfig, padding: Padding = "zeros") -> None:
        super().__init__()
        if config.k > depth:
            raise ConfigError(f"ocm.k = {config.k}, but the backbone has {depth} blocks: choose ocm.k up to {depth}")
        self.config = config
        self.blocks = slice(0, config.k) if config.blocks == "first" else slice(depth - config.k, depth)
        norm, momentum = config.norm, config.norm_momentum
        self.per_block = nn.ModuleList(conv_norm_act(heads, 1, 1, norm, momentum=momentum) for _ in range(config.k))
        self.join = conv_norm_act(config.k, 1, 3, norm, act=False, padding=padding, momentum=momentum)
        if config.awaken_gradient == "to_attention" and config.prior == "none":
            # Nothing teaches these weights then, and processes that train together wait for every gradient.
            self.requires_grad_(False)

    def forward(self, attention: Tensor) -> Tensor:
        """attention: (B, L, S, h, w) to ``M_ocm`` (B, h, w) in [0, 1]. Runs in float32, as CSM does."""
        with torch.autocast(attention.device.type, enabled=False):
            blocks = attention[:, self.blocks].float().unbind(1)
            maps = [conv(block) for conv, block in zip(self.per_block, blocks, strict=True)]
            return torch.sigmoid(self.join(torch.cat(maps, dim=1)).squeeze(1))

    def losses(self, m_ca: Tensor, m_ocm: Tensor) -> dict[str, Tensor]:
        """m_ca, m_ocm: (B, h, w). Both terms are means over the batch."""
        return {"ocm_suppress": self._suppress(m_ca), "ocm_awaken": self._awaken(m_ca, m_ocm)}

    def _suppress(self, m_ca: Tensor) -> Tensor:
        if self.config.suppress == "literal":
            return suppression_loss(m_ca, self.config.p)
        if self.config.suppress == "official":
            return suppression_loss(m_ca, self.config.p, one_more=True) * m_ca.shape[0]
        return suppression_loss(scale_maps(m_ca), self.config.p)

    def _awaken(self, m_ca: Tensor, m_ocm: Tensor) -> Tensor:
        target = scale_maps(m_ca) if self.config.awaken == "scaled" else m_ca
        if self.config.awaken_gradient == "to_attention":
            m_ocm = m_ocm.detach()
        if self.config.awaken_gradient == "to_pseudo_map":
            target = target.detach()
        if self.config.awaken == "official":
            return (m_ocm[:, None] - target[None]).square().mean()
        return (m_ocm - target).square().mean()


def suppression_loss(m_ca: Tensor, p: float, one_more: bool = False) -> Tensor:
    """Eqs. 6 and 7: the sum of each map's lowest share ``p`` over all its hw values, averaged over the batch.

    m_ca: (B, h, w). The p-th percentile is the value of rank ``floor(p * hw)`` counted from one;
    ties with it count as clutter too. Zero where that rank is 0. ``one_more`` takes the next rank, as the released code
    does, which counts from zero.
    """
    values = m_ca.flatten(1)
    rank = int(p * values.shape[1] + 1e-6)
    if one_more:
        rank = min(rank + 1, values.shape[1])
    if rank == 0:
        return values.sum() * 0.0
    percentile = values.detach().kthvalue(rank, dim=1, keepdim=True).values
    clutter = torch.where(values > percentile, torch.zeros_like(values), values)
    return clutter.mean()
