"""The quickstart on a handful of pictures: whole, re-runnable, and a page that stands alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_helpers import in_fixture, in_process

from cdtr.records import Sample
from cdtr.workflows.quickstart import LOCALIZED, choose_samples
from cdtr.workflows.report import GALLERY_IMAGES
from oracles.web_page import check_page


@pytest.mark.parametrize("count", [96, 400, 800])
def test_localized_images_are_of_all_classes_though_these_alternate(count: int) -> None:
    samples = [Sample(f"{i}", Path(f"{i}"), i % 8) for i in range(count)]
    for seed in range(5):
        chosen = choose_samples(samples, seed)
        assert len(chosen) == LOCALIZED
        assert {sample.label for sample in chosen} == set(range(8))
        assert [int(s.image_id) for s in chosen] == sorted({int(s.image_id) for s in chosen})
    assert choose_samples(samples, 0) == choose_samples(samples, 0) != choose_samples(samples, 1)


def test_few_images_are_all_localized() -> None:
    samples = [Sample(f"{i}", Path(f"{i}"), i % 2) for i in range(5)]
    assert choose_samples(samples, 3) == samples


TINY = ("data.workers=0", "data.input_size=[48, 48]", "data.resize=[54, 54]", "train.epochs=1")


def _arguments(out: Path) -> list[object]:
    return ["quickstart", "--out", out, "--images", "32,8", *(w for setting in TINY for w in ("--set", setting))]


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of a quickstart, and what it printed."""
    out = tmp_path_factory.mktemp("quickstart") / "quick"
    return out, in_fixture(*_arguments(out))[0]


def test_quickstart_writes_a_page_that_stands_alone(quick: tuple[Path, str]) -> None:
    out, printed = quick
    assert f"wrote {out / 'index.html'}" in printed
    assert (out / "clip" / "open_clip_model.safetensors").is_file()
    numbers = json.loads((out / "evaluation.json").read_text())
    assert numbers["n_images"] == 8
    page = (out / "index.html").read_text(encoding="utf-8")
    pictures = [one["src"].partition(";")[0] for one in check_page(page).all("img")]
    assert pictures.count("data:image/jpeg") == 5 * 4 * GALLERY_IMAGES + 3 * 4
    assert pictures.count("data:image/svg+xml") >= 8
    assert f"{numbers['metrics']['gt_known_loc']:.1f}%" in page
    assert len(list((out / "boxes" / "overlays").rglob("*.jpg"))) == 8


def test_quickstart_again_keeps_the_run(quick: tuple[Path, str], capsys: pytest.CaptureFixture[str]) -> None:
    out, _ = quick
    weights = (out / "run" / "model.safetensors").read_bytes()
    (out / "index.html").unlink()
    code, _, err = in_process(capsys, *_arguments(out))
    assert code == 0, err
    assert (out / "index.html").is_file()
    assert (out / "run" / "model.safetensors").read_bytes() == weights


def test_quickstart_keeps_its_hands_off_a_folder_of_other_things(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "thesis.txt").write_text("mine")
    code, _, err = in_process(capsys, "quickstart", "--out", tmp_path, "--images", "8,8")
    assert code == 2
    assert "holds other files" in err
    assert [path.name for path in tmp_path.rglob("*")] == ["data", "thesis.txt"]
