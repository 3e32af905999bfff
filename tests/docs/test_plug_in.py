"""The package of docs/extending.md: its method is found through its entry point and trained with its own settings."""

from __future__ import annotations

import json
import pickle
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from cdtr import Method, load_model
from cdtr.cli import main
from cdtr.config import Config, load_config, specs_of
from cdtr.data.drawing import draw_image
from cdtr.errors import ConfigError
from cdtr.model.methods import build_method, method_names, with_switches
from cdtr.model.methods.cdtr import Cdtr
from cdtr.reports.run_facts import modules
from cdtr.runs import RunFolder

PROJECT = Path(__file__).resolve().parents[2]
PAGE = (PROJECT / "docs" / "extending.md").read_text(encoding="utf-8")
CODE = re.search(r"```python\n# (my_methods/\S+\.py)\n(.*?)```", PAGE, re.DOTALL)
PYPROJECT = re.search(r"```toml\n(.*?)```", PAGE, re.DOTALL)
TINY = (
    "data.workers=0",
    "data.input_size=[32, 32]",
    "data.resize=[36, 36]",
    "data.holdout=0.2",
    "backbone.overrides={patch_size: 8, embed_dim: 48, depth: 2, num_heads: 2}",
    "train.epochs=1",
    "train.batch_size=8",
)


@pytest.fixture(scope="module", autouse=True)
def _installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The page's package as an installer leaves it: the module, and a ``.dist-info`` with the entry points."""
    assert CODE is not None
    assert PYPROJECT is not None
    site = tmp_path_factory.mktemp("site")
    project = tomllib.loads(PYPROJECT[1])["project"]
    (site / CODE[1]).parent.mkdir()
    (site / CODE[1]).write_text(CODE[2])
    (site / CODE[1]).with_name("__init__.py").touch()
    info = site / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    groups = [
        f"[{group}]\n" + "".join(f"{name} = {module}\n" for name, module in points.items())
        for group, points in project["entry-points"].items()
    ]
    (info / "entry_points.txt").write_text("\n".join(groups))
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(site))
        yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "my_methods"]:
        del sys.modules[name]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """One epoch from the command line."""
    root, out = tmp_path_factory.mktemp("photos"), tmp_path_factory.mktemp("runs") / "focus"
    for label, name in enumerate(("checks", "dots")):
        (root / name).mkdir()
        for index in range(10):
            picture = draw_image(label, 48, np.random.default_rng([label, index]))
            Image.fromarray(picture.image).save(root / name / f"{index}.png")
    settings = [word for setting in ("method=focus", "focus.weight=0.3", *TINY) for word in ("--set", setting)]
    with pytest.raises(SystemExit) as stopped:
        main(["train", str(root), "--out", str(out), "--config", "small", *settings])
    assert not stopped.value.code
    return RunFolder(out)


def test_the_method_is_listed_and_not_imported() -> None:
    assert "focus" in method_names()
    assert "my_methods" not in sys.modules


def test_it_trains_from_the_command_line_with_its_own_settings(run: RunFolder) -> None:
    assert yaml.safe_load((run.path / "config.yaml").read_text())["focus"] == {"weight": 0.3}
    epoch = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()][-1]
    assert set(epoch["terms"]) == {"cls", "focus", "total"}
    assert epoch["terms"]["total"] == pytest.approx(epoch["terms"]["cls"] + epoch["terms"]["focus"], rel=1e-5)
    method = load_model(run.path)
    assert isinstance(method, Method)
    assert type(method).__name__ == "Focus"


def test_reports_list_its_module(run: RunFolder) -> None:
    listed = {module.name: module for module in modules(run)}
    assert list(listed) == ["CSM", "OCM", "SKI", "SBA", "Guide", "Focus"]
    assert listed["Focus"].on
    assert listed["Focus"].settings == "weight 0.3"
    assert not listed["CSM"].on


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("focus.wieght=1", "unknown key 'focus.wieght', did you mean 'focus.weight'"),
        ("focus.weight=-1", "focus.weight = -1"),
        ("fokus.weight=1", "unknown key 'fokus'"),
    ],
    ids=["key", "value", "section"],
)
def test_its_settings_are_checked_as_all_others(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        load_config(None, ["method=focus", override])


def test_a_configuration_keeps_its_settings() -> None:
    config = load_config(None, ["method=focus", "focus.weight=0.5"])
    assert config == load_config(None, ["method=focus", "focus.weight=0.5"])
    assert pickle.loads(pickle.dumps(config)) == config  # noqa: S301
    other = config.updated(method="tscam")
    assert "focus" in other.to_yaml()
    assert [spec.name for spec in specs_of(other)][-1] == "focus"
    assert "focus" not in Config().to_yaml()


def test_a_configuration_made_in_python_has_the_defaults() -> None:
    config = with_switches(Config(method="focus"))
    assert config.model_dump()["focus"] == {"weight": 0.1}


def test_a_build_that_returns_another_module_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    import my_methods.focus  # type: ignore[import-not-found]
    from torch import nn

    monkeypatch.setattr(my_methods.focus, "build", lambda *_: nn.Identity())
    config = load_config(None, ["method=focus", "backbone.weights=none", *TINY])
    with pytest.raises(ConfigError, match=r"returned a Identity, expected a cdtr\.Method"):
        build_method(config, 2)


def test_the_methods_of_cdtr_need_no_plug_in() -> None:
    config = load_config(None, ["method=cdtr", "backbone.weights=none", "csm.g=3", "ocm.k=2", *TINY])
    assert type(config) is Config
    assert isinstance(build_method(config, 2), Cdtr)


@pytest.mark.parametrize("command", [["check", "--quiet"], ["format", "--check", "--quiet"]], ids=["lint", "format"])
def test_its_code_is_written_as_ours_is(command: list[str]) -> None:
    assert CODE is not None
    arguments = [sys.executable, "-m", "ruff", *command, "--stdin-filename", str(PROJECT / "src" / CODE[1]), "-"]
    done = subprocess.run(arguments, input=CODE[2], text=True, capture_output=True, check=False, cwd=PROJECT)
    assert done.returncode == 0, done.stdout + done.stderr
