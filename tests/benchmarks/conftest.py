"""The scripts of benchmarks/ as modules, as Python sees them when one of them is run."""

from __future__ import annotations

import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
for folder in (PROJECT / "benchmarks", PROJECT / "tests/cli"):  # the latter for tiny data
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
