"""Training on classes of very different sizes: balanced by default, resumable, and plain about what was not learned."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from training_helpers import assert_same_weights, lines_of, quiet_console, text_of, tiny_config, train_fresh

from cdtr.config import Config, recipe_label
from cdtr.data.datasets import load_source
from cdtr.data.opening import open_data
from cdtr.model.maps import class_loss
from cdtr.records import ModelOutput
from cdtr.reports.tables import metric_rows
from cdtr.runs import RunFolder
from cdtr.training import loop, prepare
from cdtr.training.final_checks import final_lines
from cdtr.training.held_out import HeldOut
from cdtr.workflows.evaluate import evaluate
from cdtr.workflows.report import report
from oracles.uneven_sets import GOOD, write_neu_det, write_synthetic

UNEVEN = {"crack": 24, GOOD: 90, "hole": 24}
NAMES = tuple(sorted(UNEVEN))


@pytest.fixture(scope="module")
def uneven(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_synthetic(tmp_path_factory.mktemp("uneven") / "data", UNEVEN)


@pytest.fixture(scope="module")
def all_alike(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_synthetic(tmp_path_factory.mktemp("alike") / "data", UNEVEN, told_apart=False)


def config_of(**train: Any) -> Config:
    return tiny_config(
        method="tscam", data={"holdout": 0.25}, train={"epochs": 2, "batch_size": 8, "lr": 3e-3, **train}
    )


def trained(root: Path, out: Path, **train: Any) -> tuple[RunFolder, str]:
    console = quiet_console()
    run = loop.train(config_of(**train), load_source(root), out, console=console)
    return run, text_of(console)


def test_uneven_classes_are_balanced_and_the_run_says_so(uneven: Path, tmp_path: Path) -> None:
    run, text = trained(uneven, tmp_path / "run", epochs=4)
    assert "the classes are uneven (good has 68 training images, crack 18)" in text or "hole 18)" in text
    assert run.config().train.balance == "sampling"
    assert recipe_label(run.config()).endswith(" + balanced sampling")
    assert run.manifest()["recipe"] == recipe_label(run.config())
    assert lines_of(run.path, "epoch")[-1]["held_out"]["top1_cls"] > 80
    assert "the largest class" not in text
    assert "never predicted" not in text


def test_evaluation_shows_the_largest_class_beside_top1_cls(all_alike: Path, tmp_path: Path) -> None:
    run, _ = trained(all_alike, tmp_path / "run", epochs=1, balance="none")
    scores = evaluate(run.path, all_alike, device="cpu")
    tree = scores.to_json()
    share = 100 * 22 / 34
    assert tree["metrics"]["top1_cls"] == tree["baselines"]["largest_class"]["top1_cls"] == pytest.approx(share)
    assert tree["metrics"]["mean_recall"] == tree["baselines"]["largest_class"]["mean_recall"] == pytest.approx(100 / 3)
    low, high = tree["intervals"]["mean_recall"]
    assert low == high == pytest.approx(100 / 3), "of a constant prediction, whatever the images"
    rows = dict(metric_rows(scores.evaluations[0]))
    assert rows["Top-1 Cls"][0] == "64.7"
    assert rows["Top-1 Cls"][-1] == "64.7"
    assert rows["mean recall"][0] == "33.3"
    assert rows["mean recall"][-1] == "33.3"
    report(run.path, all_alike, images=1, device="cpu")
    html = (run.path / "report.html").read_text(encoding="utf-8")
    assert "largest class 64.7%" in html
    assert "largest class 33.3%" in html


def test_even_classes_stay_as_they_were(class_folder: Path, tmp_path: Path) -> None:
    run, text = trained(class_folder, tmp_path / "auto", epochs=1)
    assert run.config().train.balance == "auto"
    assert "uneven" not in text
    trained(class_folder, tmp_path / "none", epochs=1, balance="none")
    assert_same_weights(tmp_path / "auto", tmp_path / "none")


def test_what_cannot_be_learned_is_said_at_the_end(all_alike: Path, tmp_path: Path) -> None:
    _, text = trained(all_alike, tmp_path / "run", balance="none")
    after = text.splitlines()[-3:]
    (largest,) = [line for line in after if "knows no more than the largest class" in line]
    assert "good alone is 64.7% of the 34 images (95% interval 47.9 to 78.5); mean recall 33.3, chance 33.3" in largest
    assert "train.balance: sampling" in largest
    (missed,) = [line for line in after if "never predicted" in line]
    assert "for none of 34 held-out images: crack, hole (12 images)" in missed


def test_weights_are_those_of_the_classes_in_every_classification_loss(
    uneven: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    method: Any = loop.build_method(config_of(), 3, None, False)
    losses = type(method).losses

    def record(self: Any, output: ModelOutput, batch: Any) -> Any:
        seen.append((batch.labels, batch.weights))
        terms = losses(self, output, batch)
        assert terms["cls"] == class_loss(output.logits, batch.labels, batch.weights)
        return terms

    monkeypatch.setattr(type(method), "losses", record)
    trained(uneven, tmp_path / "run", epochs=1, balance="weights")
    labels, weights = (torch.cat(parts) for parts in zip(*seen, strict=True))
    assert Counter(labels.tolist())[1] > 60, "the order is not balanced as well"
    expected = torch.tensor([104 / 3 / 18, 104 / 3 / 68, 104 / 3 / 18])
    torch.testing.assert_close(weights, expected[labels])


def test_a_killed_balanced_training_goes_on_to_the_same_weights(uneven: Path, tmp_path: Path) -> None:
    config = config_of(save_every_steps=3)
    assert train_fresh(config, uneven, tmp_path / "whole") == 0
    assert train_fresh(config, uneven, tmp_path / "killed", die="after a step that no state has") < 0
    assert train_fresh(config, uneven, tmp_path / "killed", resume=True) == 0
    assert_same_weights(tmp_path / "whole", tmp_path / "killed")


def test_a_run_of_before_the_setting_goes_on_as_it_was(
    uneven: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its settings have no ``train.balance``, which then reads as ``auto``."""
    trained(uneven, tmp_path / "none", balance="none", epochs=1)
    run = RunFolder(tmp_path / "old")
    console = quiet_console()
    monkeypatch.setattr(prepare, "settle_balance", lambda config, *_: config)
    loop.train(config_of(epochs=1), load_source(uneven), run.path, console=console)
    assert run.config().train.balance == "auto"
    assert_same_weights(tmp_path / "none", run.path)


