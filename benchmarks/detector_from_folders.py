"""Train a small detector on the boxes of `cdtr localize`, and write what it finds on images that it has not seen.

    cdtr localize RUN TRAIN_IMAGES --out boxes --format coco --multi --min-score 0.4
    python benchmarks/detector_from_folders.py boxes/coco.json true --data NEU-DET --out found
    cdtr score found/boxes.json --data NEU-DET

The detector is torchvision's FCOS with a narrow head, on a pyramid of EfficientNet-Lite2's feature maps: packaged
ImageNet weights, frozen, so that nothing is downloaded and a CPU is enough; the maps of each image and of its mirror
image are computed once for all trainings. ``true`` in place of a file takes the true boxes of the training images: the
ceiling. An image without a box is left out, as our boxes do not say that it shows nothing. Printed as JSON, one line
a training: how many images and boxes taught, and the average precision as `cdtr score` has it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import timm
import torch
from torch import Tensor, nn
from torchvision.models.detection import FCOS
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.fcos import FCOSHead
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import FeaturePyramidNetwork

from cdtr.config import Config
from cdtr.data.datasets import load_source
from cdtr.errors import CdtrError, DataError
from cdtr.evaluation.scored_boxes import read_coco_boxes
from cdtr.image_files.reading import read_image, read_size
from cdtr.model.packaged import load_packaged
from cdtr.records import DataSource, Sample
from cdtr.runs import write_json
from cdtr.workflows.score import score
from harness import machine_facts
from results_csv import AVERAGE_PRECISION, COLUMNS, Line, merged, read_lines, write_lines

BACKBONE = "tf_efficientnet_lite2"
STRIDES = (8, 16, 32)
WIDTH = 64  # channels of the pyramid and the head, a multiple of the 32 groups of FCOS's norms
SIDE = 160  # pixels that the detector sees
BATCH = 16
RATE = 2e-3  # the highest learning rate
REVISION = ("git", "rev-parse", "--short=7", "HEAD")
COMMAND = (
    "python benchmarks/detector_from_folders.py all/coco.json sure/coco.json true --own val/coco.json --data DATA "
    "--out OUT"
)
TRUE = "true"  # in place of a file of boxes


Levels = list[Tensor]  # feature maps (C_i, h_i, w_i) of one image, or with a batch dimension before
Kept = Mapping[str, tuple[Levels, Levels]]  # of each image and of its mirror image, by image id


class Taught(NamedTuple):
    """A training image by its id, with its boxes (N, 4), corners in the detector's pixels, and their classes (N,)."""

    image_id: str
    boxes: Tensor
    labels: Tensor


class Pyramid(nn.Module):
    """A pyramid of the feature maps of a frozen CNN with packaged weights."""

    def __init__(self) -> None:
        super().__init__()
        whole = timm.create_model(BACKBONE, pretrained=False)
        load_packaged(whole, BACKBONE, BACKBONE)
        self.cnn: Any = timm.create_model(BACKBONE, pretrained=False, features_only=True, out_indices=(2, 3, 4))
        self.cnn.load_state_dict(whole.state_dict(), strict=False)
        self.cnn.requires_grad_(False).to(memory_format=torch.channels_last)
        self.pyramid = FeaturePyramidNetwork(self.cnn.feature_info.channels(), WIDTH)
        self.out_channels = WIDTH

    def train(self, mode: bool = True) -> Pyramid:
        """The CNN's batch norm keeps its statistics."""
        super().train(mode)
        self.cnn.eval()
        return self

    @torch.no_grad()
    def levels(self, images: Tensor) -> Levels:
        """The CNN's maps (B, C_i, h_i, w_i) of normalised images (B, 3, H, W)."""
        found: Levels = self.cnn(images.contiguous(memory_format=torch.channels_last))
        return found

    def join(self, levels: Levels) -> OrderedDict[str, Tensor]:
        """The pyramid's maps (B, WIDTH, h_i, w_i) of those of the CNN."""
        found: OrderedDict[str, Tensor] = self.pyramid(OrderedDict(zip("345", levels, strict=True)))
        return found

    def forward(self, images: Tensor) -> OrderedDict[str, Tensor]:
        """The pyramid's maps (B, WIDTH, h_i, w_i) of normalised images (B, 3, H, W)."""
        return self.join(self.levels(images))


def build_detector(classes: int) -> FCOS:
    """A small FCOS that takes images of values in [0, 1]."""
    anchors = AnchorGenerator(tuple((stride,) for stride in STRIDES), ((1.0,),) * len(STRIDES))
    settings = Config().data
    return FCOS(
        Pyramid(),
        classes,
        min_size=SIDE,
        max_size=SIDE,
        image_mean=list(settings.mean),
        image_std=list(settings.std),
        anchor_generator=anchors,
        head=FCOSHead(WIDTH, 1, classes, num_convs=2),
    )


