"""Maps of a salient-object network for a data set, as files: a reference row, or a prior to train with.

    python benchmarks/salient.py u2netp.onnx --data CUB --split test --out maps
    cdtr score maps --data CUB --split test                     # knows masks, but no image of the data set
    python benchmarks/salient.py u2netp.onnx --data CUB --split train --out maps
    cdtr train CUB --out runs/maps --prior-maps maps --taught-with masks

The network is U2-Net or its small variant u2netp (Qin et al., Pattern Recognition 2020) as an ONNX file: rembg keeps
one in its cache, and some packages that build on it ship it. Input: 320x320 pixels, divided by the image's maximum,
normalised with ImageNet's mean and deviation. The first output is scaled from its lowest to its highest value. Maps
that are there already are kept, so an interrupted call goes on. Images that cannot be read are left out and named.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from cdtr.config import Config
from cdtr.data.datasets import load_source
from cdtr.errors import CdtrError, CheckpointError, DataError
from cdtr.files import atomic_file
from cdtr.image_files.reading import read_image
from cdtr.records import Sample

SIDE = 320
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])

Map = npt.NDArray[np.float32]


class Network(Protocol):
    """What is used of an ``onnxruntime.InferenceSession``."""

    def get_inputs(self) -> Sequence[Any]: ...

    def run(self, output_names: Sequence[str] | None, input_feed: dict[str, Any]) -> Sequence[Any]: ...


def open_network(path: Path) -> Network:
    """Open an ONNX file on the CPU; CheckpointError if it is none."""
    import onnxruntime

    if not path.is_file():
        raise CheckpointError(f"no file {path}: expected U2-Net or u2netp as an ONNX file")
    try:
        return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except Exception as error:
        reason = (str(error).splitlines() or [""])[0][:160]
        raise CheckpointError(f"{path} is no ONNX file that can be opened ({reason})") from error


def network_input(image: Image.Image) -> Map:
    """Return the pixels (1, 3, 320, 320) that the network gets of an RGB image."""
    pixels = np.asarray(image.resize((SIDE, SIDE), Image.Resampling.LANCZOS), dtype=np.float64)
    normalised = (pixels / max(pixels.max(), 1e-6) - MEAN) / STD
    return normalised.transpose(2, 0, 1)[None].astype(np.float32)


def salient_map(network: Network, image: Image.Image) -> Map:
    """Return the map (320, 320) of an RGB image, scaled to [0, 1]; a constant one becomes zeros.

    Raises:
        CheckpointError: the network's first output is no map.
    """
    (name,) = [entry.name for entry in network.get_inputs()]
    output = np.asarray(network.run(None, {name: network_input(image)})[0], dtype=np.float32)
    found = output.reshape(output.shape[-2:]) if output.ndim >= 2 and output[..., 0, 0].size == 1 else None
    if found is None or not np.isfinite(found).all():
        raise CheckpointError(f"the network's first output has shape {output.shape}: expected one finite map")
    found = found - found.min()
    return found / (found.max() or np.float32(1))


def write_maps(network: Network, samples: Sequence[Sample], out: Path) -> tuple[int, list[str]]:
    """Write OUT/IMAGE_ID.npy for each image that has none yet.

    Returns:
        How many were written, and why images were left out.
    """
    written, left_out, max_pixels = 0, [], Config().data.max_pixels
    for number, sample in enumerate(samples, start=1):
        target = out / f"{sample.image_id}.npy"
        if target.is_file():
            continue
        try:
            image = read_image(sample.path, max_pixels)
        except DataError as error:
            left_out.append(str(error))
            continue
        with atomic_file(target) as file:
            np.save(file, salient_map(network, image).astype(np.float16))
        written += 1
        if number % 100 == 0:
            print(f"{number} of {len(samples)}", file=sys.stderr)
    return written, left_out


def main() -> int:
    """Write the maps of a split; exit code 2 for input that cannot be used."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", type=Path, help="U2-Net or u2netp as an ONNX file")
    parser.add_argument("--data", type=Path, required=True, help="the data set")
    parser.add_argument("--split", default="test", help="the images (default: %(default)s)")
    parser.add_argument("--out", type=Path, required=True, help="the folder of the maps")
    arguments = parser.parse_args()
    try:
        source = load_source(arguments.data)
        samples = source.splits.get(arguments.split, ())
        if not samples:
            raise DataError(f"{source.root} has no split {arguments.split!r}: choose one of {', '.join(source.splits)}")
        written, left_out = write_maps(open_network(arguments.network), samples, arguments.out)
    except CdtrError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for reason in left_out:
        print(f"left out: {reason}", file=sys.stderr)
    print(f"wrote {written} maps of {arguments.split} to {arguments.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
