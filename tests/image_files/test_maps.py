"""Maps of other tools: `.npy` and PNG files named as the images are, or one clear line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cdtr.errors import DataError
from cdtr.image_files.maps import find_maps, load_maps
from cdtr.records import Sample

VALUES = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20


def sample(name: str, root: Path = Path("nowhere")) -> Sample:
    return Sample(name, root / name, 0)


@pytest.mark.parametrize("name", ["a.npy", "a.jpg.npy", "a.png", "a.jpg.png"])
def test_a_map_goes_by_the_images_id(name: str, tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / name).touch()
    assert find_maps(tmp_path, [sample("cat/a.jpg")]) == {"cat/a.jpg": tmp_path / "cat" / name}


def test_images_whose_names_differ_by_a_second_suffix_have_maps_of_their_own(tmp_path: Path) -> None:
    for name in ("a.png.png", "a.png.png.png", "a.jpg.png"):
        (tmp_path / name).touch()
    found = find_maps(tmp_path, [sample("a.png"), sample("a.png.png"), sample("a.jpg")])
    assert found == {name: tmp_path / f"{name}.png" for name in ("a.png", "a.png.png", "a.jpg")}


def test_two_kinds_of_file_are_two_maps(tmp_path: Path) -> None:
    (tmp_path / "a.npy").touch()
    (tmp_path / "a.png").touch()
    with pytest.raises(DataError, match=r"a\.jpg has two maps, .*a\.npy and .*a\.png: keep one"):
        find_maps(tmp_path, [sample("a.jpg")])


def test_images_are_no_maps_of_themselves(tmp_path: Path) -> None:
    Image.new("L", (4, 3)).save(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"a\.png is the image itself: expected a folder with maps"):
        find_maps(tmp_path, [sample("a.png", tmp_path)])


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (Image.fromarray(VALUES), VALUES / 255),
        (Image.fromarray(VALUES.astype(np.uint16) * 257), VALUES / 255),
        (Image.fromarray(VALUES > 100), VALUES > 100),
        (Image.fromarray(np.stack([VALUES] * 3, axis=2)), VALUES / 255),
        (Image.fromarray(np.stack([*[VALUES[::-1]] * 2, 0 * VALUES, VALUES], axis=2)), VALUES / 255),
        (Image.fromarray(np.stack([*[VALUES] * 3, 0 * VALUES + 255], axis=2)), VALUES / 255),
        (Image.fromarray(np.stack([VALUES[::-1], VALUES], axis=2), "LA"), VALUES / 255),
        (Image.fromarray(VALUES).convert("P"), VALUES / 255),
    ],
    ids=["8 bits", "16 bits", "1 bit", "grey in RGB", "cut-out", "opaque", "grey cut-out", "grey palette"],
)
def test_grey_values_of_a_png_are_in_0_1(image: Image.Image, expected: np.ndarray, tmp_path: Path) -> None:
    image.save(tmp_path / "a.png")
    found = load_maps(tmp_path / "a.png")
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("kind", [bool, np.uint8, np.int64, np.float16, np.float32, np.float64])
def test_an_array_of_numbers_stays_as_it_is(kind: type, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", VALUES.astype(kind))
    found = load_maps(tmp_path / "a.npy")
    assert found.dtype == kind
    np.testing.assert_array_equal(found, VALUES.astype(kind))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (np.zeros(4), r"has shape \(4,\): expected one map \(h, w\)$"),
        (np.zeros((1, 3, 4)), r"has shape \(1, 3, 4\): expected one map \(h, w\)$"),
        (np.zeros((0, 4)), "so it is empty"),
        (np.array([["a", "b"]]), "holds values of type <U1: expected numbers"),
        (np.zeros((2, 2), dtype=complex), "holds values of type complex128: expected numbers"),
        (np.array([[None]]), r"is no array file that can be read .*Python objects"),
        (np.zeros((11, 10)), "has a map of 10 x 11 values, more than 100: scale it down"),
    ],
    ids=["one dimension", "three dimensions", "empty", "text", "complex", "pickle", "huge"],
)
def test_a_bad_array_is_one_line(content: np.ndarray, message: str, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", content, allow_pickle=True)
    with pytest.raises(DataError, match=message) as caught:
        load_maps(tmp_path / "a.npy", max_values=100)
    assert str(caught.value).startswith(str(tmp_path / "a.npy"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "is no array file"), (b"\x93NUMPY\x01\x00", "is no array file"), (b"hello", "is no array file")],
    ids=["empty", "cut short", "text"],
)
def test_a_file_that_is_no_array_is_one_line(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(DataError, match=message):
        load_maps(tmp_path / "a.npy")


def test_an_archive_of_arrays_is_one_line(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", VALUES)
    (tmp_path / "a.npz").rename(tmp_path / "a.npy")
    with pytest.raises(DataError, match="is an archive of arrays"):
        load_maps(tmp_path / "a.npy")


def test_a_header_that_asks_for_too_much_is_refused_unread(tmp_path: Path) -> None:
    """The shape is that of 10^12 values; the file has none of them."""
    np.save(tmp_path / "a.npy", np.zeros((1, 1)))
    content = (tmp_path / "a.npy").read_bytes()
    changed = content.replace(b"(1, 1), }            ", b"(1000000, 1000000), }")
    assert len(changed) == len(content)
    assert changed != content
    (tmp_path / "a.npy").write_bytes(changed)
    with pytest.raises(DataError, match="is no array file"):
        load_maps(tmp_path / "a.npy")


def _png(path: Path, mode: str, size: tuple[int, int] = (4, 3)) -> None:
    Image.new(mode, size, "red").save(path)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: _png(path, "RGB"), "has colours: expected a map of grey values"),
        (lambda path: _png(path, "P"), "has colours"),
        (lambda path: _png(path, "L", (20, 10)), "has 20 x 10 pixels, more than"),
        (lambda path: path.write_bytes(b""), "is no PNG"),
        (lambda path: Image.new("L", (4, 3)).save(path, "JPEG"), "is no PNG"),
        (lambda path: path.write_bytes(_cut(path)), "cannot be decoded"),
    ],
    ids=["colours", "palette of colours", "huge", "empty", "jpeg", "cut short"],
)
def test_a_bad_png_is_one_line(write, message: str, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    write(tmp_path / "a.png")
    with pytest.raises(DataError, match=message) as caught:
        load_maps(tmp_path / "a.png", max_values=100)
    assert str(caught.value).startswith(str(tmp_path / "a.png"))
    assert "\n" not in str(caught.value)


def _cut(path: Path) -> bytes:
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 9), dtype=np.uint8)).save(path)
    return path.read_bytes()[:60]
