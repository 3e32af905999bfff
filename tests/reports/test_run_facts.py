"""What a report says of a run's settings."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from cdtr.config import Config, Prior
from cdtr.reports.run_facts import modules
from cdtr.runs import RunFolder


def ocm_settings(folder: Path, prior: str) -> str:
    run = RunFolder(folder)
    run.config_file.write_text(Config().updated(ocm={"enabled": True, "prior": prior}).to_yaml(), encoding="utf-8")
    return next(module.settings for module in modules(run) if module.name == "OCM")


@pytest.mark.parametrize("prior", get_args(Prior))
def test_every_prior_is_said(tmp_path: Path, prior: str) -> None:
    with_prior = ocm_settings(tmp_path, prior)
    assert with_prior.startswith(ocm_settings(tmp_path, "none") + ", starts from what is ")
