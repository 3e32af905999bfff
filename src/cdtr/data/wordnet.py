"""Names for the classes of ImageNet and its kin, which are numbered as in WordNet."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence


def class_names(wnids: Sequence[str], words: Mapping[str, str]) -> tuple[str, ...]:
    """The first of each class's names; the number is added where two classes share one, and stands alone without."""
    names = [words.get(wnid, "").split(",")[0].strip() or wnid for wnid in wnids]
    shared = Counter(names)
    return tuple(f"{name} ({wnid})" if shared[name] > 1 else name for name, wnid in zip(names, wnids, strict=True))
