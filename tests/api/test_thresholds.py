"""Which threshold counts under which protocol, data set, method and view."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cdtr.api import choose_view, empty_classes, protocol_threshold, view_threshold
from cdtr.config import Config
from cdtr.errors import CheckpointError, ConfigError
from cdtr.evaluation import PROTOCOLS, find_protocol
from cdtr.localization.presence import EmptyClasses
from cdtr.runs import RunFolder
from cdtr.threshold import Threshold, ThresholdSource

CALIBRATED = {
    "threshold": 0.4,
    "view": "whole",
    "n_images": 12,
    "source": "held-out training images",
    "by_protocol": {
        "wsol": {"threshold": 0.4, "view": "whole"},
        "tscam": {"threshold": 0.41, "view": "whole"},
        "sat": {"threshold": 0.42, "view": "whole"},
        "cdtr": {"threshold": 0.43, "view": "crop"},
    },
}

GIVEN = Threshold(0.7, ThresholdSource.GIVEN)


def value_of(found: Threshold | None) -> float | None:
    return None if found is None else found.value


def run_of(folder: Path, classes: int = 3, calibration: dict[str, Any] | None = None, **changes: Any) -> RunFolder:
    (folder / "config.yaml").write_text(Config().updated(**changes).to_yaml())
    (folder / "classes.txt").write_text("".join(f"{index}\n" for index in range(classes)))
    if calibration is not None:
        (folder / "calibration.json").write_text(json.dumps(calibration))
    return RunFolder(folder)


@pytest.mark.parametrize(
    ("method", "data", "classes", "expected"),
    [
        ("cdtr", "cub", 200, {"cdtr": 0.20}),
        ("cdtr", "ilsvrc", 1000, {"cdtr": 0.19}),
        ("tscam", "cub", 200, {"tscam": 0.10}),
        ("tscam", "ilsvrc", 1000, {"tscam": 0.12}),
        ("catr", "cub", 200, {}),
        ("cdtr", "cub", 50, {}),
        ("tscam", "cub", 50, {}),
        ("cdtr", "neu-det", 6, {}),
    ],
    ids=[
        "cdtr-cub",
        "cdtr-ilsvrc",
        "tscam-cub",
        "tscam-ilsvrc",
        "another-method",
        "50-classes",
        "50-tscam",
        "another-set",
    ],
)
def test_published_thresholds_are_for_their_method_on_the_full_data_set(
    tmp_path: Path, method: str, data: str, classes: int, expected: dict[str, float]
) -> None:
    run = run_of(tmp_path, classes, CALIBRATED, method=method)
    for name, protocol in PROTOCOLS.items():
        found = protocol_threshold(run, protocol, data, view=protocol.view or "whole")
        assert found is not None
        if name in expected:
            assert found.value == expected[name]
            assert found.source is ThresholdSource.PUBLISHED
            assert str(found) == f"published with protocol {name} for {method} on {data}"
        else:
            assert found.value == CALIBRATED["by_protocol"][name]["threshold"]
            assert found.source is ThresholdSource.CALIBRATED
            assert str(found) == "calibrated on 12 held-out training images"


@pytest.mark.parametrize(
    "changes",
    [
        {"guide": {"enabled": True}},
        {"csm": {"enabled": False}, "ski": {"enabled": False}},
        {"backbone": {"stem": "conv"}},
        {"maps": {"fuse": "softplus"}},
    ],
    ids=["guide", "without-modules", "stem", "maps"],
)
def test_a_changed_run_is_not_the_published_method(tmp_path: Path, changes: dict[str, Any]) -> None:
    run = run_of(tmp_path, 200, CALIBRATED, method="cdtr", **changes)
    assert value_of(protocol_threshold(run, find_protocol("cdtr"), "cub", view="crop")) == 0.43


def test_another_view_is_not_the_published_one(tmp_path: Path) -> None:
    run = run_of(tmp_path, 200, CALIBRATED, method="tscam")
    assert value_of(protocol_threshold(run, find_protocol("tscam"), "cub", view="whole")) == 0.10
    assert protocol_threshold(run, find_protocol("tscam"), "cub", view="tiled") is None


def test_a_given_threshold_goes_before_all(tmp_path: Path) -> None:
    run = run_of(tmp_path, 200, CALIBRATED, method="cdtr")
    assert protocol_threshold(run, find_protocol("cdtr"), "cub", 0.7, "crop") == GIVEN


def test_a_configured_threshold_is_of_the_runs_own_protocol(tmp_path: Path) -> None:
    run = run_of(tmp_path, evaluation={"protocol": "sat", "threshold": 0.33})
    found = {name: value_of(protocol_threshold(run, protocol, "neu-det")) for name, protocol in PROTOCOLS.items()}
    assert found == {"wsol": None, "tscam": None, "sat": 0.33, "cdtr": None}


@pytest.mark.parametrize("name", ["wsol", "tscam"])
def test_a_threshold_of_another_view_does_not_count(tmp_path: Path, name: str) -> None:
    run = run_of(tmp_path, calibration=CALIBRATED)
    protocol = find_protocol(name)
    assert protocol_threshold(run, protocol, "neu-det", view="whole") is not None
    assert protocol_threshold(run, protocol, "neu-det", view="tiled") is None


def test_older_calibrations_are_of_whole_images(tmp_path: Path) -> None:
    """Those of protocol cdtr were chosen on maps of whole images, which it no longer scores."""
    by_protocol = {name: {"threshold": one["threshold"]} for name, one in CALIBRATED["by_protocol"].items()}
    old = {key: value for key, value in CALIBRATED.items() if key != "view"} | {"by_protocol": by_protocol}
    run = run_of(tmp_path, calibration=old)
    assert choose_view(run) == "whole"
    assert value_of(protocol_threshold(run, find_protocol("sat"), "neu-det", view="whole")) == 0.42
    assert protocol_threshold(run, find_protocol("cdtr"), "neu-det", view="crop") is None


def test_the_threshold_is_of_the_view_that_the_run_has(tmp_path: Path) -> None:
    tiled = {name: {**one, "view": "tiled"} for name, one in CALIBRATED["by_protocol"].items() if name != "cdtr"}
    changed = {**CALIBRATED, "view": "tiled", "by_protocol": {**CALIBRATED["by_protocol"], **tiled}}
    run = run_of(tmp_path, calibration=changed)
    found = {name: value_of(protocol_threshold(run, protocol, "neu-det")) for name, protocol in PROTOCOLS.items()}
    assert found == {"wsol": 0.4, "tscam": 0.41, "sat": 0.42, "cdtr": 0.43}


def test_a_run_remembers_its_view(tmp_path: Path) -> None:
    run = run_of(tmp_path, evaluation={"view": "tiled"})
    assert choose_view(run) == "tiled"
    assert choose_view(run, "crop") == "crop"
    assert choose_view(run_of(tmp_path, evaluation={"protocol": "cdtr"})) == "crop"
    run = run_of(tmp_path, calibration={**CALIBRATED, "view": "tiled"}, evaluation={"view": "whole"})
    assert choose_view(run) == "tiled"
    assert value_of(view_threshold(run, None, "tiled")) == 0.4
    assert view_threshold(run, 0.5, "whole") == Threshold(0.5, ThresholdSource.GIVEN)
    with pytest.raises(
        ConfigError,
        match=r"calibrated for the view tiled, not whole: .* calibrate anew with `cdtr calibrate .* --view whole`",
    ):
        view_threshold(run, None, "whole")
    run = run_of(tmp_path, calibration={**CALIBRATED, "view": "crop"}, evaluation={"protocol": "cdtr"})
    with pytest.raises(ConfigError, match=r"not tiled: leave `view=` out, give `threshold=`$"):
        view_threshold(run, None, "tiled")


def test_unknown_views_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the view is 'tile': choose one of whole, mirrored, crop, tiled"):
        choose_view(run_of(tmp_path), "tile")
    with pytest.raises(
        CheckpointError, match=r"calibration\.json: view is '3': choose one of .* calibrate` with `view=`"
    ):
        choose_view(run_of(tmp_path, calibration={**CALIBRATED, "view": "3"}))


def test_classes_without_an_object_and_the_probability_of_the_calibrated_view(tmp_path: Path) -> None:
    empty = {"data": {"empty_classes": ["1"]}}
    assert empty_classes(run_of(tmp_path, calibration=CALIBRATED | {"has_object": {"threshold": 0.3}}), "whole") is None
    assert empty_classes(run_of(tmp_path, **empty), "whole") == EmptyClasses((1,), 0.3)
    assert empty_classes(run_of(tmp_path, **empty), "crop") == EmptyClasses((1,))
    assert empty_classes(run_of(tmp_path, calibration=CALIBRATED, **empty), "whole") == EmptyClasses((1,))


def test_damaged_classes_without_an_object_get_one_line(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"data\.empty_classes has '7', no class of"):
        empty_classes(run_of(tmp_path, data={"empty_classes": ["7"]}), "whole")
    for damaged in ({"threshold": 1.5}, {"threshold": "high"}, {}, 7):
        run = run_of(tmp_path, calibration=CALIBRATED | {"has_object": damaged}, data={"empty_classes": ["1"]})
        with pytest.raises(CheckpointError, match="has_object"):
            empty_classes(run, "whole")
