"""The quickstart's page: a report with what was drawn and done before it, and how to go on after it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from cdtr.reports.page import write_page
from cdtr.reports.report_page import Measured, report_words
from cdtr.runs import RunFolder


def write_quickstart(
    run: RunFolder, parameters: int, measured: Measured, seconds: Mapping[str, float], page: Path
) -> None:
    """Write one HTML file that needs no other. seconds: of each step that this call had to do."""
    manifest = run.manifest("splits")
    drawn = {
        "class_names": measured.source.class_names,
        "counts": {name: part["images"] for name, part in manifest["splits"].items()},
        "epochs": run.config().train.epochs,
        "sba": bool(run.config().sba.enabled),
        "clip_fit": manifest.get("clip_fit"),
        "seconds": seconds,
        "seed": run.config().seed,
    }
    write_page("quickstart.html", page, report_words(run, run.path.as_posix(), parameters, measured, "") | drawn)
