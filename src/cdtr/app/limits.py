"""How much one server takes on."""

from __future__ import annotations

from dataclasses import dataclass

KIB = 2**10
MIB = 2**20

_LARGEST_UPLOADS_HELD = 16


@dataclass(frozen=True, slots=True)
class Limits:
    """What one server takes on.

    upload_bytes: of one request. pixels: of one image. images: in one batch or request. requests: uploads held at a
    time, in work or waiting for their turn. batches: open at a time, each closed after ``batch_idle_s`` seconds
    without a request. body_grace_s, body_rate, body_s: an upload that comes at fewer than ``body_rate`` bytes a second
    after ``body_grace_s`` seconds, or takes ``body_s`` seconds, is given up.
    """

    upload_bytes: int = 32 * MIB
    pixels: int = 25_000_000
    images: int = 2000
    requests: int = 256
    batches: int = 8
    batch_idle_s: float = 600.0
    body_grace_s: float = 10.0
    body_rate: float = 8 * KIB
    body_s: float = 300.0

    @property
    def held_bytes(self) -> int:
        """Bytes of uploads held at a time, in memory or in temporary files; others wait unread."""
        return _LARGEST_UPLOADS_HELD * self.upload_bytes

    @property
    def too_large(self) -> str:
        """The line for a request of more than ``upload_bytes``."""
        return f"more than {self.upload_bytes / MIB:g} MiB at once: send a smaller file, or fewer at a time"
