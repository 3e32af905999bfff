"""A small run, untrained but calibrated, and a client that speaks to it in this process."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from app_helpers import CLASSES, THRESHOLD

from cdtr.api import Localizer
from cdtr.config import load_config
from cdtr.localization.quality import FEATURES, BoxQuality
from oracles.untrained_run import write_untrained_run

pytest.importorskip("fastapi", reason="the server needs the extra `serve`")

from fastapi import FastAPI
from starlette.testclient import TestClient

from cdtr.app.server import create_app

SETTINGS = (
    "data.input_size=[32, 32]",
    "backbone.overrides={patch_size: 8, embed_dim: 32, depth: 2, num_heads: 2}",
    "ocm.k=2",
    "sba.enabled=false",
)


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_untrained_run(tmp_path_factory.mktemp("app") / "animals", load_config("small", SETTINGS), CLASSES)
    ones = (1.0,) * len(FEATURES)
    quality = BoxQuality(FEATURES, (0.0,) * len(FEATURES), ones, ones, (0.0, -1.0, 1.0), -2.0, 50, 0.5)
    calibration = {"threshold": THRESHOLD, "n_images": 50, "source": "images", "box_scores": quality.to_json()}
    folder.calibration_file.write_text(json.dumps(calibration))
    return folder.path


@pytest.fixture(scope="session")
def localizer(run: Path) -> Localizer:
    return Localizer.from_pretrained(run, "cpu")


@pytest.fixture
def make_client(localizer: Localizer) -> Iterator[Callable[..., TestClient]]:
    """Clients of applications with any settings."""
    clients: list[TestClient] = []

    def make(**settings: object) -> TestClient:
        app: FastAPI = create_app(localizer, "animals", **settings)  # type: ignore[arg-type]
        clients.append(TestClient(app, base_url="http://127.0.0.1:8000", raise_server_exceptions=False))
        clients[-1].__enter__()
        return clients[-1]

    yield make
    for client in clients:
        client.__exit__()


@pytest.fixture
def client(make_client: Callable[..., TestClient]) -> TestClient:
    return make_client()