def measured(confusion: list[list[int]], likeness: float) -> HeldOut:
    """Held-out images by label (rows) and predicted class, all with attention of one likeness to the class map."""
    found = HeldOut(len(confusion), torch.device("cpu"))
    class_map = torch.arange(16.0).reshape(4, 4)
    for label, row in enumerate(confusion):
        for predicted, count in enumerate(row):
            if count:
                logits = torch.nn.functional.one_hot(torch.tensor([predicted] * count), len(confusion)).float()
                maps = class_map.expand(count, len(confusion), 4, 4)
                attention = (class_map if likeness > 0 else -class_map).expand(count, 4, 4)
                found.update(ModelOutput(logits, maps, attention, {}), torch.tensor([label] * count))
    return found


@pytest.mark.parametrize(
    ("confusion", "likeness", "expected"),
    [
        ([[12, 0, 0], [0, 70, 1], [1, 0, 11]], 1.0, []),
        ([[0, 12, 0], [0, 70, 0], [0, 12, 0]], 1.0, ["largest class", "never predicted"]),
        ([[12, 0, 0], [0, 70, 0], [0, 12, 0]], 1.0, ["never predicted"]),
        ([[12, 0, 0], [0, 70, 1], [1, 0, 11]], -1.0, ["inverted"]),
        ([[0, 0, 0], [0, 0, 0], [0, 0, 0]], 1.0, []),
        ([[0, 1, 0], [0, 7, 0], [0, 1, 0]], 1.0, []),
    ],
    ids=["all well", "the largest class alone", "a class missed", "inverted", "no image", "too few to tell"],
)
def test_each_fault_has_one_line(confusion: list[list[int]], likeness: float, expected: list[str]) -> None:
    lines = list(final_lines(measured(confusion, likeness), NAMES, config_of()))
    assert len(lines) == len(expected)
    for line, words in zip(lines, expected, strict=True):
        assert words in line
        assert line.startswith("warning: ")
        assert " Next: " in line


def test_up_to_three_missed_classes_are_named() -> None:
    confusion = np.zeros((6, 6), dtype=int)
    confusion[:, 0] = 9
    lines = list(final_lines(measured(confusion.tolist(), 1.0), "abcdef", config_of()))
    assert "held-out images: b, c, d and 2 more (45 images)" in lines[-1]


def test_attention_counts_by_class() -> None:
    """71 good images with fair attention do not hide the defects, whose attention is inverted."""
    fair = measured([[0, 0, 0], [0, 71, 0], [0, 0, 0]], 1.0)
    inverted = measured([[9, 0, 0], [0, 0, 0], [0, 0, 9]], -1.0)
    fair._sums += inverted._sums
    fair._of_class += inverted._of_class
    assert fair.attention["class_map"] == pytest.approx(53 / 89)
    assert fair.attention_over_classes == pytest.approx(-1 / 3)


def test_neu_det_with_clean_steel(shared_data: Path, tmp_path: Path) -> None:
    counts = {"crazing": 4, "inclusion": 12, "scratches": 8}
    root = write_neu_det(shared_data / "neu-det", tmp_path / "data", {"train": counts, "val": {"inclusion": 3}})
    source = open_data(root, config_of().data, lambda _line: None)
    assert source.class_names == ("crazing", GOOD, "inclusion", "scratches")
    found = Counter(source.class_names[sample.label] for sample in source.splits["train"])
    assert found == {**counts, GOOD: 56}
    assert len(source.splits["val"]) == 10
    boxed = {sample.label for sample in source.splits["val"] if source.annotate(sample) is not None}
    assert boxed == {source.class_names.index("inclusion")}
    run, text = trained(root, tmp_path / "run", epochs=1)
    assert "the classes are uneven (good has 42 training images, crazing 3): train.balance is sampling" in text
    assert run.config().train.balance == "sampling"
