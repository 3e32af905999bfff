"""Maps of a salient-object network by image id, from a stand-in for the network."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

import cdtr
import salient
from cdtr.data.datasets import load_source
from cdtr.errors import CheckpointError


class Brightness:
    """A network that returns the red channel of its input, (1, 1, 320, 320), after others that are not used."""

    def __init__(self, shape: tuple[int, ...] = (1, 1, 320, 320)) -> None:
        self.shape = shape
        self.calls = 0

    def get_inputs(self) -> list[Any]:
        return [SimpleNamespace(name="input.1")]

    def run(self, _names: Any, feed: dict[str, Any]) -> list[Any]:
        self.calls += 1
        (pixels,) = feed.values()
        assert list(feed) == ["input.1"]
        assert pixels.shape == (1, 3, 320, 320)
        assert pixels.dtype == np.float32
        return [np.resize(pixels[:, :1], self.shape), None]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Six images of two classes: a grey square on a darker ground."""
    for number in range(6):
        pixels = np.full((60, 80, 3), 20, dtype=np.uint8)
        pixels[10:40, 5 * number : 5 * number + 30] = 100
        path = tmp_path / "photos" / ("cat", "dog")[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    return tmp_path / "photos"


def test_the_input_is_divided_by_its_maximum_and_normalised() -> None:
    found = salient.network_input(Image.new("RGB", (9, 7), (100, 50, 0)))
    expected = (np.array([1, 0.5, 0]) - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(found[0, :, 100, 200], expected, rtol=1e-6)
    assert np.isfinite(salient.network_input(Image.new("RGB", (9, 7)))).all()


def test_maps_are_written_once_and_can_be_read_as_maps(photos: Path, tmp_path: Path) -> None:
    samples, network = load_source(photos).splits["train"], Brightness()
    (photos / "cat" / "4.png").write_bytes(b"none")
    written, left_out = salient.write_maps(network, samples, tmp_path / "maps")
    assert written == 5
    assert len(left_out) == 1
    assert "4.png" in left_out[0]
    one = np.load(tmp_path / "maps" / "cat" / "0.png.npy")
    assert one.shape == (320, 320)
    assert one.min() == 0
    assert one.max() == 1
    assert one[60:200, 10:110].min() > 0.75  # the filter that shrinks images overshoots at edges
    assert one[230:].max() < 0.1
    assert salient.write_maps(network, samples, tmp_path / "maps")[0] == 0
    assert network.calls == 5
    (photos / "cat" / "4.png").unlink()
    found = cdtr.localize_maps(
        tmp_path / "maps", photos, tmp_path / "boxes", options=cdtr.LocalizeOptions(threshold=0.5)
    )
    assert len(found.localizations) == 5


@pytest.mark.parametrize("shape", [(1, 2, 9, 9), (5,)], ids=["two maps", "no map"])
def test_an_output_that_is_no_map_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(CheckpointError, match="expected one finite map"):
        salient.salient_map(Brightness(shape), Image.new("RGB", (9, 7), "red"))


@pytest.mark.parametrize(
    ("network", "split", "message"),
    [("missing.onnx", "train", "no file"), ("bad.onnx", "train", "is no ONNX file"), ("bad.onnx", "test", "no split")],
)
def test_bad_arguments_are_one_line(
    network: str, split: str, message: str, photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    pytest.importorskip("onnxruntime")
    (photos.parent / "bad.onnx").write_bytes(b"bad")
    words = [photos.parent / network, "--data", photos, "--split", split, "--out", photos.parent / "maps"]
    monkeypatch.setattr(sys, "argv", ["salient.py", *map(str, words)])
    assert salient.main() == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
