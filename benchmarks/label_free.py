"""Map thresholds chosen without a box, beside the calibrated one: GT-known Loc on the evaluated images under each.

Every criterion sees the same held-out training images of a run, and one forward pass; ``boxed`` is `cdtr calibrate`,
``oracle`` the best threshold on the evaluated images. The rows:

halfway: `cdtr calibrate --label-free`. otsu: Otsu's threshold of all maps' pixels. mean: the mean of the maps' means.
flips: where the boxes of an image and of its mirror image agree most, above what boxes of two different images agree.
clip: where the run's CLIP tells the class best from what is inside the box, against what is outside.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch

from cdtr.api import as_seen, find_view, load_model
from cdtr.config import Config
from cdtr.data.loader import eval_loader
from cdtr.data.transforms import denormalise
from cdtr.evaluation import Tally, find_protocol, tally_images
from cdtr.evaluation.calibration import halfway_threshold, middle_of_plateau
from cdtr.evaluation.forward import predict
from cdtr.evaluation.measure import place_prediction
from cdtr.evaluation.protocols import Protocol
from cdtr.localization.boxes import iou_half_open, largest_box
from cdtr.model.clip import load_clip
from cdtr.records import Batch, DataSource, Method
from cdtr.runs import RunFolder
from cdtr.workflows.calibration_images import calibration_samples
from cdtr.workflows.opening import choose_split, open_source

Array = npt.NDArray[np.float64]
GRID = np.arange(0.02, 1, 0.02)


def boxes_over_grid(frame_map: Array, frame_hw: tuple[int, int]) -> Array:
    """The largest component's box (T, 4) at each threshold of ``GRID``; the whole frame where there is none."""
    whole = np.array([[0, 0, frame_hw[1], frame_hw[0]]], dtype=np.float64)
    found = [largest_box(frame_map, threshold) for threshold in GRID]
    return np.concatenate([box if len(box) else whole for box in found])


def otsu_threshold(maps: Array) -> float:
    """Otsu's (1979) for the pixels of all maps (N, H, W) in [0, 1] together."""
    levels = np.rint(255 * maps).astype(np.uint8).reshape(len(maps), -1)
    return float(cv2.threshold(levels, 0, 255, cv2.THRESH_OTSU)[0]) / 255


def flip_agreement(boxes: Array, mirrored: Array) -> Array:
    """Mean IoU (T,) of the boxes (N, T, 4) of an image and its mirror image, less that of an image and another one's.

    Without the second a box around everything would agree best.
    """
    rates = []
    for step in range(boxes.shape[1]):
        ious = np.asarray(iou_half_open(boxes[:, step], mirrored[:, step]))
        own = np.diag(ious).mean()
        rates.append(own - (ious.sum() - np.trace(ious)) / max(ious.size - len(ious), 1))
    return np.array(rates)


@torch.inference_mode()
def clip_agreement(
    batches: Iterable[Batch], boxes: Array, frame_hw: tuple[int, int], config: Config, names: tuple[str, ...]
) -> Array | None:
    """Mean probability (T,) that CLIP gives the label for the inside of its box, less that for the outside."""
    if not config.sba.enabled:
        return None
    clip = load_clip(config.sba.model, config.sba.pretrained)
    text = clip.text_features(names, config.sba.templates)
    total, start = np.zeros(len(GRID)), 0
    for batch in batches:
        pixels = denormalise(batch.images, config.data)
        height, width = pixels.shape[-2:]
        scale = np.array([width / frame_hw[1], height / frame_hw[0]] * 2)
        part = np.rint(boxes[start : start + len(pixels)] * scale).astype(int)
        for step in range(len(GRID)):
            mask = torch.zeros(len(pixels), 1, height, width)
            for index, (x0, y0, x1, y1) in enumerate(part[:, step]):
                mask[index, :, y0:y1, x0:x1] = 1
            features = clip.image_features(torch.cat([pixels * mask, pixels * (1 - mask)]))
            probs = (features @ text.T * clip.temperature).softmax(dim=1).gather(1, batch.labels.repeat(2)[:, None])
            inside, outside = probs.chunk(2)
            total[step] += float((inside - outside).sum())
        start += len(pixels)
    return total / max(start, 1)


def choose(run: RunFolder, source: DataSource, method: Method, protocol: Protocol) -> dict[str, float]:
    """The threshold of each criterion, on the images that the run held out."""
    samples, config = calibration_samples(run, source, None), run.config()
    batches = list(eval_loader(samples, config, view=find_view(run).name))
    maps, turned = [], []
    for prediction in predict(method, batches, "cpu", mirrored=True):
        assert prediction.mirrored_map is not None
        maps.append(place_prediction(prediction.label_map, prediction, protocol).astype(np.float64))
        # Boxes of an image and of its mirror image are compared for one class, the predicted one.
        pair = prediction.predicted_map, prediction.mirrored_map
        turned.append([boxes_over_grid(place_prediction(one, prediction, protocol), protocol.frame_hw) for one in pair])
    both = np.array(turned)
    own = np.array([boxes_over_grid(one, protocol.frame_hw) for one in maps])
    found = {
        "mean": float(np.mean([one.mean() for one in maps])),
        "halfway": float(np.mean([halfway_threshold(one) for one in maps])),
        "otsu": otsu_threshold(np.stack(maps)),
        "flips": float(GRID[middle_of_plateau(flip_agreement(both[:, 0], both[:, 1]))]),
    }
    agreement = clip_agreement(batches, own, protocol.frame_hw, config, source.class_names)
    if agreement is not None:
        found["clip"] = float(GRID[middle_of_plateau(agreement)])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", help="runs that `cdtr calibrate` has calibrated with boxes")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--split", help="by default the first of test, val, held-out")
    arguments = parser.parse_args()
    rows = []
    for path in arguments.runs:
        run = RunFolder(path).require_trained()
        source = open_source(run, arguments.data)
        view = find_view(run)
        protocol, method = find_protocol(run.config().evaluation.protocol), as_seen(load_model(path), view)
        calibration = run.calibration()
        if calibration is None or calibration["curve"] is None:
            sys.exit(f"{path} has no calibration with boxes: run `cdtr calibrate {path} --data {arguments.data}` first")
        thresholds = {"boxed": float(calibration["threshold"])} | choose(run, source, method, protocol)
        name, samples = choose_split(run, source, arguments.split)
        tally = Tally(protocol, None, 0.01)
        tally_images([tally], method, eval_loader(samples, run.config(), view=view.name), source.annotate)
        rates = tally.single.rates[tally.single.iou.index(50)]
        scores = {key: float(rates[round(100 * value)]) for key, value in thresholds.items()}
        scores["oracle"] = float(rates.max())
        rows.append({"run": str(path), "thresholds": thresholds, "gt_known_loc": scores})
    mean = {key: float(np.mean([row["gt_known_loc"][key] for row in rows])) for key in rows[0]["gt_known_loc"]}
    result = {"split": name, "images": len(samples), "mean_gt_known_loc": mean}
    print(json.dumps({**result, "rows": rows}, indent=2))


if __name__ == "__main__":
    main()
