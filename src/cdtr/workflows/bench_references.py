"""Rows of a bench that are not trained: maps or boxes from elsewhere, such as those of a salient-object network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from cdtr.config import BenchReference
from cdtr.errors import DataError
from cdtr.json_tree import parse_json
from cdtr.runs import write_json
from cdtr.workflows.ablate import AblationPlan
from cdtr.workflows.evaluate import ALL_PROTOCOLS
from cdtr.workflows.reporting import Reporter
from cdtr.workflows.score import score

Evaluations: TypeAlias = dict[str, Any]  # the JSON of an evaluation by protocol


def by_protocol(tree: Mapping[str, Any]) -> Evaluations:
    """Return the evaluations of a file of `cdtr evaluate --json` by protocol, whether of one or of several."""
    several = tree.get("protocols")
    return dict(several) if isinstance(several, Mapping) else {str(tree["protocol"]): tree}


@dataclass(frozen=True, slots=True)
class References:
    """The rows from elsewhere of one data set.

    Attributes:
        named: by name.
        folder: that paths are relative to.
        all_protocols: score under every protocol, not that of the rows' settings alone.
    """

    named: Mapping[str, BenchReference]
    folder: Path
    all_protocols: bool

    def check(self, plan: AblationPlan) -> None:
        """Raise DataError for predictions that are not there, or a split that has no images of its own."""
        split = plan.ablation.split
        for name, one in self.named.items():
            path = self.folder / one.predictions
            if not path.exists():
                raise DataError(f"reference {name!r}: no file or folder {path}: expected maps or boxes to score")
            if split is not None and not plan.source.splits.get(split):
                raise DataError(f"reference {name!r}: {split!r} is another part of the images in each run")

    def score(self, plan: AblationPlan, reporter: Reporter) -> dict[str, Evaluations]:
        """Score them, or read what an earlier call scored of the same files.

        Args:
            plan: the trainings on the data set.
            reporter: takes notes and progress.

        Returns:
            The evaluations of each row.

        Raises:
            DataError: predictions cannot be read.
        """
        found = {}
        for name, one in self.named.items():
            path = (self.folder / one.predictions).resolve()
            kept = plan.out / "references" / f"{name}.json"
            own = next(iter(plan.configs.values())).evaluation.protocol
            protocol = ALL_PROTOCOLS if self.all_protocols else own
            of = {"predictions": str(path), "state": _state(path), "threshold": one.threshold}
            of |= {"protocol": protocol, "data": str(plan.source.root), "split": plan.ablation.split}
            before = _read(kept)
            if before.get("of") != of:
                reporter.note(f"scoring {name}: {path}")
                scores = score(
                    path,
                    plan.source,
                    split=plan.ablation.split,
                    protocol=protocol,
                    threshold=one.threshold,
                    reporter=reporter,
                )
                before = {"of": of, "scores": scores.to_json()}
                write_json(kept, before)
            found[name] = by_protocol(before["scores"])
        return found


def _state(path: Path) -> list[int]:
    """The number of files and the time of the newest one."""
    files = [path] if path.is_file() else [one for one in path.rglob("*") if one.is_file()]
    return [len(files), max((one.stat().st_mtime_ns for one in files), default=0)]


def _read(path: Path) -> dict[str, Any]:
    try:
        found = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # scored again
        return {}
    return dict(found) if isinstance(found, Mapping) else {}
