"""CDTR with SAT's spatial token, the last row of Table XII: its map takes the place of the mean attention.

Our reading, as the paper says no more: the masks of the token act on the last blocks as in SAT, its two losses are
added with their own weights, and the map is used wherever CDTR uses ``M*_ca``; CSM and OCM read the class token's
attention as before. ``maps.fuse: attention`` leaves the class maps out, as SAT does.
"""

from __future__ import annotations

from cdtr.config import Config
from cdtr.config.modules.sat import SatConfig
from cdtr.model.backbone import Backbone
from cdtr.model.methods.cdtr import MODULES, Cdtr, parts
from cdtr.model.requirements import require_classes, require_transformer
from cdtr.model.sba import Sba
from cdtr.model.spatial import SpatialToken

__all__ = ["MODULES", "build"]


def build(config: Config, classes: int, backbone: Backbone, sba: Sba | None) -> Cdtr:
    """Build CDTR with a spatial token.

    Args:
        config: The settings, with every switch set.
        classes: Number of classes C, at least 2.
        backbone: A transformer with absolute positions.
        sba: The loss of SBA, for training only.
    """
    require_classes(config, classes)
    vit = require_transformer(config, backbone, appends=True)
    token = SpatialToken(vit.dim, config.section(SatConfig))
    return Cdtr(spatial=token, **parts(config, classes, backbone, sba))
