"""What a look at every file finds out."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from made_sets import make_source, photo, save

from cdtr.data.check.scan import scan_boxes, scan_images
from cdtr.errors import ConfigError, DataError
from cdtr.image_files.paths import content_hash
from cdtr.records import Annotation, DataSource, Sample


def _bomb(path: Path, side: int = 30_000) -> None:
    """A PNG of one bit a pixel that says it has side x side pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b""))


@pytest.fixture
def broken(tmp_path: Path) -> DataSource:
    save(photo(1), tmp_path / "good.jpg")
    save(photo(2).convert("L"), tmp_path / "grey.png")
    (tmp_path / "text.jpg").write_text("no image")
    (tmp_path / "empty.jpg").touch()
    # Its header is whole.
    whole = save(photo(3, (200, 200)), tmp_path / "whole.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    _bomb(tmp_path / "bomb.png")
    save(photo(4, (300, 200)), tmp_path / "large.png")
    names = ("good.jpg", "grey.png", "text.jpg", "empty.jpg", "cut.jpg", "bomb.png", "large.png", "gone.jpg")
    return make_source(tmp_path, dict.fromkeys(names, ("train", 0)))


def test_every_kind_of_fault_is_a_fact(broken: DataSource) -> None:
    moved: list[int] = []
    facts = scan_images(broken, max_pixels=50_000, progress=moved.append)
    kinds = {one.sample.image_id: one.fault.kind if one.fault else None for one in facts}
    assert kinds == {
        "good.jpg": None,
        "grey.png": None,
        "text.jpg": "broken",
        "empty.jpg": "empty",
        "cut.jpg": "broken",
        "bomb.png": "too-large",
        "large.png": "too-large",
        "gone.jpg": "missing",
    }
    assert sum(moved) == len(facts)
    for one in facts:
        assert one.fault is None or str(one.sample.path) in one.fault.message


def test_facts_of_a_good_image(broken: DataSource) -> None:
    good, grey, *_ = scan_images(broken, max_pixels=50_000)
    assert good.size_hw == (64, 96)
    assert good.mode == "RGB"
    assert good.file_format == "JPEG"
    assert grey.mode == "L"
    assert grey.file_format == "PNG"
    assert good.content == content_hash(good.sample.path)
    assert good.perceptual_hash is not None
    assert grey.perceptual_hash is not None
    assert scan_images(broken, max_pixels=50_000, near=False)[0].perceptual_hash is None


def test_the_size_is_that_of_the_upright_picture(tmp_path: Path) -> None:
    picture = photo(1)
    exif = picture.getexif()
    exif[0x0112] = 6
    picture.save(tmp_path / "a.jpg", exif=exif)
    (one,) = scan_images(make_source(tmp_path, {"a.jpg": ("train", 0)}), max_pixels=10**6)
    assert one.size_hw == (96, 64)


def test_the_missing_library_is_named(broken: DataSource, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "imagehash", None)
    with pytest.raises(ConfigError, match=r"pip install '\.\[check\]'.*`near=False`"):
        scan_images(broken, max_pixels=50_000)
    assert scan_images(broken, max_pixels=50_000, near=False)


def _annotated(root: Path, annotate: object) -> DataSource:
    names = ("a.png", "b.png", "c.png", "gone.png")
    for number, name in enumerate(names[:3]):
        save(photo(number), root / name)
    source = make_source(root, dict.fromkeys(names, ("train", 0)), {})
    return DataSource(**{**{key: getattr(source, key) for key in source.__slots__}, "annotate": annotate})  # type: ignore[arg-type]


def test_annotations_of_readable_images_are_read(tmp_path: Path) -> None:
    def annotate(sample: Sample) -> Annotation | None:
        if sample.image_id == "b.png":
            raise DataError("b.txt, line 1")
        return Annotation(np.array([[1.0, 2, 3, 4]])) if sample.image_id == "a.png" else None

    source = _annotated(tmp_path, annotate)
    found = scan_boxes(source, scan_images(source, 10**6, near=False))
    assert [one.image.sample.image_id for one in found] == ["a.png", "b.png", "c.png"]
    assert found[0].annotation is not None
    assert found[1].fault == "b.txt, line 1"
    assert found[2].annotation is None
    assert found[2].fault is None


def test_a_damaged_file_of_all_boxes_is_one_fault(tmp_path: Path) -> None:
    asked: list[str] = []

    def annotate(sample: Sample) -> Annotation | None:
        asked.append(sample.image_id)
        raise DataError("boxes.json cannot be read")

    source = _annotated(tmp_path, annotate)
    found = scan_boxes(source, scan_images(source, 10**6, near=False))
    assert [one.fault for one in found] == ["boxes.json cannot be read"]
    assert asked == ["a.png", "b.png"]


def test_without_annotations_nothing_is_asked(tmp_path: Path) -> None:
    save(photo(1), tmp_path / "a.png")
    source = make_source(tmp_path, {"a.png": ("train", 0)})
    assert scan_boxes(source, scan_images(source, 10**6, near=False)) == []
