"""The lowest declared versions, as far as they need not be installed; `make test-lowest` installs and tries them."""

from __future__ import annotations

import tomllib

import pytest
from packaging.version import Version

from lowest.check_lowest import ROOT, lowest

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def bounds(declared: list[str]) -> dict[str, Version]:
    pairs = (one.partition(">=")[::2] for one in declared)
    return {name: Version(version) for name, version in pairs if version}


def test_every_dependency_has_a_lower_bound_that_can_be_tried() -> None:
    assert {one.partition("==")[0] for one in lowest()} >= {one.partition(">=")[0] for one in PROJECT["dependencies"]}


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        pytest.param("timm", "1.0.26", id="timm-unpickled-files-before"),
        pytest.param("onnxruntime", "1.24.1", id="onnxruntime-read-files-anywhere-before"),
    ],
)
def test_bounds_that_safety_rests_on_stay(name: str, safe: str) -> None:
    tried = dict(one.split("==") for one in lowest())
    assert Version(tried[name]) >= Version(safe)


def test_developers_and_users_have_the_same_bounds() -> None:
    extras = PROJECT["optional-dependencies"]
    dev = bounds(extras["dev"])
    for extra in ("serve", "onnx", "shards", "coco", "check"):
        for name, version in bounds(extras[extra]).items():
            assert dev[name] == version, name


def test_an_answer_without_content_declares_none() -> None:
    """FastAPI before 0.118 takes the model ``None`` for a body, and does not start."""
    routes = pytest.importorskip("cdtr.app.routes")
    empty = [route for route in routes.router.routes if getattr(route, "status_code", None) == 204]
    assert empty
    assert all(route.response_field is None for route in empty)
