"""CATR, the Category-aware Transformer (Chen et al., ICCV 2023): CDTR's conference version, with CSM and OCM."""

from __future__ import annotations

from cdtr.model.methods.cdtr import build

MODULES = frozenset({"csm", "ocm"})
BUNDLES = frozenset({"paper", "official"})

__all__ = ["BUNDLES", "MODULES", "build"]
