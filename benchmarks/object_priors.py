"""Object priors by themselves (``cdtr.model.priors``), before anything learns from them: GT-known on training images.

Each run's guide, which only learned to classify patches, gives the features. Every prior is scored as if it were the
localization map, at its own best threshold, and by class at that threshold; so it flatters all alike.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from cdtr.config import Config
from cdtr.data.loader import eval_loader
from cdtr.data.split import training_samples
from cdtr.errors import CheckpointError
from cdtr.evaluation import Tally, find_protocol, tally_images
from cdtr.model.guide import Guide
from cdtr.model.maps import pooled_logits, scale_maps
from cdtr.model.methods import build_method
from cdtr.model.priors import PRIORS
from cdtr.model.weights import read_state_dict
from cdtr.records import Batch, DataSource, Method, ModelOutput, Sample
from cdtr.runs import RunFolder
from cdtr.workflows.opening import open_source


class PriorMaps(Method):
    """The guide's prior as the map of every class; the classes are those that ``classifier`` says, else the guide.

    size_hw: what the guide sees, where the images are larger, as those that the classifier cuts tiles from. The prior
    compares patches with the border of the whole image, so it is never tiled.
    """

    def __init__(
        self, guide: Guide, classifier: Callable[..., ModelOutput] | None = None, size_hw: tuple[int, int] | None = None
    ) -> None:
        super().__init__()
        self.guide = guide
        self.classifier = classifier
        self.size_hw = size_hw

    def forward(self, images: Tensor, auxiliary: bool | None = None) -> ModelOutput:
        """images: (B, 3, H, W), normalised."""
        resized = self.size_hw is not None and tuple(images.shape[-2:]) != self.size_hw
        shrink = {"size": self.size_hw, "mode": "bilinear", "antialias": True}
        seen = self.guide(F.interpolate(images, **shrink) if resized else images)
        maps = seen.prior if seen.prior.dim() == 4 else seen.prior[:, None].expand_as(seen.x_guide)
        logits = pooled_logits(seen.x_guide) if self.classifier is None else self.classifier(images).logits
        likeliest = maps[range(len(logits)), logits.argmax(dim=1)]
        return ModelOutput(logits, maps, scale_maps(likeliest))

    def losses(self, output: ModelOutput, batch: Batch) -> dict[str, Tensor]:
        """Return no terms: the prior is not trained."""
        return {}


def trained_guide(run: RunFolder) -> Guide:
    """The guide of a run, in evaluation mode; CheckpointError where it was trained without one."""
    config = run.config().updated(sba={"enabled": False})
    if not config.guide.enabled:
        raise CheckpointError(
            f"{run.path} was trained without a guide, as by the paper's recipe, so it has no prior: give a run with "
            "guide.enabled"
        )
    method = build_method(config, len(run.class_names()), sba=None, load_weights=False)
    method.load_state_dict(read_state_dict(run.weights), strict=False)
    guide: Guide = method.eval().guide
    return guide


def score(maps: PriorMaps, samples: list[Sample], config: Config, source: DataSource, iou: int) -> dict[str, Any]:
    """GT-known Loc at an IoU in percent and the best threshold of all classes together, and each class's at that."""
    hits, counts, labels = [], [], sorted({sample.label for sample in samples})
    for label in labels:
        tally = Tally(find_protocol(config.evaluation.protocol), None)
        of_class = [sample for sample in samples if sample.label == label]
        tally_images([tally], maps, eval_loader(of_class, config), source.annotate)
        hits.append(tally.single.hits[tally.single.iou.index(iou)])
        counts.append(tally.single.count)
    best = int(np.sum(hits, axis=0).argmax())
    by_class = {
        source.class_names[label]: round(100 * int(found[best]) / count, 1)
        for label, found, count in zip(labels, hits, counts, strict=True)
    }
    total = 100 * sum(int(found[best]) for found in hits) / sum(counts)
    return {"threshold": round(float(tally.thresholds[best]), 2), "gt_known_loc": round(total, 1), "classes": by_class}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", help="runs with a guide")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--images", type=int, default=500)
    arguments = parser.parse_args()
    rows = []
    for path in arguments.runs:
        run = RunFolder(path).require_trained()
        source, guide = open_source(run, arguments.data), trained_guide(run)
        samples = training_samples(source)
        order = np.random.default_rng(0).permutation(len(samples))[: arguments.images]
        chosen = [samples[index] for index in order]
        for prior in sorted(PRIORS):
            guide.prior = prior
            for iou in (30, 50):
                scores = score(PriorMaps(guide), chosen, run.config(), source, iou)
                rows.append({"run": str(path), "prior": prior, "images": len(chosen), "iou": iou} | scores)
    print(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
