"""The scripts of benchmarks/ as modules, as Python sees them when one of them is run."""

from __future__ import annotations

import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path += [str(TESTS.parent / "benchmarks"), str(TESTS / "cli")]  # the latter for tiny data
