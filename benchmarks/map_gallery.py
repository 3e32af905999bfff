"""The maps of any runs on the same random images: the pictures of `cdtr reproduce figure-4` for runs of your own."""

from __future__ import annotations

import argparse
from pathlib import Path

from cdtr.api import choose_view, protocol_threshold
from cdtr.config import PaperGallery
from cdtr.evaluation import find_protocol
from cdtr.reports.figures import figure_png
from cdtr.reports.gallery_figure import gallery_block
from cdtr.reports.image_grid import image_grid
from cdtr.runs import RunFolder, write_atomic
from cdtr.workflows.opening import choose_split, open_source
from cdtr.workflows.paper_gallery import DPI, show_runs
from cdtr.workflows.paper_images import RunToShow


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--split", help="by default the first of test, val, held-out")
    parser.add_argument("--images", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True, help="a PNG file")
    arguments = parser.parse_args()
    first = RunFolder(arguments.runs[0])
    source, protocol = open_source(first, arguments.data), find_protocol(first.config().evaluation.protocol)
    split, _ = choose_split(first, source, arguments.split)
    runs = []
    for path in arguments.runs:
        view = protocol.view or choose_view(RunFolder(path))
        threshold = protocol_threshold(RunFolder(path), protocol, source.name, view=view)
        if threshold is None:
            parser.error(f"{path} has no map threshold: run `cdtr calibrate` first")
        runs.append(
            RunToShow(path.name, path.name, RunFolder(path).config().seed, RunFolder(path), threshold.value, view)
        )
    spec = PaperGallery(iou=True, images=arguments.images)
    shown = show_runs(spec, source.name, source.root.name, runs, source, split, protocol, arguments.seed)
    write_atomic(arguments.out, figure_png(image_grid("Localization maps", [gallery_block(spec, shown)]), DPI))
    print(f"wrote {arguments.out}")


if __name__ == "__main__":
    main()
