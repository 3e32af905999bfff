"""Object Constraint Module: suppress the clutter in ``M*_ca``, awaken the object (section III-D, Eqs. 5-8)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cdtr.config import OcmConfig, Padding
from cdtr.errors import ConfigError
from cdtr.model.maps import scale_maps
from cdtr.model.norm import conv_norm_act


class Ocm(nn.Module):
    """Computes the pixel-level pseudo map ``M_ocm`` from the attention of K blocks, and the two losses.

    Args:
        depth: Number of blocks L of the backbone.
        heads: Number of heads S of a block.
        config: The settings of OCM.
        padding: Padding mode of the convolutions at the image's border.

    Raises:
        ConfigError: ``ocm.k`` is larger than ``depth``.
    """

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
            # No loss reaches these weights then, and DistributedDataParallel waits for every gradient.
            self.requires_grad_(False)

    def forward(self, attention: Tensor) -> Tensor:
        """Compute the pseudo map ``M_ocm``, in float32 for the reason given at ``Csm.forward``.

        Args:
            attention: (B, L, S, h, w), the class token's attention over the patches.

        Returns:
            (B, h, w) in [0, 1].
        """
        with torch.autocast(attention.device.type, enabled=False):
            blocks = attention[:, self.blocks].float().unbind(1)
            maps = [conv(block) for conv, block in zip(self.per_block, blocks, strict=True)]
            return torch.sigmoid(self.join(torch.cat(maps, dim=1)).squeeze(1))

    def losses(self, m_ca: Tensor, m_ocm: Tensor, has_object: Tensor | None = None) -> dict[str, Tensor]:
        """Compute ``L_ocm^s`` (Eqs. 6 and 7) and ``L_ocm^a`` (Eq. 8).

        Args:
            m_ca: (B, h, w), the mean attention ``M*_ca``.
            m_ocm: (B, h, w) in [0, 1], the pseudo map.
            has_object: (B,) booleans, which images count: both losses assume an object; None if all of them do.

        Returns:
            Scalars, means over the images that count, 0 where none does, by the names ``ocm_suppress`` and
            ``ocm_awaken``. Eq. 9 is what ``AutomaticWeightedLoss`` makes of them.
        """
        if has_object is not None:
            if not has_object.any():
                return dict.fromkeys(("ocm_suppress", "ocm_awaken"), 0 * (m_ca.sum() + m_ocm.sum()))
            m_ca, m_ocm = m_ca[has_object], m_ocm[has_object]
        return {"ocm_suppress": self._suppress(m_ca), "ocm_awaken": self.awakening_loss(m_ca, m_ocm)}

    def _suppress(self, m_ca: Tensor) -> Tensor:
        if self.config.suppress == "literal":
            return suppression_loss(m_ca, self.config.p)
        if self.config.suppress == "official":
            return suppression_loss(m_ca, self.config.p, one_more=True) * m_ca.shape[0]
        return suppression_loss(scale_maps(m_ca), self.config.p)

    def awakening_loss(self, m_ca: Tensor, m_ocm: Tensor) -> Tensor:
        """Compute ``L_ocm^a`` of Eq. 8, the mean squared difference between pseudo map and attention.

        Args:
            m_ca: (B, h, w), the mean attention ``M*_ca``.
            m_ocm: (B, h, w) in [0, 1], the pseudo map.

        Returns:
            A scalar, the mean over the batch. ``ocm.awaken`` ``scaled`` scales the attention to [0, 1] first;
            ``official`` compares each pseudo map with the attention of every image of the batch, as the released code
            does.
        """
        target = scale_maps(m_ca) if self.config.awaken == "scaled" else m_ca
        if self.config.awaken_gradient == "to_attention":
            m_ocm = m_ocm.detach()
        if self.config.awaken_gradient == "to_pseudo_map":
            target = target.detach()
        if self.config.awaken == "official":
            return (m_ocm[:, None] - target[None]).square().mean()
        return (m_ocm - target).square().mean()


def suppression_loss(m_ca: Tensor, p: float, one_more: bool = False) -> Tensor:
    """Compute ``L_ocm^s`` of Eq. 7, the mean of the clutter of Eq. 6 over all hw values.

    Args:
        m_ca: (B, h, w), the mean attention ``M*_ca``.
        p: Share of the patches that count as clutter, in [0, 1].
        one_more: See ``clutter``.

    Returns:
        A scalar, the mean over the batch; 0 if no patch counts as clutter.
    """
    return clutter(m_ca.flatten(1), p, one_more).mean()


def clutter(values: Tensor, p: float, one_more: bool = False) -> Tensor:
    """Keep the attention below its p-th percentile, Eq. 6.

    Args:
        values: (B, N), the attention of each image's patches.
        p: Share of the patches that count as clutter, in [0, 1].
        one_more: Take the next rank, as the released code does, which counts ranks from zero.

    Returns:
        (B, N), 0 above the percentile. The percentile is the value of rank ``floor(p * N)``, counted from one; values
        equal to it count as clutter too. All 0 if that rank is 0.
    """
    rank = int(p * values.shape[1] + 1e-6)
    if one_more:
        rank = min(rank + 1, values.shape[1])
    if rank == 0:
        return values * 0.0
    percentile = values.detach().kthvalue(rank, dim=1, keepdim=True).values
    return torch.where(values > percentile, torch.zeros_like(values), values)
