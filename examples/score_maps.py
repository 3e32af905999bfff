"""Score heat maps of any method: MAPS/IMAGE_ID.npy, one map (h, w) in [0, 1] of the whole image for each image.

python examples/score_maps.py MAPS DATA
"""

import argparse
from pathlib import Path

import cdtr


def score_maps(maps: Path, data: Path, threshold: float | None = None) -> dict[str, float | None]:
    """Return the metrics in percent by name, on the split ``test``, else ``val``, else ``train``."""
    return dict(cdtr.score(maps, data, threshold=threshold).metrics)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("maps", type=Path, help="a folder of .npy files")
    parser.add_argument("data", type=Path, help="a data set with boxes or masks")
    parser.add_argument("--threshold", type=float, help="of the maps; without it only the best ones are known")
    options = parser.parse_args()
    for name, value in score_maps(options.maps, options.data, options.threshold).items():
        print(f"{name:20} {'-' if value is None else f'{value:.1f}'}")
