"""How often a JPEG file asks for a pass over all its pixels, counted before it is decoded.

A progressive image has about ten scans. Nothing in the format limits them, and a scan of 40 bytes costs as much time
as the image is large: 60,000 of them fit into 2.4 MB and keep a decoder busy for minutes.
"""

from __future__ import annotations

import re
from typing import IO

MAX_SCANS = 100  # as libtiff has it for JPEG inside TIFF
_MAX_SEGMENTS = 10_000  # of tables and comments, all together
_MAX_BYTES = 500_000_000

_MARKER = re.compile(rb"\xff(?![\x00\xff\xd0-\xd7])")  # the others are data, filling, or restarts within it
_ALONE = frozenset({0x01, *range(0xD0, 0xD9)})  # without a length
_START_OF_SCAN, _END = 0xDA, 0xD9


def has_too_many_scans(file: IO[bytes]) -> bool:
    """Whether a JPEG file has more than ``MAX_SCANS``; its position is restored.

    A file whose first scan has all the components, and that is not progressive, is decoded in one pass: its data are
    not read here.
    """
    position = file.tell()
    try:
        file.seek(0)
        return _count(file)
    finally:
        file.seek(position)


def _count(file: IO[bytes]) -> bool:
    data = file.read(65536)
    whole = len(data) < 65536
    scans, at, progressive, components = 0, 0, False, 0
    for _ in range(_MAX_SEGMENTS):
        found = _MARKER.search(data, at)
        end = None if found is None else found.end()
        if not whole and (end is None or end + 4 > len(data) or end + 4 + _length(data, end) > len(data)):
            data += file.read(_MAX_BYTES)
            whole = True
            if len(data) > _MAX_BYTES:
                return True
            continue
        if end is None or end >= len(data) or data[end] == _END:
            return False
        kind = data[end]
        if kind in _ALONE:
            at = end + 1
            continue
        if 0xC0 <= kind <= 0xCF and kind not in (0xC4, 0xC8, 0xCC):  # start of a frame
            progressive = progressive or kind not in (0xC0, 0xC1)
            components = data[end + 8] if end + 8 < len(data) else 0
        if kind == _START_OF_SCAN:
            scans += 1
            if scans > MAX_SCANS:
                return True
            if scans == 1 and not progressive and end + 3 < len(data) and data[end + 3] == components:
                return False
        at = end + 1 + max(_length(data, end), 2)
    return True


def _length(data: bytes, end: int) -> int:
    """Of the segment whose marker's second byte is at ``end``, its length field included."""
    return int.from_bytes(data[end + 1 : end + 3], "big")
