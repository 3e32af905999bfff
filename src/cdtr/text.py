"""Text for users: safe to print, as names come from other people's files, and short enough for one line."""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO

# What a terminal obeys rather than shows: control characters, the separators that begin a new line, marks that turn the
# direction of the text around, and halves of surrogate pairs, as which Python holds bytes that are no UTF-8.
_DIRECTIONS = "\u200e\u200f\u202a-\u202e\u2066-\u2069"
_OBEYED = re.compile(f"[\x00-\x1f\x7f-\x9f\u2028\u2029{_DIRECTIONS}\ud800-\udfff]")
_OBEYED_IN_TEXT = re.compile(f"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029{_DIRECTIONS}\ud800-\udfff]")
# What a list of names with one a line, or its reader, may take for an end of the line, and what UTF-8 cannot write.
_NOT_IN_A_LINE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def printable(text: str, lines: bool = False) -> str:
    r"""The text with each character that a terminal would obey shown by its number, such as ``\x1b``.

    lines: line ends and tabs stay as they are.
    """
    return (_OBEYED_IN_TEXT if lines else _OBEYED).sub(lambda found: _number(found[0]), text)


def fits_a_line(name: str) -> bool:
    """Whether a name can be written into a list with one name a line, and be read back."""
    return bool(name.strip()) and _NOT_IN_A_LINE.search(name) is None


def duration(seconds: float) -> str:
    """Return a time in its largest unit of which there are two.

    >>> duration(45), duration(150), duration(7300)
    ('45 s', '2 min', '2 h')
    """
    for unit, size in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def did_you_mean(name: str, known: Iterable[str], otherwise: str = "") -> str:
    """Return a hint for an unknown name, to stand right behind it in a message.

    Names of the same letters come first: two that were swapped are the likeliest slip.

    >>> did_you_mean("yollo", ["coco", "yolo"])
    ", did you mean 'yolo'?"
    >>> did_you_mean("ctdr", ["cdtr", "lctr"])
    ", did you mean 'cdtr'?"
    """
    names = list(known)
    swapped = [one for one in names if sorted(one) == sorted(name)]
    close = difflib.get_close_matches(name, swapped, n=1) or difflib.get_close_matches(name, names, n=1)
    return f", did you mean {close[0]!r}?" if close else otherwise


def first_line(error: BaseException, most: int = 160) -> str:
    """Return the first line of an error's message, at most ``most`` characters; its type where it has no message."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:most]


def one_line(error: BaseException, most: int = 200) -> str:
    """Return an error's whole message on one line, at most ``most`` characters; its type where it has no message."""
    return (" ".join(str(error).split()) or type(error).__name__)[:most]


@contextmanager
def printable_streams(reword: Callable[[str], str] = str) -> Iterator[None]:
    """Make all that is printed to stdout and stderr printable, as it is written; ``reword`` may change its words."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = _Printable(before[0], reword), _Printable(before[1], reword)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


class _Printable:
    """A stream that makes text printable and is the stream below it in all else."""

    def __init__(self, stream: TextIO, reword: Callable[[str], str]) -> None:
        self._reword = reword
        # Rich looks for this name: its consoles write colours of their own, and make the text printable themselves.
        self.rich_proxied_file = stream

    def write(self, text: str) -> int:
        self.rich_proxied_file.write(printable(self._reword(text), lines=True))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.rich_proxied_file, name)


def _number(character: str) -> str:
    code = ord(character)
    # As JSON has them above 0x7e, so that JSON which is printed stays JSON.
    return f"\\x{code:02x}" if code < 0x7F else f"\\u{code:04x}"
