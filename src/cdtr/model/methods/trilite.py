"""TriLite (Sabaghi and Oramas, CVPR 2026): a three-channel head on the patches of a frozen backbone.

Foreground and background are taught by what their mean patch can classify; the third channel takes what is neither. On
a CNN of ``backbone.stem: cnn`` the patches are its own features, the class token is their mean, and no transformer is
used, unless that is frozen too.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from cdtr.config import Config
from cdtr.config.modules.trilite import TriliteConfig
from cdtr.model.attention import Watch
from cdtr.model.backbone import Backbone, VitBackbone
from cdtr.model.cnn import CnnFeatures, LevelConv
from cdtr.model.maps import class_loss, pooled_logits
from cdtr.model.requirements import require_classes, require_plain_maps
from cdtr.model.sba import Sba
from cdtr.model.tri_head import TriHead, absence_loss
from cdtr.records import Batch, Method, ModelOutput

MODULES: frozenset[str] = frozenset()
TAKES: frozenset[str] = frozenset()
BUNDLES = frozenset({"paper", "official"})


class Trilite(Method):
    """A head that divides patches, and a classifier of the whole image.

    Args:
        backbone: Makes patches and a class token; or a CNN, whose features are the patches.
        dim: Number of channels of a patch.
        classes: Number of classes C.
        config: The settings of the whole run.
    """

    def __init__(self, backbone: Backbone | CnnFeatures, dim: int, classes: int, config: Config) -> None:
        super().__init__()
        self.config = config.section(TriliteConfig)
        self.backbone = backbone
        self.tri_head = TriHead(dim, classes, self.config.dropout_map, config.maps.padding)
        self.dropout = nn.Dropout(self.config.dropout_class)
        cnn, fitted = self.cnn, config.backbone.cnn.classifier == "features"
        self.probe = None if cnn is None or not fitted else LevelConv(cnn, classes).requires_grad_(False)
        if self.probe is None:
            self.classifier = nn.Linear(dim, classes)
            self.lr_factors = {"classifier": self.config.classifier_lr}

    @property
    def cnn(self) -> CnnFeatures | None:
        """The CNN whose features are, or become, the patches; None without one."""
        return self.backbone if isinstance(self.backbone, CnnFeatures) else self.backbone.cnn

    def forward(
        self, images: Tensor, auxiliary: bool | None = None, levels: Sequence[Tensor] | None = None
    ) -> ModelOutput:
        """Compute class scores, and the foreground as the map of every class.

        Args:
            images: (B, 3, H, W), normalised.
            auxiliary: Not used.
            levels: Feature maps of the images' ``cnn``, if they are known already.

        Returns:
            ``maps`` and ``attention`` in [0, 1]. ``aux`` has the class scores of foreground and background, the classes
            of each patch as ``x_out``, and the map of ambiguous patches (B, h, w).
        """
        patches, token, features = self._patches(images, levels)
        found = self.tri_head(patches)
        class_maps = self.tri_head.class_maps(patches)
        if self.probe is not None and self.cnn is not None and features is not None:
            logits = pooled_logits(self.probe(self.cnn, features))
        else:
            logits = self.classifier(self.dropout(token))
        foreground = found.shares[:, 0]
        aux = {
            "x_out": class_maps,
            "foreground_logits": found.foreground,
            "background_logits": found.background,
            "ambiguous": found.shares[:, 2],
        }
        return ModelOutput(logits, foreground[:, None].expand(-1, logits.shape[1], -1, -1), foreground, aux)

    def _patches(
        self, images: Tensor, levels: Sequence[Tensor] | None
    ) -> tuple[Tensor, Tensor, tuple[Tensor, ...] | None]:
        """The patches (B, D, h, w), the class token (B, D), and the feature maps of the CNN if there is one."""
        if isinstance(self.backbone, CnnFeatures):
            features = self.backbone(images, levels)
            patches = self.backbone.join(features)
            return patches, patches.mean(dim=(2, 3)), features
        if isinstance(self.backbone, VitBackbone):
            tokens = self.backbone(images, levels, Watch(before_norm=self.config.tokens == "prenorm"))
        else:
            tokens = self.backbone(images) if levels is None else self.backbone(images, levels)
        return tokens.patches, tokens.class_token, tokens.features

    def losses(self, output: ModelOutput, batch: Batch) -> dict[str, Tensor]:
        """Compute the terms.

        Args:
            output: Output of ``forward`` in training mode.
            batch: The images that it was computed from.

        Returns:
            ``cls``, the cross-entropy of the class token, unless the classifier was fitted before training;
            ``foreground``, that of the mean foreground patch; ``background``, ``alpha`` times the mean of
            ``absence_loss`` of the mean background patch. Images without an object teach the first alone.
        """
        labels, aux = batch.labels, output.aux
        terms = {} if self.probe is not None else {"cls": class_loss(output.logits, labels, batch.weights)}
        fore, back, weights = aux["foreground_logits"], aux["background_logits"], batch.weights
        if batch.has_object is not None:
            fore, back, labels = fore[batch.has_object], back[batch.has_object], labels[batch.has_object]
            weights = None if weights is None else weights[batch.has_object]
        if not len(labels):
            nothing = 0 * (aux["foreground_logits"].sum() + aux["background_logits"].sum())
            return terms | {"foreground": nothing, "background": nothing}
        absent = absence_loss(back, labels)
        terms["foreground"] = class_loss(fore, labels, weights)
        terms["background"] = self.config.alpha * (absent if weights is None else weights * absent).mean()
        return terms


def build(config: Config, classes: int, backbone: Backbone, sba: Sba | None) -> Trilite:
    """Build the method.

    Args:
        config: The settings, with every switch set.
        classes: Number of classes C, at least 2.
        backbone: Any backbone.
        sba: Not used: the method has no SBA.

    Raises:
        ConfigError: A setting is not one for TriLite.
    """
    require_classes(config, classes)
    require_plain_maps(config, "product")
    own_cnn = None if config.backbone.frozen else backbone.cnn
    if own_cnn is not None:
        return Trilite(own_cnn, sum(own_cnn.channels), classes, config)
    return Trilite(backbone, backbone.dim, classes, config)
