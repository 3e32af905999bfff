"""MaxBoxAcc at 1,000 thresholds: this package beside searching OpenCV's contours afresh at each threshold.

All count the same images in turns on one thread, and must agree in every count. ``oracle`` is the straightforward
version that the tests compare with; ``lean`` is the same search with everything around it made as cheap as it gets.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

import cv2
import numpy as np

from cdtr.localization.maps import normalise_maps
from cdtr.localization.sweep import best_ious
from cdtr.metrics.max_box_acc import box_hits

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from oracles import box_oracles

IOU = (30, 50, 70)


def maps(kind: str, count: int, side: int, grid: int, seed: int = 0) -> list[np.ndarray]:
    """Bicubic maps of a patch grid, alone or with pixel noise."""
    rng = np.random.default_rng(seed)
    yx = np.stack(np.meshgrid(*[np.linspace(0, 1, grid)] * 2, indexing="ij"))
    found = []
    for _ in range(count):
        centre, width = rng.uniform(0.3, 0.7, (2, 1, 1)), rng.uniform(0.1, 0.3)
        coarse = np.exp(-((yx - centre) ** 2).sum(0) / (2 * width**2)) + 0.1 * rng.random((grid, grid))
        fine = cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC)
        found.append(normalise_maps(fine + (0.05 * rng.random((side, side)) if kind == "noisy" else 0)))
    return found


def afresh(score_map: np.ndarray, gt: np.ndarray, thresholds: np.ndarray, multi: bool) -> np.ndarray:
    """Best IoU at each threshold, every one of them searched anew."""
    grey = (score_map * 255).astype(np.uint8)
    top = int(grey.max())
    height, width = grey.shape
    best = np.empty(len(thresholds))
    for index, threshold in enumerate(thresholds):
        mask = cv2.threshold(grey, int(threshold * top), 255, cv2.THRESH_BINARY)[1]
        contours = cv2.findContours(mask, cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)[0]
        if not multi and contours:
            contours = [max(contours, key=cv2.contourArea)]
        rects = np.array([cv2.boundingRect(c) for c in contours] or [(0, 0, 0, 0)])
        low = rects[:, :2]
        high = np.minimum(low + rects[:, 2:], [width - 1, height - 1])
        shared = np.clip(np.minimum(high, gt[2:]) - np.maximum(low, gt[:2]) + 1, 0, None).prod(1)
        areas = (high - low + 1).prod(1)
        best[index] = (shared / (areas + (gt[2:] - gt[:2] + 1).prod() - shared)).max()
    return best


def compare(kind: str, multi: bool, arguments: argparse.Namespace) -> dict[str, object]:
    thresholds = np.arange(0, 1, arguments.delta)
    gt = np.array([[50, 60, 170, 180]])
    score_maps = maps(kind, arguments.images, arguments.side, arguments.grid)
    best_ious(score_maps[0], gt, thresholds, multi)  # compile
    seconds: dict[str, list[float]] = {"ours": [], "lean": [], "oracle": []}
    for score_map in score_maps:
        sides = {
            "ours": lambda: box_hits(best_ious(score_map, gt, thresholds, multi), IOU),  # noqa: B023
            "lean": lambda: box_hits(afresh(score_map, gt[0], thresholds, multi), IOU),  # noqa: B023
            "oracle": lambda: box_oracles.hits(score_map, gt.tolist(), thresholds, IOU, multi) > 0,  # noqa: B023
        }
        hits = {}
        for name, side in sides.items():
            start = time.perf_counter()
            hits[name] = side()
            seconds[name].append(time.perf_counter() - start)
        if not all(np.array_equal(hits["ours"], hits[name]) for name in sides):
            raise SystemExit(f"the counts differ: {kind}, multi {multi}")
    return {
        "maps": kind,
        "contours": "all" if multi else "largest",
        **{f"{name}_ms": round(1e3 * statistics.median(values), 2) for name, values in seconds.items()},
        **{
            f"{name}_ratio": round(
                statistics.median(b / a for a, b in zip(seconds["ours"], seconds[name], strict=True)), 1
            )
            for name in ("lean", "oracle")
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=20)
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--grid", type=int, default=14)
    parser.add_argument("--delta", type=float, default=0.001)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    rows = [compare(kind, multi, arguments) for kind in ("smooth", "noisy") for multi in (False, True)]
    print(json.dumps({"opencv": cv2.__version__, "images": arguments.images, "rows": rows}, indent=2))


if __name__ == "__main__":
    main()
