"""Every kind of image file, with the pixel values it must have after reading."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cdtr.errors import DataError
from cdtr.image_files.reading import IMAGE_SUFFIXES, check_images, read_image, read_size, typical_size
from cdtr.records import Sample

MANY = 1_000_000
RED, WHITE = (255, 0, 0), (255, 255, 255)


def _pixel(path: Path) -> tuple[int, ...]:
    image = read_image(path, MANY)
    assert image.mode == "RGB"
    return image.getpixel((0, 0))


def _filled(mode: str, colour: object) -> Image.Image:
    return Image.new(mode, (4, 3), colour)


def _palette(transparent: bool) -> Image.Image:
    image = Image.new("P", (4, 3), 1)
    image.putpalette([0, 0, 255, 255, 0, 0])
    if transparent:
        image.info["transparency"] = 1
    return image


@pytest.mark.parametrize(
    ("image", "suffix", "expected"),
    [
        pytest.param(_filled("RGB", (10, 20, 30)), ".png", (10, 20, 30), id="rgb"),
        pytest.param(_filled("L", 77), ".png", (77, 77, 77), id="grey"),
        pytest.param(_filled("1", 1), ".png", WHITE, id="one-bit"),
        pytest.param(_filled("LA", (100, 255)), ".png", (100, 100, 100), id="grey-alpha-opaque"),
        pytest.param(_filled("LA", (100, 0)), ".png", WHITE, id="grey-alpha-clear"),
        pytest.param(_filled("RGBA", (255, 0, 0, 255)), ".png", RED, id="rgba-opaque"),
        pytest.param(_filled("RGBA", (0, 0, 0, 0)), ".png", WHITE, id="rgba-clear"),
        pytest.param(_filled("RGBA", (0, 0, 0, 51)), ".png", (204, 204, 204), id="rgba-fifth"),
        pytest.param(_palette(False), ".png", RED, id="palette"),
        pytest.param(_palette(True), ".png", WHITE, id="palette-clear"),
        pytest.param(_filled("CMYK", (0, 255, 255, 0)), ".tif", RED, id="cmyk"),
        pytest.param(_filled("I;16", 65535), ".png", WHITE, id="16-bit-white"),
        pytest.param(_filled("I;16", 257 * 200), ".png", (200, 200, 200), id="16-bit-png"),
        pytest.param(_filled("I;16", 257 * 100), ".tif", (100, 100, 100), id="16-bit-tiff"),
        pytest.param(_filled("I;16", 257), ".png", (1, 1, 1), id="16-bit-dark"),
        pytest.param(_filled("I", 65535), ".tif", WHITE, id="32-bit-holding-16"),
        pytest.param(_filled("I", 2**31 - 1), ".tif", WHITE, id="32-bit"),
        pytest.param(_filled("I", -5), ".tif", (0, 0, 0), id="32-bit-negative"),
        pytest.param(_filled("F", 0.2), ".tif", (51, 51, 51), id="float-unit"),
        pytest.param(_filled("F", 51.0), ".tif", (51, 51, 51), id="float-255"),
        pytest.param(_filled("F", float("nan")), ".tif", (0, 0, 0), id="float-nan"),
    ],
)
def test_reads_mode(image: Image.Image, suffix: str, expected: tuple[int, ...], tmp_path: Path) -> None:
    path = tmp_path / f"image{suffix}"
    image.save(path, **({"transparency": 1} if "transparency" in image.info else {}))
    assert _pixel(path) == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        pytest.param([[-1.0, 0.0, 1.0]], [0, 128, 255], id="own-range"),
        pytest.param([[0.0, 500.0, 1000.0]], [0, 128, 255], id="beyond-255"),
        pytest.param([[0.0, 1.0, np.inf]], [0, 255, 255], id="infinite"),
        pytest.param([[np.nan, 0.0, 1.0]], [0, 0, 255], id="nan-among-numbers"),
    ],
)
def test_scales_floats(values: list[list[float]], expected: list[int], tmp_path: Path) -> None:
    path = tmp_path / "image.tif"
    Image.fromarray(np.array(values, dtype=np.float32)).save(path)
    assert np.asarray(read_image(path, MANY))[0, :, 0].tolist() == expected


def test_cmyk_jpeg_keeps_its_colour(tmp_path: Path) -> None:
    path = tmp_path / "image.jpg"
    Image.new("RGB", (16, 16), RED).convert("CMYK").save(path, quality=100)
    assert np.abs(np.array(_pixel(path)) - RED).max() <= 4


@pytest.mark.parametrize(
    ("orientation", "corner_xy"),
    [(1, (0, 0)), (2, (3, 0)), (3, (3, 2)), (4, (0, 2)), (5, (0, 0)), (6, (2, 0)), (7, (2, 3)), (8, (0, 3))],
)
def test_turns_upright(orientation: int, corner_xy: tuple[int, int], tmp_path: Path) -> None:
    stored = Image.new("RGB", (4, 3), "black")
    stored.putpixel((0, 0), RED)
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "image.png", exif=exif)
    image = read_image(tmp_path / "image.png", MANY)
    assert image.size == ((4, 3) if orientation < 5 else (3, 4))
    assert image.getpixel(corner_xy) == RED


def _write_broken(folder: Path, kind: str) -> Path:
    path = folder / f"{kind}.png"
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    if kind == "empty":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_text("not an image at all")
    elif kind == "folder":
        path.mkdir()
    elif kind == "truncated":
        Image.fromarray(noise).save(path)
        path.write_bytes(path.read_bytes()[:4000])
    elif kind == "truncated-jpeg":
        path = path.with_suffix(".jpg")
        Image.fromarray(noise).save(path)
        path.write_bytes(path.read_bytes()[:2000])
    elif kind == "header-only":
        path.write_bytes(b"\x89PNG\r\n\x1a\n")
    elif kind == "large":
        Image.new("L", (2000, 501)).save(path)
    elif kind == "bomb":
        header = b"IHDR" + struct.pack(">IIBBBBB", 60_000, 60_000, 1, 0, 0, 0, 0)
        path.write_bytes(
            b"\x89PNG\r\n\x1a\n"
            + struct.pack(">I", 13)
            + header
            + struct.pack(">I", zlib.crc32(header))
            + struct.pack(">I", 8)
            + b"IDAT"
            + bytes(12)
        )
    return path


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("missing", "does not exist"),
        ("empty", "is empty"),
        ("text", "is no image"),
        ("folder", "is a folder"),
        ("truncated", "cannot be decoded"),
        ("truncated-jpeg", "cannot be decoded"),
        ("header-only", "replace or delete"),
        ("large", "2000 x 501 pixels, more than data.max_pixels = 1000000"),
        ("bomb", "more pixels than Pillow decodes"),
    ],
)
def test_broken_file_is_one_clear_line(kind: str, says: str, tmp_path: Path) -> None:
    path = _write_broken(tmp_path, kind)
    with pytest.raises(DataError, match=says) as caught:
        read_image(path, MANY)
    assert "\n" not in str(caught.value)
    assert path.name in str(caught.value)


def test_too_large_is_seen_before_decoding(tmp_path: Path) -> None:
    path = _write_broken(tmp_path, "large")
    path.write_bytes(path.read_bytes()[:60])  # decoding would complain about something else
    with pytest.raises(DataError, match="max_pixels"):
        read_image(path, MANY)


def test_limit_is_inclusive(tmp_path: Path) -> None:
    Image.new("L", (10, 10)).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png", 100).size == (10, 10)
    with pytest.raises(DataError):
        read_image(tmp_path / "a.png", 99)


def test_check_images_reports_broken_and_keeps_order(tmp_path: Path) -> None:
    samples = []
    for number in range(6):
        path = tmp_path / f"{number}.png"
        Image.new("RGB", (5, 5)).save(path)
        samples.append(Sample(path.name, path, 0))
    samples[1].path.write_bytes(b"")
    samples[4].path.write_text("no image")
    good, broken = check_images(samples, MANY)
    assert [s.image_id for s in good] == ["0.png", "2.png", "3.png", "5.png"]
    assert [(s.image_id, "empty" in reason) for s, reason in broken] == [("1.png", True), ("4.png", False)]
    assert check_images(samples, 24)[0] == []
    assert check_images([], MANY) == ([], [])


def test_typical_size_is_the_median_of_those_that_can_be_read(tmp_path: Path) -> None:
    samples = []
    for index, size in enumerate([(40, 30), (60, 30), (50, 80), (9000, 1)]):
        path = tmp_path / f"{index}.png"
        Image.new("L", size).save(path)
        samples.append(Sample(path.name, path, 0))
    (tmp_path / "broken.png").write_bytes(b"no image")
    broken = Sample("broken.png", tmp_path / "broken.png", 0)
    assert typical_size([*samples[:3], broken], MANY) == (30, 50)
    assert typical_size([broken, samples[3]], 8000) is None
    assert typical_size([], MANY) is None


def test_typical_size_opens_a_few_headers_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Path] = []

    def sized(path: Path, _max_pixels: int) -> tuple[int, int]:
        opened.append(path)
        return 20, 30

    monkeypatch.setattr("cdtr.image_files.reading.read_size", sized)
    many = [Sample(str(index), tmp_path / str(index), 0) for index in range(1999)]
    assert typical_size(many, MANY) == (20, 30)
    assert len(opened) < 250
    assert int(opened[-1].name) > 1980, "from all of them"


def test_suffixes_are_known_to_pillow() -> None:
    assert set(Image.registered_extensions()) >= IMAGE_SUFFIXES


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp"])
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_size_from_the_header_is_that_of_the_upright_picture(orientation, suffix, tmp_path):
    path = tmp_path / f"turned{suffix}"
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", (30, 20)).save(path, exif=exif)
    assert read_size(path, 10_000) == read_image(path, 10_000).size[::-1]
    with pytest.raises(DataError):
        read_size(path, 100)
