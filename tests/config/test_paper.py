"""The paper's tables as data: every file is read, its settings exist, and cells checked by hand against the paper."""

from __future__ import annotations

import pytest

from cdtr.config import load_config, load_reproduction, reproduction_names
from cdtr.config.checking import checked_section
from cdtr.config.paper import PaperTable
from cdtr.errors import ConfigError
from cdtr.model.methods import method_names, with_switches
from cdtr.reports.paper_table import check_paper_metrics

TABLES = [f"table-{number}" for number in range(1, 15)]
FIGURES = [f"figure-{number}" for number in (2, *range(4, 14))]  # 1 and 3 are drawings of the method


def test_every_table_and_every_figure_of_results_is_there():
    assert reproduction_names() == TABLES + FIGURES


@pytest.mark.parametrize("name", TABLES + FIGURES)
def test_a_table_is_whole_and_its_settings_are_those_of_a_configuration(name):
    found = load_reproduction(name)
    check_paper_metrics(found)
    for data, known in found.data.items():
        rows = found.table.rows_on(data)
        for row in rows.values():
            assert row.settings is None or set(row.settings) <= {"method", "csm", "ocm", "ski", "sba", "weighting"}
            config = load_config(known.preset).updated(**(row.settings or {}))
            if config.method in method_names():
                with_switches(config)
        assert any(row.settings is not None for row in rows.values()), f"nothing to train on {data}"


@pytest.mark.parametrize(
    ("name", "row", "data", "values"),
    [
        ("table-1", "cdtr", "cub", (81.33, 94.06, 96.89)),
        ("table-1", "cdtr", "ilsvrc", (58.20, 68.05, 70.72)),
        ("table-1", "tscam", "cub", (71.30, 83.80, 87.70)),
        ("table-1", "adl", "ilsvrc", (44.92, None, None)),
        ("table-1", "taformer-vgg", "ilsvrc", (53.42, 67.73, 74.02)),
        ("table-2", "catr", "ilsvrc", (77.25, 93.64)),
        ("table-2", "lctr", "cub", (85.00, 97.10)),
        ("table-3", "isic", "ilsvrc", (59.61, 67.84, 70.01)),
        ("table-3", "spol-efficientnet", "cub", (80.12, 93.44, 96.46)),
        ("table-4", "catr", "openimages", (67.35,)),
        ("table-5", "tscam", "cub", (74.16, 86.42, 89.28)),
        ("table-5", "csm", "cub", (77.59, 90.35, 93.22)),
        ("table-5", "sba", "cub", (80.42, 92.90, 95.88)),
        ("table-6", "ski", "cub", (23.32, 4.49, None, 96.30)),
        ("table-7", "p-0.30", "cub", (81.17, 96.01, 83.11)),
        ("table-7", "p-0.05", "ilsvrc", (57.82, 67.80, 70.19)),
        ("table-8", "k-11", "cub", (80.79, 93.71, 96.53)),
        ("table-8", "k-12", "ilsvrc", (57.82, 67.84, 70.57)),
        ("table-9", "fixed", "cub", (80.39, 93.29, 96.07)),
        ("table-10", "tscam-clip", "ilsvrc", (53.92,)),
        ("table-11", "lctr", "cub", (25.76, 0.842, 197.93, 79.20)),
        ("table-12", "cdtr-sat", "ilsvrc", (60.00,)),
        ("table-13", "catr", "cub-v2", (79.13, 90.58, 93.29)),
        ("table-14", "ski", "brain-tumor", (48.26,)),
        ("table-14", "cdtr", "neu-det", (21.00,)),
        ("figure-5", "cdtr", "cub", (82.52,)),
        ("figure-9", "alpha-2.4", "cub", (81.33, 94.06, 96.89)),
    ],
)
def test_the_papers_values(name, row, data, values):
    assert load_reproduction(name).table.rows[row].paper[data] == values


def test_differences_that_the_text_states():
    rows = load_reproduction("V").table.rows
    csm, plain, catr = (rows[name].paper["cub"] for name in ("csm", "tscam", "catr"))
    assert round(csm[0] - plain[0], 2) == 3.43
    assert round(csm[2] - plain[2], 2) == 3.94
    assert catr == load_reproduction("I").table.rows["catr"].paper["cub"]


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        ("V", "table-5"),
        ("5", "table-5"),
        ("xiv", "table-14"),
        ("Table XI", "table-11"),
        ("table_3", "table-3"),
        ("tableIX", "table-9"),
        ("fig. 7", "figure-7"),
        ("Fig10", "figure-10"),
        ("figure-11", "figure-11"),
    ],
)
def test_names(asked, name):
    found = load_reproduction(asked)
    assert found.name == name
    assert load_reproduction(found.caption) == found


@pytest.mark.parametrize("asked", ["tabel-5", "XV", "0", "figure-3", "", "../cub", "IIII"])
def test_an_unknown_name_lists_the_choices(asked):
    with pytest.raises(ConfigError, match=r"unknown table .*choose one of table-1, .*figure-13"):
        load_reproduction(asked)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"metrcs": []}, "did you mean 'metrics'"),
        ({"rows": {"a": {"label": "A", "text": ["x"]}}}, "1 words for 0 columns"),
        ({"rows": {"a": {"label": "A", "paper": {"cub": [1.0, 2.0]}}}}, "expected 1 values for one of cub"),
        ({"rows": {"a": {"label": "A", "paper": {"ilsvrc": [1.0]}}}}, "expected 1 values for one of cub"),
        ({"rows": {}}, "rows"),
        ({"difference": {"label": "D", "row": "a", "base": "b"}}, "no row 'b', choose from a"),
        ({"gallery": {"choose": "failures"}}, "need one of the rows a"),
        ({"gallery": {"choose": "failures", "by": "b"}}, "need one of the rows a"),
        ({"gallery": {"by": "a"}}, "need one of the rows a"),
        ({"gallery": {"panels": ["maps"]}}, "panels"),
    ],
    ids=["key", "text", "values", "data", "empty", "difference", "no row", "another row", "a row for nothing", "panel"],
)
def test_a_damaged_table_is_refused(change, message):
    tree = {"title": "T", "data": ["cub"], "metrics": ["top1_loc"], "rows": {"a": {"label": "A"}}}
    with pytest.raises(ConfigError, match=message):
        checked_section({**tree, **change}, PaperTable, "table-x")


def test_a_rows_unknown_setting_is_refused_with_the_nearest(monkeypatch):
    from cdtr.config import paper

    real = paper.read_preset

    def changed(name):
        tree = real(name)
        if name == "tables/table-5":
            tree["rows"]["csm"]["settings"] = {"csm": {"enabeld": True}}
        return tree

    monkeypatch.setattr(paper, "read_preset", changed)
    with pytest.raises(ConfigError, match=r"table-5, row 'csm': .*'csm\.enabeld', did you mean 'csm\.enabled'"):
        load_reproduction("V")