def read_taught(source: DataSource, boxes: str) -> list[Taught]:
    """Read the boxes of the training images that have one.

    Args:
        source: the data set.
        boxes: a COCO file of boxes, or ``true`` for those of the data set.

    Raises:
        DataError: no training image has a box.
    """
    samples = source.splits["train"]
    ours = {} if boxes == TRUE else read_coco_boxes(Path(boxes), samples, source.class_names)
    found = []
    for sample in samples:
        if boxes == TRUE:
            annotation = source.annotate(sample)
            corners = [] if annotation is None else annotation.boxes_xyxy.tolist()
            labels = [sample.label] * len(corners)
        else:
            corners = [list(box.box_xyxy) for box in ours.get(sample.image_id, ())]
            labels = [box.label for box in ours.get(sample.image_id, ())]
        if corners:
            height, width = read_size(sample.path, Config().data.max_pixels)
            factors = torch.tensor([SIDE / width, SIDE / height] * 2)
            found.append(Taught(sample.image_id, torch.tensor(corners) * factors, torch.tensor(labels)))
    if not found:
        raise DataError(f"no training image of {source.root} has a box in {boxes}: expected some to learn from")
    return found


def read_pixels(sample: Sample) -> Tensor:
    """Read an image as (3, SIDE, SIDE) in [0, 1]."""
    image = read_image(sample.path, Config().data.max_pixels).resize((SIDE, SIDE))
    return torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1).float() / 255


def keep_features(detector: FCOS, samples: Sequence[Sample], size: int = 16) -> dict[str, tuple[Levels, Levels]]:
    """The CNN's maps of each image and of its mirror image by image id, in half precision."""
    detector.eval()
    found = {}
    for start in range(0, len(samples), size):
        chosen = samples[start : start + size]
        images, _ = detector.transform([read_pixels(sample) for sample in chosen])
        both = [detector.backbone.levels(side) for side in (images.tensors, images.tensors.flip(-1))]
        for index, sample in enumerate(chosen):
            found[sample.image_id] = tuple([level[index].half() for level in levels] for levels in both)
    return found


def losses(detector: FCOS, levels: Levels, targets: list[dict[str, Tensor]]) -> Tensor:
    """FCOS's loss from the CNN's maps of a batch; ``detector(images, targets)`` gives the same from pixels."""
    maps = list(detector.backbone.join(levels).values())
    images = ImageList(torch.empty(len(targets), 3, SIDE, SIDE), [(SIDE, SIDE)] * len(targets))
    anchors = detector.anchor_generator(images, maps)
    terms = detector.compute_loss(targets, detector.head(maps), anchors, [one.shape[2] * one.shape[3] for one in maps])
    total: Tensor = sum(terms.values(), torch.zeros(()))
    return total


