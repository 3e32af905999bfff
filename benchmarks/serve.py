"""What a request to `cdtr serve` costs beside calling the localizer in Python, with 1, 8 and 50 clients at a time.

    python benchmarks/serve.py runs/shapes data/val --images 64 --rounds 5

The command itself is started in a process of its own on this machine; clients are threads here, each with one
connection, and send whole files. ``bare`` reads the same files and calls ``Localizer`` on each, one by one, in this
process. All answer the same images in every round, in turns. Latency, in milliseconds, is from sending an image
to having its boxes. ``right`` counts answers with the boxes and classes of the bare call, corners within one pixel (a
batch rounds differently from a single image); ``lost`` those that were no answer. Anything lost or wrong is an exit
code 1.
"""

from __future__ import annotations

import argparse
import re
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple

import httpx2
import numpy as np

from cdtr.api import Localizer
from cdtr.image_files.paths import find_images
from harness import machine_facts, show

CLIENTS = (1, 8, 50)


class Measured(NamedTuple):
    """Of one image: seconds, and its boxes with their classes, or None where no answer came."""

    seconds: float
    boxes: list[tuple[list[float], str]] | None


@contextmanager
def serving(run: str, device: str) -> Iterator[str]:
    """The address of the server, which ends with the context."""
    command = [sys.executable, "-m", "cdtr", "serve", run, "--port", "0", "--device", device]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        address = re.search(r"http://[^,]+", process.stdout.readline())
        if address is None:
            raise SystemExit("the server did not start: see its line above")
        yield address.group()
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()


def call_bare(localizer: Localizer, paths: Sequence[Path]) -> list[Measured]:
    found = []
    for path in paths:
        start = time.perf_counter()
        (answer,) = localizer([path])
        seconds = time.perf_counter() - start
        names = [localizer.class_names[label] for label in answer.labels]
        found.append(Measured(seconds, list(zip(answer.boxes_xyxy.tolist(), names, strict=True))))
    return found


def call_server(address: str, contents: Sequence[tuple[str, bytes]], clients: int) -> list[Measured]:
    """Every image once, each client taking the next one as soon as it has its answer."""
    waiting: SimpleQueue[int] = SimpleQueue()
    for index in range(len(contents)):
        waiting.put(index)
    found: dict[int, Measured] = {}

    def work() -> None:
        with httpx2.Client(base_url=address, timeout=60) as client:
            while True:
                try:
                    index = waiting.get_nowait()
                except Empty:
                    return
                start = time.perf_counter()
                answer = client.post("/api/localize", files={"image": contents[index]})
                seconds = time.perf_counter() - start
                boxes = answer.json()["boxes"] if answer.status_code == 200 else None
                pairs = None if boxes is None else [(box["xyxy"], box["label"]) for box in boxes]
                found[index] = Measured(seconds, pairs)

    threads = [threading.Thread(target=work) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [found.get(index, Measured(0.0, None)) for index in range(len(contents))]


def agree(found: Measured, wanted: Measured) -> bool:
    if found.boxes is None or wanted.boxes is None or len(found.boxes) != len(wanted.boxes):
        return False
    return all(
        ours == theirs and np.abs(np.subtract(box, other)).max() <= 1
        for (box, ours), (other, theirs) in zip(found.boxes, wanted.boxes, strict=True)
    )


def summarise(rounds: Sequence[tuple[float, list[Measured]]], wanted: Sequence[Measured]) -> dict[str, Any]:
    """Of some rounds, each with the seconds that it took as a whole."""
    answers = [measured for _, some in rounds for measured in some]
    milliseconds = np.array([1000 * measured.seconds for measured in answers if measured.boxes is not None])
    pairs = [pair for _, some in rounds for pair in zip(some, wanted, strict=True)]
    return {
        "latency_ms": {
            "median": round(float(np.median(milliseconds)), 1),
            "p95": round(float(np.percentile(milliseconds, 95)), 1),
            "highest": round(float(milliseconds.max()), 1),
        },
        "images_per_second": round(statistics.median(len(wanted) / seconds for seconds, _ in rounds), 1),
        "requests": len(answers),
        "lost": sum(measured.boxes is None for measured in answers),
        "right": sum(agree(*pair) for pair in pairs),
        "same_to_the_pixel": sum(found.boxes == bare.boxes for found, bare in pairs),
    }


def timed(call: Callable[[], list[Measured]]) -> tuple[float, list[Measured]]:
    """The seconds of a call as a whole, and what it answered."""
    start = time.perf_counter()
    found = call()
    return time.perf_counter() - start, found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="a trained run folder")
    parser.add_argument("data", type=Path, help="a folder of images, searched at any depth")
    parser.add_argument("--images", type=int, default=64, help="images a round (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="timed rounds, after one that is not (default: 5)")
    parser.add_argument("--device", default="cpu", help="of both (default: %(default)s)")
    chosen = parser.parse_args()
    paths = find_images(chosen.data, chosen.data)[0][: chosen.images]
    contents = [(path.name, path.read_bytes()) for path in paths]
    localizer = Localizer.from_pretrained(chosen.run, chosen.device)
    rounds: dict[str, list[tuple[float, list[Measured]]]] = {}
    with serving(chosen.run, chosen.device) as address:
        calls = {"bare": partial(call_bare, localizer, paths)}
        calls |= {f"clients_{count}": partial(call_server, address, contents, count) for count in CLIENTS}
        for name, call in calls.items():  # the first round only warms up
            call()
            rounds[name] = []
        for _ in range(chosen.rounds):
            for name, call in calls.items():
                rounds[name].append(timed(call))
    wanted = rounds["bare"][0][1]
    found = {name: summarise(some, wanted) for name, some in rounds.items()}
    report = {"machine": machine_facts(), "images": len(paths), "rounds": chosen.rounds, "device": chosen.device}
    show({**report, **found})
    return int(any(one["lost"] or one["right"] < one["requests"] for one in found.values()))


if __name__ == "__main__":
    sys.exit(main())
