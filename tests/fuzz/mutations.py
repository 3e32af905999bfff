"""Damage to bytes as disks, transfers and attackers do it: seeded, so that a fault comes back by its number."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator

SECONDS = float(os.environ.get("CDTR_FUZZ_SECONDS", "0"))  # `make fuzz` sets it; else each test does a fixed number
SEED = int(os.environ.get("CDTR_FUZZ_SEED", "0"))

_NUMBERS = (b"0", b"-1", b"1e400", b"NaN", b"Infinity", b"-1e-400", b"99999999999999999999", b"9" * 5000, b"0x7f", b"")
_WORDS = (
    *(b'"', b"'", b"{", b"}", b"[", b"]", b"<", b">", b"&a", b"*a", b"!!int ", b"- ", b": ", b",", b"\n", b"\r", b"\t"),
    *(b"\x00", b"\xff\xd8", b"\xff\xda", b"\xff", b"\xed\xa0\x80", b"\\ud800", "\u2028".encode(), b"null", b"true"),
    *(b"../../etc/passwd", b"[" * 300, b"{" * 300, b"<a>" * 300, b"<!DOCTYPE a>", b"2001-99-99"),
)


def rounds(usual: int) -> Iterator[random.Random]:
    """A generator of random numbers for each case: ``usual`` of them, or as many as ``CDTR_FUZZ_SECONDS`` allow."""
    end, number = time.monotonic() + SECONDS, 0
    while number < usual or time.monotonic() < end:
        yield random.Random(f"{SEED} {number}")
        number += 1


def damaged(content: bytes, random: random.Random) -> bytes:
    """The content with one to four faults."""
    for _ in range(random.randint(1, 4)):
        content = random.choice(_FAULTS)(content, random)
    return content[:5_000_000]


def _cut(content: bytes, random: random.Random) -> bytes:
    return content[: random.randint(0, len(content))]


def _flip(content: bytes, random: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(random.randint(1, 8) if changed else 0):
        changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
    return bytes(changed)


def _insert(content: bytes, random: random.Random) -> bytes:
    at = random.randint(0, len(content))
    return content[:at] + random.choice(_WORDS + _NUMBERS) + content[at:]


def _number(content: bytes, random: random.Random) -> bytes:
    """Another number in the place of one."""
    places = [at for at, byte in enumerate(content[:20_000]) if 48 <= byte <= 57]
    if not places:
        return content
    start = end = random.choice(places)
    while end < len(content) and 48 <= content[end] <= 57:
        end += 1
    return content[:start] + random.choice(_NUMBERS) + content[end:]


def _remove(content: bytes, random: random.Random) -> bytes:
    at = random.randint(0, len(content))
    return content[:at] + content[at + random.randint(0, 40) :]


def _repeat(content: bytes, random: random.Random) -> bytes:
    at, length = random.randint(0, len(content)), random.randint(1, 200)
    return content[:at] + content[at : at + length] * random.choice((2, 50)) + content[at + length :]


def _zeros(content: bytes, random: random.Random) -> bytes:
    at, length = random.randint(0, len(content)), random.randint(1, 512)
    return content[:at] + bytes(min(length, len(content) - at)) + content[at + length :]


_FAULTS = (_cut, _flip, _insert, _number, _remove, _repeat, _zeros)