def train(detector: FCOS, taught: Sequence[Taught], kept: Kept, epochs: int, seed: int) -> None:
    """Train all but the CNN on the images and their mirror images; a line for each epoch goes to standard error."""
    random, size = np.random.default_rng(seed), min(BATCH, len(taught))
    weights = [weight for weight in detector.parameters() if weight.requires_grad]
    optimiser = torch.optim.AdamW(weights, lr=RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, epochs * (len(taught) // size), pct_start=0.1)
    detector.train()
    for epoch in range(epochs):
        start, total, order = time.perf_counter(), 0.0, random.permutation(len(taught))
        for first in range(0, len(order) - size + 1, size):
            chosen, mirrored = [taught[index] for index in order[first : first + size]], random.random(size) < 0.5
            seen = [kept[one.image_id][int(turned)] for one, turned in zip(chosen, mirrored, strict=True)]
            levels = [torch.stack(parts).float() for parts in zip(*seen, strict=True)]
            boxes = [mirror(one.boxes) if turned else one.boxes for one, turned in zip(chosen, mirrored, strict=True)]
            targets = [{"boxes": some, "labels": one.labels} for one, some in zip(chosen, boxes, strict=True)]
            loss = losses(detector, levels, targets)
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(weights, 5.0)
            optimiser.step()
            schedule.step()
            total += loss.item()
        seconds = time.perf_counter() - start
        mean = total / (len(taught) // size)
        print(f"epoch {epoch + 1}/{epochs}: loss {mean:.3f}, {seconds:.0f} s", file=sys.stderr, flush=True)


def mirror(boxes: Tensor) -> Tensor:
    """Boxes (N, 4) of the detector's pixels in the mirror image."""
    x0, y0, x1, y1 = boxes.unbind(1)
    return torch.stack([SIDE - x1, y0, SIDE - x0, y1], dim=1)


@torch.no_grad()
def detect(detector: FCOS, samples: Sequence[Sample], class_names: Sequence[str]) -> Mapping[str, Any]:
    """What a detector finds, as the content of a COCO file with scores."""
    detector.eval()
    images, annotations = [], []
    for number, sample in enumerate(samples, start=1):
        (found,) = detector([read_pixels(sample)])
        images.append({"id": number, "file_name": sample.image_id})
        height, width = read_size(sample.path, Config().data.max_pixels)
        corners = found["boxes"] * torch.tensor([width / SIDE, height / SIDE] * 2)
        for (x0, y0, x1, y1), label, value in zip(
            corners.tolist(), found["labels"].tolist(), found["scores"].tolist(), strict=True
        ):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": label + 1,
                    "bbox": [x0, y0, x1 - x0, y1 - y0],
                    "score": value,
                }
            )
    categories = [{"id": number, "name": name} for number, name in enumerate(class_names, start=1)]
    return {"images": images, "annotations": annotations, "categories": categories}


def write_found(detector: FCOS, source: DataSource, split: str, out: Path) -> None:
    """Write what a detector finds in a split as a COCO file."""
    out.parent.mkdir(parents=True, exist_ok=True)
    write_json(out, detect(detector, source.splits[split], source.class_names))


def precision_of(boxes: Path, source: DataSource, split: str) -> dict[str, float]:
    """The average precision in percent of a COCO file of boxes in a split; empty without pycocotools."""
    found = score(boxes, source, split=split)
    return {} if found.average_precision is None else found.average_precision.to_json()


def line_of(csv: Path, row: str, recipe: str, source: DataSource, measured: Mapping[str, Any], split: str) -> Line:
    """The line of a row for a file of results/."""
    facts = machine_facts()
    return {
        **dict.fromkeys(COLUMNS, ""),
        **{"table": csv.stem, "row": row, "seed": str(measured.get("seed", 0)), "data": source.name, "split": split},
        "command": COMMAND,
        "revision": subprocess.run(REVISION, cwd=Path(__file__).parent, capture_output=True, text=True).stdout.strip(),
        "machine": f"{facts['cores']} cores of {facts['cpu']}, torch {facts['torch']}",
        "recipe": recipe,
        "protocol": "coco",
        "n_images": str(len(source.splits[split])),
        "n_annotated": str(len(source.splits[split])),
        **{key: f"{measured[key]:.3f}" for key in AVERAGE_PRECISION if key in measured},
    }


def train_one(boxes: str, taught: Sequence[Taught], kept: Kept, source: DataSource, args: Any) -> dict[str, Any]:
    """Train and measure a detector; what a reader needs to judge it."""
    torch.manual_seed(args.seed)
    detector, start = build_detector(len(source.class_names)), time.perf_counter()
    train(detector, taught, kept, args.epochs, args.seed)
    seconds, out = round(time.perf_counter() - start), args.out / f"{name_of(boxes)}.json"
    write_found(detector, source, args.split, out)
    counts = {"images": len(taught), "n_taught": sum(len(one.boxes) for one in taught)}
    facts = {"boxes": boxes, "seed": args.seed, "epochs": args.epochs, "train_seconds": seconds}
    return facts | counts | precision_of(out, source, args.split)


def name_of(boxes: str) -> str:
    """The name of a row: the folder of a file of boxes."""
    return boxes if boxes == TRUE else Path(boxes).resolve().parent.name


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("boxes", nargs="+", help=f"COCO files of boxes of the training images, or {TRUE}")
    parser.add_argument("--data", required=True, help="the data set")
    parser.add_argument("--out", type=Path, required=True, help="folder for what the detectors find: a COCO file each")
    parser.add_argument("--own", type=Path, help="COCO file of a run's own boxes in --split, to compare with")
    parser.add_argument("--split", default="val", help="images to find objects in (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=6, help="passes over the training images (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of weights and order (default: %(default)s)")
    parser.add_argument("--csv", type=Path, help="file of results/ that gets a line for each row")
    args = parser.parse_args()
    lines = []
    try:
        source = load_source(Path(args.data))
        all_taught = {boxes: read_taught(source, boxes) for boxes in args.boxes}
        if args.own is not None:
            own = precision_of(args.own, source, args.split)
            print(json.dumps({"boxes": str(args.own), **own}))
            lines.append(line_of(args.csv or args.own, "own", "boxes of the run", source, own, args.split))
        kept = keep_features(build_detector(len(source.class_names)), source.splits["train"])
        for boxes, taught in all_taught.items():
            measured = train_one(boxes, taught, kept, source, args)
            print(json.dumps(measured | {"machine": machine_facts()}), flush=True)
            words = f"FCOS, {measured['n_taught']} boxes in {measured['images']} images"
            lines.append(line_of(args.csv or args.out, name_of(boxes), words, source, measured, args.split))
        if args.csv is not None:
            write_lines(args.csv, merged(read_lines(args.csv) if args.csv.is_file() else [], lines))
    except CdtrError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
