"""`cdtr report`: one page that stands alone, whatever of data, boxes and calibration there is."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from cli_helpers import in_process, run_cdtr

from cdtr.runs import RunFolder
from cdtr.workflows.report import rebuild_start
from oracles.web_page import check_page


def test_report_end_to_end(
    calibrated: tuple[Path, str], neu: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Path(shutil.copytree(calibrated[0], tmp_path / "run"))  # other tests measure the shared one differently
    (run / "scores.json").unlink(missing_ok=True)
    numbers = tmp_path / "numbers.json"
    code, _, err = in_process(capsys, "evaluate", run, "--data", neu, "--json", numbers)
    assert code == 0, err
    done = run_cdtr("report", run, "--out", tmp_path / "page.html", "--images", 2)  # where the data lay it knows itself
    assert done.returncode == 0, done.stderr
    assert f"wrote {tmp_path / 'page.html'}" in done.stdout
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert len(text) < 3_000_000
    page = check_page(text)
    pictures = [one["src"].partition(";")[0] for one in page.all("img")]
    assert pictures.count("data:image/jpeg") == 5 * 2 * 4 + 3 * 4
    measured = json.loads(numbers.read_text())
    for key in ("gt_known_loc", "top1_loc", "top1_cls", "max_box_acc"):
        assert f"{measured['metrics'][key]:.1f}" in page.text
    assert f"{measured['baselines']['centre_box']['gt_known_loc']:.1f}" in page.text
    for name in RunFolder(run).class_names():
        assert name in page.text
    assert "novel: no class is recognised" in page.text
    for kind, share in measured["errors"].items():
        assert f"{share['percent']:.1f}" in page.text, kind
    assert "random weights, built again with the run's seed (0)" in page.text
    assert "attention outside, before training" in page.text
    assert "Measured before" not in page.text, "what evaluate kept is what the page measures"
    names = {one.get("alt", "").partition(" over ")[2] for one in page.all("img")}
    assert any(name.startswith("IMAGES/") for name in names)


def test_data_without_boxes_and_run_without_threshold(
    uncalibrated: Path, neu: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for image in sorted((neu / "IMAGES").iterdir())[::2]:
        target = tmp_path / "sorted" / "val" / image.stem.rpartition("_")[0] / image.name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(image.read_bytes())
    code, _, err = in_process(
        capsys, "report", uncalibrated, "--data", tmp_path / "sorted", "--out", tmp_path / "page.html", "--images", "1"
    )
    assert code == 0, err
    page = check_page((tmp_path / "page.html").read_text(encoding="utf-8"))
    assert "These images have no boxes, so only their classes are measured" in page.text
    assert "at 0.2 of the map's maximum" in page.text
    assert f"Needs true boxes of the images: cdtr report {uncalibrated} --data DATA --boxes FILE" in page.text
    assert "not known here" not in page.text
    assert "GT-known" not in page.text
    assert sum(one["src"].startswith("data:image/jpeg") for one in page.all("img")) == 5


def test_without_the_images_the_page_has_what_the_run_holds(
    calibrated: tuple[Path, str], neu: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "moved"
    shutil.copytree(calibrated[0], run)
    code, _, err = in_process(capsys, "evaluate", run, "--data", neu)
    assert code == 0, err
    manifest = json.loads((run / "manifest.json").read_text())
    manifest["data"]["root"] = str(tmp_path / "gone")
    (run / "manifest.json").write_text(json.dumps(manifest))
    code, out, err = in_process(capsys, "report", run)
    assert code == 0, err
    assert f"no images: its data is no longer in {tmp_path / 'gone'}" in err
    assert f"wrote {run / 'report.html'}" in out
    page = check_page((run / "report.html").read_text(encoding="utf-8"))
    assert "No image was looked at for this report" in page.text
    assert "Measured before on val of neu_det, protocol wsol" in page.text
    assert "Where it was chosen: 12 held-out training images" in page.text
    assert "class of held-out training images right" in page.text
    assert not [one for one in page.all("img") if one["src"].startswith("data:image/jpeg")]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--data", "{tmp}/nowhere"), "no folder"),
        (("--out", "{tmp}"), "is a folder: name the file"),
        (("--split", "third"), "has no split 'third'"),
        (("--images", "0"), "--images"),
        (("--device", "abacus"), "no device 'abacus'"),
    ],
    ids=["data", "out", "split", "images", "device"],
)
def test_bad_input_is_one_line_and_no_page(
    calibrated: tuple[Path, str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, str],
    message: str,
) -> None:
    words = [word.format(tmp=tmp_path) for word in arguments]
    out = () if "--out" in words else ("--out", tmp_path / "page.html")
    code, _, err = in_process(capsys, "report", calibrated[0], *words, *out)
    assert code == 2
    assert message in err
    assert not list(tmp_path.iterdir())


def test_scores_of_images_that_the_threshold_was_chosen_on_are_marked(
    calibrated: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.html"
    code, _, err = in_process(capsys, "report", calibrated[0], "--split", "held-out", "--images", "1", "--out", page)
    assert code == 0, err
    assert "The map threshold was chosen on images that are scored here" in check_page(page.read_text()).text


def test_names_cannot_become_markup(
    calibrated: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "<b onclick=x>"
    shutil.copytree(calibrated[0], run)
    manifest = json.loads((run / "manifest.json").read_text())
    manifest["data"]["root"] = "/<script src=http://x></script>"
    (run / "manifest.json").write_text(json.dumps(manifest))
    code, _, err = in_process(capsys, "report", run)
    assert code == 0, err
    page = check_page((run / "report.html").read_text(encoding="utf-8"))
    assert "/<script src=http://x></script>" in page.text
    assert "Report of <b onclick=x>" in page.text


def test_a_start_that_cannot_be_had_is_said(tiny_run: Path, tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    shutil.copytree(tiny_run, run.path)
    manifest = run.manifest()
    for changes, had, message in (
        ({}, True, "random weights, built again with the run's seed (0)"),
        ({"versions": {**manifest["versions"], "timm": "0.3.2"}}, True, "the run was trained with timm 0.3.2, now"),
        ({"started_from": {"file": "/gone.safetensors", "sha256": "0"}}, False, "no longer in /gone.safetensors"),
        ({"imported": {"file": "CDTR.pth", "sha256": "0", "model": "CDTR"}}, False, "as the weights were imported"),
    ):
        run.manifest_file.write_text(json.dumps({**manifest, **changes}))
        method, said = rebuild_start(run)
        assert (method is not None) == had
        assert message in said
