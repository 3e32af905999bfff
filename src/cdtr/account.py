"""Counts of what a reader took, what it left out and why, shown in one line."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field


@dataclass(slots=True)
class Account:
    """The counts of one reader.

    ``taken``, ``left_out`` and ``remarks`` hold names, so that nothing counts twice.

    Attributes:
        what: The things that are counted, such as "images".
        origin: The file or folder, for warnings.
        total: A plain number, used where nothing can count twice.
        serious: The reasons that are a problem; ``warn`` warns of each once.
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
        """Count ``count`` things of ``name``, usually an image."""
        self.taken[name] = count

    def leave(self, why: str, name: str, count: int = 1, serious: bool = True) -> None:
        """Count what is left out for a reason, which follows its number: "3 dead links"."""
        self.left_out.setdefault(why, {})[name] = count
        if serious:
            self.serious.add(why)

    def remark(self, what: str, name: str, count: int = 1, serious: bool = False) -> None:
        """Count what is taken with a change or a doubt."""
        self.remarks.setdefault(what, {})[name] = count
        if serious:
            self.serious.add(what)

    @property
    def n_taken(self) -> int:
        """Number of entries that were read or left out."""
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
        """Return ``12 images; left out: 3 dead links (such as a.jpg); 2 links out of the folder (such as b.jpg)``."""
        parts = [f"{self.n_taken} {self.what}"]
        if self.left_out:
            parts.append("left out: " + ", ".join(_count(why, names) for why, names in list(self.left_out.items())))
        parts += [_count(what, names) for what, names in list(self.remarks.items())]
        return "; ".join(parts)

    def to_json(self) -> Mapping[str, object]:
        """Return the counts alone, by reason."""
        return {
            "what": self.what,
            "taken": self.n_taken,
            "left_out": _sums(self.left_out),
            "remarks": _sums(self.remarks),
        }


def account_lines(accounts: Iterable[Account]) -> list[str]:
    """Format the accounts that have counted anything."""
    return [account.line() for account in accounts if account.n_taken or account.left_out or account.remarks]


def _count(why: str, names: Mapping[str, int]) -> str:
    return f"{sum(names.values())} {why} (such as {next(iter(names))})"


def _sums(group: Mapping[str, Mapping[str, int]]) -> dict[str, int]:
    return {why: sum(names.values()) for why, names in group.items()}
