"""Score heat maps of any method: MAPS/IMAGE_ID.npy, one map (h, w) in [0, 1] of the whole image for each image.

python examples/score_maps.py MAPS DATA
"""

import argparse
from pathlib import Path

from cdtr.config import Config
from cdtr.data.datasets import load_source
from cdtr.data.images import read_size
from cdtr.evaluation import Tally, find_protocol, tally_answers
from cdtr.evaluation.predictions import find_maps, read_answers, without_classes


def score_maps(maps: Path, data: Path, threshold: float | None = None) -> dict[str, float | None]:
    """Return the metrics in percent by name, on the split ``test``, else ``val``, else ``train``."""
    source = load_source(data)
    samples = next(source.splits[name] for name in ("test", "val", "train") if source.splits.get(name))
    size_hw = source.size_hw or (lambda sample: read_size(sample.path, Config().data.max_pixels))
    tally = Tally(find_protocol("wsol"), threshold)
    found = read_answers(find_maps(maps, samples), samples, size_hw, len(source.class_names))
    tally_answers([tally], found, source.annotate)
    return without_classes(tally.finish("given")).metrics


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("maps", type=Path, help="a folder of .npy files")
    parser.add_argument("data", type=Path, help="a data set with boxes or masks")
    parser.add_argument("--threshold", type=float, help="of the maps; without it only the best ones are known")
    options = parser.parse_args()
    for name, value in score_maps(options.maps, options.data, options.threshold).items():
        print(f"{name:20} {'-' if value is None else f'{value:.1f}'}")
