"""Every recipe that is shipped names itself in every output, and so does one whose settings were changed."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from cli_helpers import TINY, in_process
from rich.console import Console

from cdtr.cli._output import print_scores
from cdtr.config import load_config, load_reproduction
from cdtr.data.datasets import load_source
from cdtr.deployment.facts import run_facts
from cdtr.evaluation import Evaluation, find_protocol
from cdtr.metrics.paired import compare_rows
from cdtr.records import DataSource
from cdtr.reports import paper_table
from cdtr.reports.ablation_table import summarise, to_csv, to_markdown, to_table
from cdtr.reports.model_card import model_card
from cdtr.reports.paper_terminal import to_tables
from cdtr.reports.quickstart_page import write_quickstart
from cdtr.reports.report_page import write_report
from cdtr.reports.tables import differences_table, per_class_table
from cdtr.runs import RunFolder
from cdtr.threshold import Threshold
from cdtr.workflows.describe import describe
from cdtr.workflows.evaluate import evaluate_samples, store_scores
from cdtr.workflows.scores import Scores
from oracles.untrained_run import write_untrained_run

RECIPES = {  # preset and settings -> what outputs must say
    ("cub",): "paper",
    ("cub-official",): "official",
    ("small",): "small",
    ("pretrain-small",): "pretrain-small",
    ("small", "guide.enabled=false", "ocm.prior=none"): "small without guide and border prior",
    ("cub", "guide.enabled=true", "ocm.prior=border"): "paper + guide + border prior",
}


@dataclass(frozen=True)
class Measured:
    """An untrained run of a recipe, measured on a few images. before: its config.yaml has no recipe."""

    run: RunFolder
    label: str
    results: list[Evaluation]
    classes: tuple[str, ...]
    source: DataSource

    def scores(self, several: bool) -> Scores:
        shown = self.results if several else self.results[:1]
        return Scores("run", self.source, "val", self.classes, tuple(shown))


@pytest.fixture(scope="module", params=[*RECIPES, "before"], ids=[*RECIPES.values(), "before"])
def measured(request: pytest.FixtureRequest, neu: Path, tmp_path_factory: pytest.TempPathFactory) -> Measured:
    preset, *settings = ("small",) if request.param == "before" else request.param
    config = load_config(preset, [*TINY, *settings])
    source = load_source(neu)
    run = write_untrained_run(tmp_path_factory.mktemp("recipes") / "run", config, source.class_names)
    if request.param == "before":
        tree = yaml.safe_load(run.config_file.read_text())
        del tree["recipe"]
        run.config_file.write_text(yaml.safe_dump(tree))
    rules = [find_protocol(name) for name in ("wsol", "cdtr")]
    results = evaluate_samples(run, source, source.splits["val"][:6], rules, threshold=0.3)
    return Measured(run, RECIPES.get(request.param, "small"), results, source.class_names, source)


def shown(*tables: object) -> str:
    console = Console(width=200, file=io.StringIO(), record=True)
    for table in tables:
        console.print(table)
    return console.export_text()


def evaluations(one: Measured) -> dict[tuple[str, int], dict[str, object]]:
    return {("a", 0): one.results[0].to_json(), ("b", 0): one.results[0].to_json()}


def of_grid(one: Measured, write: Callable[..., object]) -> str:
    found = write(summarise(evaluations(one), ("top1_cls",), "a", {"a": one.label, "b": one.label}))
    return found if isinstance(found, str) else shown(found)


def page(one: Measured, tmp_path: Path) -> str:
    write_report(one.run, "run", 7, None, "no data", tmp_path / "page.html")
    return (tmp_path / "page.html").read_text()


def scores(one: Measured) -> str:
    store_scores(one.run, one.scores(several=True))
    return one.run.scores_file.read_text()


def written(one: Measured, tmp_path: Path) -> str:
    print_scores(one.scores(several=False), tmp_path / "one.json")
    return (tmp_path / "one.json").read_text()


OUTPUTS: dict[str, Callable[[Measured, Path], str]] = {
    "describe": lambda one, _: "\n".join(describe(one.run).lines()),
    "model card": lambda one, _: model_card(one.run, Threshold(0.3), "steel"),
    "report": page,
    "export": lambda one, _: run_facts(one.run, Threshold(0.3)).to_json(),
    "scores.json": lambda one, _: scores(one),
    "evaluate --json": written,
    "evaluate --per-class": lambda one, _: shown(per_class_table(one.results[0], one.classes)),
    "compare": lambda one, _: shown(
        differences_table(compare_rows(one.results[0].rows, one.results[0].rows), (one.label, "another"))
    ),
    "ablate": lambda one, _: of_grid(one, to_table),
    "ablate md": lambda one, _: of_grid(one, to_markdown),
    "ablate csv": lambda one, _: of_grid(one, to_csv),
    "ablate json": lambda one, _: of_grid(one, lambda table: json.dumps(table.to_json())),
}


@pytest.mark.parametrize("output", OUTPUTS)
def test_an_output_says_the_recipe(output: str, measured: Measured, tmp_path: Path) -> None:
    text = OUTPUTS[output](measured, tmp_path)
    words = " ".join(re.sub(r'<[^>]+>|[`"{}]', "", text).split())
    start = "a," if output == "ablate csv" else r"[Rr]ecipes?:? (?:a: )?"
    assert re.search(rf"{start}{re.escape(measured.label)}(?! \+| with)", words), words[:400]


@pytest.mark.parametrize("several", [False, True], ids=["one protocol", "several"])
def test_evaluate_prints_the_recipe(several: bool, measured: Measured, capsys: pytest.CaptureFixture[str]) -> None:
    print_scores(measured.scores(several))
    title = " ".join(capsys.readouterr().out.split("┏")[0].split())
    assert title.endswith(f", recipe {measured.label}")


@pytest.mark.parametrize("kind", ["md", "csv", "tex", "terminal"])
def test_reproduce_notes_another_recipe_than_the_papers(kind: str, measured: Measured) -> None:
    found = load_reproduction("XIII")
    runs = {row: {0: {**measured.results[0].to_json(), "split": "val"}} for row in found.table.rows}
    known = paper_table.Findings("wsol", "p", "D", runs, recipes=dict.fromkeys(runs, measured.label))
    parts = paper_table.compare(found, {"cub-v2": known})
    write = {"md": paper_table.to_markdown, "csv": paper_table.to_csv, "tex": paper_table.to_latex}
    text = write[kind](found, parts) if kind in write else shown(*to_tables(found, parts, Console(width=100)))
    noted = f"ecipe {measured.label}" in " ".join(text.split())
    assert noted is (measured.label != "paper")
    if kind == "csv":
        rows = [row for row in csv.DictReader(io.StringIO(text)) if row["paper"]]
        assert {row["recipe"] for row in rows} == {measured.label}


def test_a_training_writes_the_recipe(
    calibrated: tuple[Path, str], neu: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = RunFolder(calibrated[0])
    assert run.config().recipe == "small"
    assert run.manifest()["recipe"] == "small"
    place = ("--data", neu, "--json", tmp_path / "found.json")
    code, out, err = in_process(capsys, "compare", run.path, run.path, *place)
    assert code == 0, err
    assert "percent, recipe small" in out, err
    assert json.loads((tmp_path / "found.json").read_text())["recipes"] == {"a": "small", "b": "small"}


def test_the_quickstarts_page_says_the_recipe() -> None:
    text = (Path(write_quickstart.__code__.co_filename).parent / "quickstart.html").read_text()
    assert "<code>{{ recipe }}</code>" in text
