"""The maps of several runs on the same random images, as one picture: a column an image, a row a run.

The map is that of the image's label, the solid box the run's own at its threshold, the dashed ones are true.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from cdtr.api import Localizer
from cdtr.cli._shared import open_source
from cdtr.cli.evaluate import choose_split
from cdtr.data.images import read_image
from cdtr.localization.finder import BoxFinder
from cdtr.reports.overlays import overlay
from cdtr.runs import RunFolder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--split", help="by default the first of test, val, held-out")
    parser.add_argument("--images", type=int, default=10)
    parser.add_argument("--side", type=int, default=112)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    source = open_source(RunFolder(arguments.runs[0]), arguments.data)
    _, samples = choose_split(RunFolder(arguments.runs[0]), source, arguments.split)
    order = np.random.default_rng(arguments.seed).permutation(len(samples))[: arguments.images]
    chosen, side = [samples[index] for index in order], arguments.side
    pictures = [read_image(sample.path, 10**8) for sample in chosen]
    gap = 3
    sheet = Image.new(
        "RGB", (len(chosen) * (side + gap) - gap, (len(arguments.runs) + 1) * (side + gap) - gap), "white"
    )
    for column, picture in enumerate(pictures):
        sheet.paste(picture.resize((side, side)), (column * (side + gap), 0))
    for row, path in enumerate(arguments.runs, start=1):
        run = Localizer.from_pretrained(path)
        predictor = run.engine.predictor(BoxFinder(run.class_names, run.threshold))
        found = predictor.predict(pictures, [s.image_id for s in chosen], [s.label for s in chosen])
        for column, (sample, picture, one) in enumerate(zip(chosen, pictures, found, strict=True)):
            annotation = source.annotate(sample)
            truth = None if annotation is None else annotation.boxes_xyxy
            drawn = overlay(picture, one, truth).resize((side, side))
            sheet.paste(drawn, (column * (side + gap), row * (side + gap)))
    sheet.save(arguments.out, quality=85)
    print(f"wrote {arguments.out}")


if __name__ == "__main__":
    main()
