"""Bridging the gap between classification and localization (Kim et al., CVPR 2022).

A class map is the norm of the features times the norm of the class's weights times the cosine of both. CAM learns their
pooled product alone; here norm and cosine are made to agree on where the object is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from cdtr.config import Config, Padding
from cdtr.config.modules.bridge import BridgeConfig
from cdtr.config.modules.cam import CamConfig
from cdtr.model.cnn_backbone import CnnBackbone
from cdtr.model.cnn_method import of_labels, require_tuned, strongest
from cdtr.model.cnn_parts import Change
from cdtr.model.maps import scale_maps
from cdtr.model.methods.cam import Cam
from cdtr.model.sba import Sba
from cdtr.records import Batch, ModelOutput

MODULES: frozenset[str] = frozenset()
BACKBONE = "cnn"


class Bridge(Cam):
    """CAM with a second pass without some strong cells, and terms of the norm and the cosine of its features.

    Args:
        backbone: The CNN.
        classes: Number of classes C.
        config: The settings of CAM.
        settings: The settings of this method.
        padding: Padding at the image's border.

    Raises:
        ConfigError: The CNN is frozen, or has no such part.
    """

    keeps_features = False

    def __init__(
        self, backbone: CnnBackbone, classes: int, config: CamConfig, settings: BridgeConfig, padding: Padding = "zeros"
    ) -> None:
        super().__init__(backbone, classes, config, padding)
        require_tuned(backbone, "bridge")
        self.settings = settings
        end = backbone.ends[max(len(backbone.ends) - 2, 0)]
        published = "layer4.0" if "layer4.0" in backbone.parts else end
        self.place = published if settings.after is None else backbone.part(settings.after, "bridge.after")
        self._counts = settings.start == 0

    def start_epoch(self, epoch: int, epochs: int) -> None:
        """The terms of norm and cosine count once the share ``start`` of the epochs is over."""
        self._counts = epoch >= self.settings.start * epochs

    def changes(self) -> Mapping[str, Change]:
        """Both passes start behind one part; in evaluation there is one."""
        return {self.place: self.twice} if self.training else {}

    def twice(self, maps: Tensor) -> Tensor:
        """Feature maps (B, D, h, w) as they are, then without some of their strong cells, (2 B, D, h, w)."""
        drawn = torch.rand(len(maps), 1, *maps.shape[2:]).to(maps.device) < self.settings.share
        return torch.cat([maps, maps * ~(drawn & strongest(maps, self.settings.theta))])

    def forward(
        self, images: Tensor, auxiliary: bool | None = None, levels: Sequence[Tensor] | None = None
    ) -> ModelOutput:
        """Compute class scores and class maps as ``Cam``.

        Returns:
            In training ``aux`` has the features of both passes (B, D, h, w), ``feature`` and ``feature_b``, and the
            ``cosine`` (B, C, h, w) of the plain features with the weights of each class.
        """
        if not self.training:
            return super().forward(images, auxiliary, levels)
        plain, dropped = self.features(images).float().chunk(2)
        cosine = F.conv2d(F.normalize(plain, dim=1), F.normalize(self.head.weight.float(), dim=1))
        return self.output(plain, {"feature": plain, "feature_b": dropped, "cosine": cosine})

    def losses(self, output: ModelOutput, batch: Batch) -> dict[str, Tensor]:
        """Compute ``cls``, ``drop``, and once they count ``similarity`` and ``norm``."""
        terms, aux = super().losses(output, batch), output.aux
        if "feature_b" not in aux:
            return terms
        norm = scale_maps(aux["feature"].norm(dim=1))
        own = of_labels(aux["cosine"], batch.labels)
        nearest = aux["cosine"].amax(dim=1) if self.settings.best_class else own
        late = {
            "similarity": similarity_term(own, norm, self.settings.low, self.settings.high),
            "norm": norm_term(norm, nearest),
        }
        if not self._counts:
            late = {name: term.detach() * 0 for name, term in late.items()}
        return terms | {"drop": (aux["feature"] - aux["feature_b"]).abs().mean()} | late

    def weigh(self, terms: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, float]]:
        """Return the sum under the fixed weights of the settings, and no lambdas."""
        settings = self.settings
        weights = {
            "drop": settings.drop_weight,
            "similarity": settings.similarity_weight,
            "norm": settings.norm_weight,
        }
        return torch.stack([weights.get(name, 1.0) * term.float() for name, term in terms.items()]).sum(), {}


def similarity_term(cosine: Tensor, norm: Tensor, low: float, high: float) -> Tensor:
    """Mean cosine (B, h, w) where the ``norm`` (B, h, w) in [0, 1] is below ``low``, less that where above ``high``."""
    return _mean_where(cosine, norm < low) - _mean_where(cosine, norm > high)


def norm_term(norm: Tensor, cosine: Tensor) -> Tensor:
    """Mean norm (B, h, w) where the cosine (B, h, w) is negative, less that where it is positive."""
    return _mean_where(norm, cosine < 0) - _mean_where(norm, cosine > 0)


def _mean_where(values: Tensor, chosen: Tensor) -> Tensor:
    """The mean over the chosen cells of the batch; 0 where none is chosen."""
    return (values * chosen).sum() / chosen.sum().clamp_min(1)


def build(config: Config, classes: int, backbone: CnnBackbone, sba: Sba | None) -> Bridge:
    """Build the method for the classes of a data set; ``sba`` is not used."""
    return Bridge(backbone, classes, config.section(CamConfig), config.section(BridgeConfig), config.maps.padding)
