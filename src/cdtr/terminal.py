"""The only place that makes consoles: names are shown as they are, neither taken for markup nor obeyed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from cdtr.text import printable


class PlainConsole(Console):
    """A console of Rich without markup and highlighting, whose text is made printable whatever it is part of.

    ``reword`` may change the words of each piece of text, as Rich writes past ``printable_streams``.
    """

    def __init__(self, reword: Callable[[str], str] = str, **settings: Any) -> None:
        self._reword = reword
        super().__init__(**{"markup": False, "highlight": False, "emoji": False, **settings})

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Render with every control character of the text made printable."""
        for segment in super().render(renderable, options):
            if segment.control is None:
                yield Segment(printable(self._reword(segment.text), lines=True), segment.style)
            else:
                yield segment


def say_to(console: Console) -> Callable[[str], None]:
    """A function that prints one line, whatever is in it, to anybody's console."""

    def say(line: str) -> None:
        console.print(printable(line), markup=False, highlight=False, emoji=False, soft_wrap=True)

    return say
