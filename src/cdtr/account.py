"""What a reader took, what it left out and why, counted while it reads and told in one line."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field


@dataclass(slots=True)
class Account:
    """The count of one reader. ``taken``, ``left_out`` and ``remarks`` hold names, so that nothing counts twice; where
    that cannot happen, ``total`` is a plain number.

    what: what is counted, such as "images". serious: the reasons that are a problem, not a matter of course; each is
    warned about once by ``warn``. origin: the file or folder, for the warnings.
    """

    what: str
    origin: str = ""
    total: int = 0
    taken: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, dict[str, int]] = field(default_factory=dict)
    remarks: dict[str, dict[str, int]] = field(default_factory=dict)
    serious: set[str] = field(default_factory=set)
    _warned: set[str] = field(default_factory=set)

    def take(self, name: str, count: int = 1) -> None:
        """Count ``count`` things of ``name``, an image as a rule."""
        self.taken[name] = count

    def leave(self, why: str, name: str, count: int = 1, serious: bool = True) -> None:
        """Count what is left out for a reason, which follows its number: "3 dead links"."""
        self.left_out.setdefault(why, {})[name] = count
        if serious:
            self.serious.add(why)

    def remark(self, what: str, name: str, count: int = 1, serious: bool = False) -> None:
        """Count what is taken, but not as it is."""
        self.remarks.setdefault(what, {})[name] = count
        if serious:
            self.serious.add(what)

    @property
    def n_taken(self) -> int:
        return self.total + sum(self.taken.values())

    def warn(self, stacklevel: int = 3) -> None:
        """Warn of each serious reason that has not been warned of before."""
        start = f"{self.origin}: " if self.origin else ""
        for group, end in ((self.left_out, " left out"), (self.remarks, "")):
            for why, names in list(group.items()):
                if why in self.serious and why not in self._warned:
                    self._warned.add(why)
                    warnings.warn(f"{start}{_count(why, names)}{end}", stacklevel=stacklevel)

    def line(self) -> str:
        """``12 images; left out: 3 dead links (such as a.jpg); 2 links out of the folder (such as b.jpg)``."""
        parts = [f"{self.n_taken} {self.what}"]
        if self.left_out:
            parts.append("left out: " + ", ".join(_count(why, names) for why, names in list(self.left_out.items())))
        parts += [_count(what, names) for what, names in list(self.remarks.items())]
        return "; ".join(parts)

    def to_json(self) -> Mapping[str, object]:
        """Counts alone, by reason."""
        return {
            "what": self.what,
            "taken": self.n_taken,
            "left_out": _sums(self.left_out),
            "remarks": _sums(self.remarks),
        }


def account_lines(accounts: Iterable[Account]) -> list[str]:
    """The lines of the accounts that have counted anything."""
    return [account.line() for account in accounts if account.n_taken or account.left_out or account.remarks]


def _count(why: str, names: Mapping[str, int]) -> str:
    return f"{sum(names.values())} {why} (such as {next(iter(names))})"


def _sums(group: Mapping[str, Mapping[str, int]]) -> dict[str, int]:
    return {why: sum(names.values()) for why, names in group.items()}
