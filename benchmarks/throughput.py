"""Images a second of `cdtr localize`, end to end, beside the network's forward pass alone, in one run.

End to end: files are found, read, decoded and resized, boxes are found and written as COCO, and with ``--overlays`` a
picture of each is drawn and encoded. Bare: the same network on as many images that lie in memory, ready and normalised,
in batches as large. Both are timed in turn, ``--rounds`` times; the ratio is that of the medians.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import torch

from cdtr.api import Localizer
from cdtr.data.transforms import EvalTransform
from cdtr.formats import Target, find_exporter
from cdtr.image_files.reading import read_image
from cdtr.localization.postprocess import MapPostProcessor
from cdtr.localization.prediction import localize_batch
from cdtr.workflows.box_files import localize_images
from cdtr.workflows.images import expand_images
from cdtr.workflows.localize import default_workers
from harness import machine_facts


def end_to_end(localizer: Localizer, images: str, batch: int, overlays: bool) -> tuple[float, int]:
    """Seconds, and the number of images."""
    with tempfile.TemporaryDirectory() as folder:
        out, exporter = Path(folder), find_exporter("coco")
        start = time.perf_counter()
        pictures = expand_images([images])
        target = Target(out / exporter.file_name, localizer.class_names, Path(images), "benchmark")
        with exporter.open(target) as add:
            found = localize_images(localizer, pictures, out, overlays=overlays, batch_size=batch, adders=[add])
        return time.perf_counter() - start, len(found)


@torch.inference_mode()
def bare(localizer: Localizer, ready: torch.Tensor, count: int) -> float:
    """Seconds that the network takes for ``count`` images, a batch that is at hand again and again."""
    start = time.perf_counter()
    for done in range(0, count, len(ready)):
        localizer.method(ready[: count - done], auxiliary=False)
    if localizer.device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("images", help="a folder of images")
    parser.add_argument("--batch", type=int, default=8, help="images a batch (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--overlays", action="store_true")
    parser.add_argument("--threads", type=int, help="torch threads (default: torch's choice)")
    parser.add_argument("--workers", type=int, help="batches at a time (default: as `cdtr localize` does)")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    threads = torch.get_num_threads()
    paths = [path for _, path in expand_images([arguments.images])]
    workers = arguments.workers or default_workers(len(paths), arguments.batch)
    localizer = Localizer.from_pretrained(arguments.run, threshold=0.5, workers=workers)
    shared = torch.get_num_threads()
    transform = EvalTransform(localizer.config.data)
    some = paths[: arguments.batch]
    ready = torch.stack([transform(read_image(path, 10**9)) for path in some]).to(localizer.device)
    processor = MapPostProcessor(localizer.class_names, 0.5)
    localize_batch(localizer.model, processor, [read_image(some[0], 10**9)], ["warm"])
    whole, network, count = [], [], 0
    for _ in range(arguments.rounds):
        torch.set_num_threads(shared)
        seconds, count = end_to_end(localizer, arguments.images, arguments.batch, arguments.overlays)
        whole.append(seconds)
        torch.set_num_threads(threads)
        network.append(bare(localizer, ready, count))
    ratio = statistics.median(network) / statistics.median(whole)
    result = {
        "images": count,
        "batch": arguments.batch,
        "workers": localizer.model.workers,
        "overlays": arguments.overlays,
        "end_to_end_images_per_second": round(count / statistics.median(whole), 1),
        "bare_images_per_second": round(count / statistics.median(network), 1),
        "share_of_bare": round(ratio, 3),
        "rounds_share": [round(one / all_, 3) for one, all_ in zip(network, whole, strict=True)],
    }
    print(json.dumps(result | machine_facts(), indent=2))


if __name__ == "__main__":
    main()
