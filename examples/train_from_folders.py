"""Train on a folder with one folder of images per class. No box is needed.

python examples/train_from_folders.py DATA runs/mine
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import cdtr


def train_from_folders(data: Path, out: Path, preset: str = "small", changes: Sequence[str] = ()) -> Path:
    """Train with a preset and changed settings such as ``train.epochs=20``, and return the run folder."""
    return cdtr.train(data, out, preset, overrides=changes).path


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="a folder with one folder of images per class")
    parser.add_argument("out", type=Path, help="the run folder to write")
    parser.add_argument("--set", action="append", default=[], help="a setting, such as train.epochs=20")
    options = parser.parse_args()
    print(f"wrote {train_from_folders(options.data, options.out, changes=options.set)}")
