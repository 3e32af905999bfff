"""The networks and losses of "CLIP-Driven Transformer for Weakly Supervised Object Localization" (Chen et al.).

``EQUATIONS`` says where each numbered equation of the paper is. Start with ``methods/cdtr.py``, which wires the
modules: ``csm.py``, ``ocm.py``, ``ski.py`` and ``sba.py``, one file each with its loss, on the transformer of
``backbone.py``; ``weighting.py`` makes one loss of theirs. Not in the paper are ``guide.py`` and ``priors.py`` (starts
without pretrained weights), ``cnn.py`` (patches from a CNN) and ``distill.py`` (`cdtr pretrain`). Of other papers are
``diffusion.py`` (SCM), ``spatial.py`` (SAT), ``cdm.py`` (LCTR) and ``tri_head.py`` (TriLite), see ``docs/methods/``.
"""

from __future__ import annotations

from typing import NamedTuple


class Equation(NamedTuple):
    """An equation of the paper.

    Attributes:
        number: Its number in the paper.
        what: What it defines.
        symbol: The symbol on its left side.
        where: ``file:function``, below this folder.
    """

    number: int
    what: str
    symbol: str
    where: str


EQUATIONS = (
    Equation(1, "classification loss of the patch tokens", "L_cls", "maps.py:class_loss"),
    Equation(2, "total loss with learned weights", "L", "weighting.py:AutomaticWeightedLoss.forward"),
    Equation(3, "localization maps", "M_fuse", "methods/cdtr.py:fuse"),
    Equation(4, "loss of CSM", "L_csm", "csm.py:Csm.loss"),
    Equation(5, "mean attention of the class token", "M*_ca", "maps.py:mean_attention"),
    Equation(6, "attention below its p-th percentile", "bar M*_ca", "ocm.py:clutter"),
    Equation(7, "suppression loss of OCM", "L_ocm^s", "ocm.py:suppression_loss"),
    Equation(8, "awakening loss of OCM", "L_ocm^a", "ocm.py:Ocm.awakening_loss"),
    Equation(9, "both losses of OCM with learned weights", "L_ocm", "weighting.py:AutomaticWeightedLoss.forward"),
    Equation(10, "loss of SKI", "L_ski", "ski.py:Ski.loss"),
    Equation(11, "CLIP's features of foreground and background", "v_f, v_b", "sba.py:Sba.image_features"),
    Equation(12, "CLIP's features of the prompts", "v_t", "clip.py:FrozenClip.text_features"),
    Equation(13, "loss of SBA", "L_sba", "sba.py:matching_loss"),
    Equation(14, "similarity of foreground and background with the prompt", "s_f, s_b", "sba.py:Sba.similarities"),
)
