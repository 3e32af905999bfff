"""JPEG files that ask for pass after pass: counted, not decoded, by everything that reads an image."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cdtr.errors import DataError
from cdtr.image_files.jpeg_scans import MAX_SCANS, has_too_many_scans
from cdtr.image_files.reading import check_images, decode_image, read_image, read_size
from cdtr.records import Sample

EMPTY_SCAN = bytes.fromhex("ffda 0008 01 01 00 01 3f 00") + b"\x80"  # AC coefficients of the first component


def noise(size=(48, 40), mode="RGB"):
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


def jpeg(**options):
    file = BytesIO()
    noise(mode=options.pop("mode", "RGB")).save(file, "JPEG", **options)
    return file.getvalue()


def with_scans(number, content=None):
    """A progressive file with that many scans more, before its end."""
    content = content or jpeg(progressive=True)
    assert content.endswith(b"\xff\xd9")
    return content[:-2] + EMPTY_SCAN * number + b"\xff\xd9"


def non_interleaved(number):
    """A sequential file whose first scan has one of three components: the decoder waits for all scans then, too."""
    content = jpeg(quality=50, subsampling=0)
    start = content.index(b"\xff\xda")
    one = b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00" + b"\x80"
    return content[:start] + one * number + b"\xff\xd9"


SAFE = [
    pytest.param(jpeg(), id="baseline"),
    pytest.param(jpeg(progressive=True), id="progressive"),
    pytest.param(jpeg(progressive=True, mode="CMYK"), id="cmyk"),
    pytest.param(jpeg(progressive=True, mode="L"), id="grey"),
    pytest.param(jpeg(progressive=True, restart_marker_blocks=1), id="restarts"),
    pytest.param(jpeg(progressive=True, exif=b"Exif\0\0" + b"\xff\xda" * 500), id="marker-in-exif"),
    pytest.param(jpeg(progressive=True) + b"\xff\xda" * 500, id="rubbish-after-the-end"),
    pytest.param(jpeg() + b"\xff\xda" * 500, id="film-after-the-end"),
    pytest.param(with_scans(MAX_SCANS - 20), id="just-below"),
    pytest.param(jpeg(progressive=True)[:300], id="cut"),
    pytest.param(b"", id="empty"),
    pytest.param(b"\xff", id="half-a-marker"),
    pytest.param(b"\xff\xd8\xff\xe0\xff\xff", id="length-beyond-the-end"),
]
HOSTILE = [
    pytest.param(with_scans(MAX_SCANS), id="progressive"),
    pytest.param(with_scans(3000), id="many"),
    pytest.param(with_scans(MAX_SCANS, jpeg(progressive=True, exif=b"Exif\0\0" + bytes(60_000))), id="behind-exif"),
    pytest.param(with_scans(MAX_SCANS, jpeg(progressive=True, comment=bytes(65_000))), id="behind-a-comment"),
    pytest.param(non_interleaved(MAX_SCANS + 1), id="sequential"),
    pytest.param(jpeg()[:2] + b"\xff\xfe\x00\x02" * 20_000 + jpeg()[2:], id="segments-without-end"),
]


@pytest.mark.parametrize("content", SAFE)
def test_ordinary_files_pass(content):
    file = BytesIO(content)
    file.seek(min(5, len(content)))
    assert not has_too_many_scans(file)
    assert file.tell() == min(5, len(content))


@pytest.mark.parametrize("content", HOSTILE)
def test_every_reader_refuses_in_one_line_that_names_the_file(content, tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    for read in (lambda: read_image(path, 10**8), lambda: read_size(path, 10**8)):
        with pytest.raises(DataError, match=rf"a\.jpg is a JPEG of more than {MAX_SCANS} scans") as caught:
            read()
        assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match="upload"):
        decode_image(BytesIO(content), Path("upload"), 10**8)
    good, broken = check_images([Sample("a.jpg", path, 0)], 10**8)
    assert good == []
    assert [reason for _, reason in broken] == [str(caught.value)]


def test_a_file_of_few_scans_is_decoded_as_before(tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(with_scans(20))
    assert read_image(path, 10**8).size == (40, 48)


def test_data_of_an_ordinary_file_are_not_read():
    """Of the images of a training that starts, the headers alone are looked at."""
    content = jpeg(quality=100)
    big = content + bytes(10**6)
    file = BytesIO(big)
    reads = []
    read = file.read
    file.read = lambda size=-1: reads.append(size) or read(size)  # type: ignore[method-assign,assignment]
    assert not has_too_many_scans(file)
    assert reads == [65536]


def test_a_file_of_a_format_that_starts_a_program_is_no_image(tmp_path):
    """Pillow hands EPS to Ghostscript, whatever the file is called."""
    path = tmp_path / "a.jpg"
    noise().save(path, "EPS")
    with pytest.raises(DataError, match="is no image"):
        read_image(path, 10**8)
