"""TS-CAM, the token semantic coupled attention map (Gao et al., ICCV 2021): the baseline all others start from.

The class maps of a convolutional head on the patch tokens, times the class token's mean attention.
"""

from __future__ import annotations

from cdtr.model.methods.cdtr import build

MODULES: frozenset[str] = frozenset()
BUNDLES = frozenset({"paper"})  # its own release trains with other settings than CDTR's

__all__ = ["BUNDLES", "MODULES", "build"]
