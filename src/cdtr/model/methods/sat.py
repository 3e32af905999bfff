"""SAT, the Spatial-Aware Token (Wu et al., ICCV 2023): a token that asks every patch whether it is foreground.

The sigmoid of its products with the patches' keys is the map, and masks the attention of the last blocks, so that the
classifier sees what the map lets through. Two losses keep the map from being all or nothing.
"""

from __future__ import annotations

from cdtr.config import Config
from cdtr.config.modules.sat import SatConfig
from cdtr.model.backbone import Backbone
from cdtr.model.methods.cdtr import Cdtr, parts
from cdtr.model.requirements import require_classes, require_plain_maps, require_transformer
from cdtr.model.sba import Sba
from cdtr.model.spatial import SpatialToken

MODULES: frozenset[str] = frozenset()
TAKES = frozenset({"sba", "guide"})
BUNDLES = frozenset({"paper", "official"})


def build(config: Config, classes: int, backbone: Backbone, sba: Sba | None) -> Cdtr:
    """Build TS-CAM with a spatial token, whose map is that of every class.

    Args:
        config: The settings, with every switch set.
        classes: Number of classes C, at least 2.
        backbone: A transformer with absolute positions.
        sba: The loss of SBA, for training only.
    """
    require_classes(config, classes)
    vit = require_transformer(config, backbone, appends=True)
    require_plain_maps(config, "product", "attention", "pseudo", "prior")
    arguments = parts(config, classes, backbone, sba)
    if config.maps.fuse == "product":
        arguments["maps"] = config.maps.model_copy(update={"fuse": "attention"})
    return Cdtr(spatial=SpatialToken(vit.dim, config.section(SatConfig)), **arguments)
