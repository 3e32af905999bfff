"""A format in somebody else's package: one file and an entry point, and it is written and read like ours."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cdtr.config import load_config
from cdtr.data.opening import open_data
from cdtr.errors import ConfigError
from cdtr.formats import find_exporter, format_names
from cdtr.records import Localization

CODE = '''
"""A line for each box: image, corners and class, with tabs between."""

from contextlib import contextmanager

from cdtr.formats._own_boxes import own_boxes
from cdtr.formats._target import boxes_of
from cdtr.records import Box

FILE_NAME = "boxes.tsv"


@contextmanager
def open_writer(target):
    lines = []
    yield lambda one: lines.extend(
        "\\t".join([one.image_id, *map(str, box.xyxy), box.name]) for box in boxes_of(one, target.class_names)
    )
    target.path.write_text("\\n".join(lines))


def find(images):
    return [path for path in [images.root / FILE_NAME] if path.is_file()]


def accepts(path):
    return path.suffix == ".tsv"


def open_annotations(paths, images, account):
    boxes = {}
    for number, line in enumerate(paths[0].read_text().splitlines()):
        name, *corners, label = line.split("\\t")
        sample = images.find(name, f"{paths[0]}, line {number}")
        boxes.setdefault(sample.image_id, []).append(Box(label, tuple(map(float, corners))))
    return own_boxes(boxes, images, str(paths[0]), account)
'''


@pytest.fixture(autouse=True)
def _installed(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """The distribution as pip would install it."""
    site = tmp_path_factory.mktemp("site")
    (site / "tabs_for_cdtr.py").write_text(CODE.lstrip())
    info = site / "tabs_for_cdtr-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tabs-for-cdtr\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[cdtr.formats]\ntab-lines = tabs_for_cdtr\n")
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.delitem(sys.modules, "tabs_for_cdtr", raising=False)


def localization(image_id: str, box: list[float], label: int) -> Localization:
    nothing = np.zeros(0)
    return Localization(image_id, (30, 40), np.array([box]), np.array([label]), np.ones(1), nothing, label, nothing)


def test_it_is_written_and_read_back_as_the_truth_of_a_data_set(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (40, 30), (9, 9, 200) if name == "cat" else (200, 9, 9)).save(tmp_path / name / "a.png")
    found = {"cat/a.png": [1.0, 2.0, 12.5, 20.0], "dog/a.png": [0.0, 0.0, 40.0, 30.0]}
    exporter = find_exporter("tab-lines")
    exporter.write(
        (localization(name, box, number) for number, (name, box) in enumerate(found.items())),
        tmp_path / exporter.file_name,
        ("cat", "dog"),
    )
    source = open_data(tmp_path, load_config("small").data)
    samples = [sample for split in source.splits.values() for sample in split]
    assert len(samples) == 2
    for sample in samples:
        annotation = source.annotate(sample)
        assert annotation is not None
        assert annotation.boxes_xyxy.tolist() == [found[sample.image_id]]


def test_it_is_one_of_the_choices() -> None:
    assert "tab-lines" in format_names()
    with pytest.raises(ConfigError, match="did you mean 'tab-lines'"):
        find_exporter("tab-line")
