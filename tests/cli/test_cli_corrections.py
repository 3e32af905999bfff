"""Boxes on their way into the tools and back: localize with every format, a review, import-corrections."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from cli_helpers import in_process, run_cdtr
from PIL import Image

from cdtr.formats import find_exporter, format_names

NAMES = ("a.jpg", "a.png", "day 1/a.jpg", "day 2/a.jpg", "Ünï 图/é & <b>.jpg", "deep/er/100%.jpg")
MOVED, DELETED, ADDED, UNSEEN = NAMES[2], NAMES[1], NAMES[4], NAMES[5]
FORMATS = [name for name in format_names() if name != "review"]


@pytest.fixture(scope="module")
def photos(neu: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real images under hostile names, and what has to be left out."""
    root = tmp_path_factory.mktemp("all") / "photos & co"
    for number, (name, image) in enumerate(zip(NAMES, sorted((neu / "IMAGES").iterdir())[::9], strict=False)):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.open(image).convert("RGB").resize((200 + 10 * number, 180)).save(root / name)
    (root / "text.jpg").write_text("no image")
    (root / "two\nlines.jpg").write_bytes((root / NAMES[0]).read_bytes())
    Path(os.fsdecode(os.fsencode(root) + b"/not \xff UTF-8.jpg")).write_bytes((root / NAMES[0]).read_bytes())
    return root


@pytest.fixture(scope="module")
def localized(calibrated: tuple[Path, str], photos: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    out = tmp_path_factory.mktemp("out") / "boxes"
    done = run_cdtr("localize", calibrated[0], photos, "--out", out, "--format", ",".join(FORMATS))
    assert done.returncode == 0, done.stderr
    for shown in (r"'two\nlines.jpg'", r"'not \udcff UTF-8.jpg'", "left out text.jpg"):
        assert shown in done.stderr
    return out, done.stdout


def test_localize_writes_every_format_for_names_of_any_kind(localized: tuple[Path, str]) -> None:
    out, printed = localized
    for name in FORMATS:
        path = out / find_exporter(name).file_name
        assert path.exists()
        assert f"wrote {path}" in printed
    assert "3 could not be read" in printed
    assert not [path for path in out.rglob("*") if path.name.endswith((".tmp", ".old"))]
    assert {image["file_name"] for image in json.loads((out / "coco.json").read_text())["images"]} == set(NAMES)
    assert len(list((out / "yolo" / "labels").rglob("*.txt"))) == len(NAMES)
    assert len(list((out / "voc" / "Annotations").rglob("*.xml"))) == len(NAMES)
    assert len(list((out / "masks" / "SegmentationClass").rglob("*.png"))) == len(NAMES)
    assert len(list((out / "yolo" / "images").rglob("*.*g"))) == len(NAMES)


def label_studio(out: Path, target: Path, other: str) -> Path:
    tasks = json.loads((out / "label_studio" / "tasks.json").read_text(encoding="utf-8"))
    for number, task in enumerate(tasks):
        task["id"] = number
        regions = copy.deepcopy(task["predictions"][0]["result"])
        image_id = task["data"]["image_id"]
        if image_id == MOVED:
            regions[0]["value"]["width"] /= 2
        if image_id == DELETED:
            regions.clear()
        if image_id == ADDED:
            value = {"x": 1, "y": 2, "width": 3, "height": 4, "rotation": 0, "rectanglelabels": [other]}
            regions.append({**regions[0], "id": "Xy12", "value": value})
        task["annotations"] = [] if image_id == UNSEEN else [{"id": number, "was_cancelled": False, "result": regions}]
    target = target / "ls.json"
    target.write_text(json.dumps(tasks), encoding="utf-8")
    return target


def coco(out: Path, target: Path, other: str) -> Path:
    tree = json.loads((out / "coco.json").read_text(encoding="utf-8"))
    tree["images"] = [image for image in tree["images"] if image["file_name"] != UNSEEN]
    ids = {image["file_name"]: image["id"] for image in tree["images"]}
    known = set(ids.values())
    tree["annotations"] = [one for one in tree["annotations"] if one["image_id"] in known - {ids[DELETED]}]
    for one in tree["annotations"]:
        if one["image_id"] == ids[MOVED]:
            one["bbox"][2] /= 2
    label = next(category["id"] for category in tree["categories"] if category["name"] == other)
    tree["annotations"].append({"id": 999, "image_id": ids[ADDED], "category_id": label, "bbox": [2.4, 3.6, 7, 7]})
    target = target / "coco reviewed.json"
    target.write_text(json.dumps(tree), encoding="utf-8")
    return target


def cvat(out: Path, target: Path, other: str) -> Path:
    tree = ElementTree.parse(out / "cvat.xml")
    for image in tree.findall("image"):
        boxes = image.findall("box")
        if image.get("name") == UNSEEN:
            tree.getroot().remove(image)
        if image.get("name") == MOVED:
            left, right = float(boxes[0].get("xtl", "")), float(boxes[0].get("xbr", ""))
            boxes[0].set("xbr", str(left + (right - left) / 2))
        if image.get("name") == DELETED:
            image.remove(boxes[0])
        if image.get("name") == ADDED:
            ElementTree.SubElement(image, "box", {"label": other, "xtl": "2", "ytl": "3", "xbr": "9", "ybr": "10"})
    target = target / "cvat reviewed.xml"
    tree.write(target, encoding="utf-8")
    return target


@pytest.mark.parametrize("source", [label_studio, coco, cvat])
@pytest.mark.parametrize("reference", ["", "boxes.csv", "cvat.xml", "label_studio/tasks.json"])
def test_a_review_is_counted_right(
    source: Callable[[Path, Path, str], Path],
    reference: str,
    localized: tuple[Path, str],
    calibrated: tuple[Path, str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = localized[0]
    ours = json.loads((out / "coco.json").read_text(encoding="utf-8"))
    names = {category["id"]: category["name"] for category in ours["categories"]}
    labels = {
        image["file_name"]: [names[one["category_id"]] for one in ours["annotations"] if one["image_id"] == image["id"]]
        for image in ours["images"]
    }
    assert all(len(found) == 1 for found in labels.values())  # one box an image, so that the counts below are right
    other = next(name for name in names.values() if name not in labels[ADDED])
    file, report, reviewed = source(out, tmp_path, other), tmp_path / "n.json", tmp_path / "reviewed.json"
    asked = ("import-corrections", file, "--boxes", out / reference, "--run", calibrated[0])
    code, printed, err = in_process(capsys, *asked, "--json", report, "--out", reviewed)
    assert code == 0, err
    assert "5 images reviewed, 1 not" in printed
    found: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))
    assert found["images"] == {"reviewed": 5, "not_reviewed": 1, "unknown": 0}
    assert found["total"] == {
        "boxes": 5, "kept": 3, "moved": 1, "relabelled": 0, "deleted": 1, "added": 1, "accept_rate": 60.0,
    }  # fmt: skip
    for change, (image, kind, label) in zip(
        sorted(found["changes"], key=lambda change: change["kind"]),
        [(ADDED, "added", other), (DELETED, "deleted", labels[DELETED][0]), (MOVED, "moved", labels[MOVED][0])],
        strict=True,
    ):
        assert change["image"] == image
        assert change["kind"] == kind
        assert (change["ours"] or change["theirs"])["label"] == label
        assert found["classes"][label][kind] >= 1
    written = json.loads(reviewed.read_text(encoding="utf-8"))
    assert {image["file_name"] for image in written["images"]} == set(NAMES) - {UNSEEN}
    assert len(written["annotations"]) == 5
    assert f"cdtr calibrate {calibrated[0]} --data DATA --split SPLIT --boxes {reviewed}" in printed
    assert "SPLIT below is the split of DATA" in err


def test_an_untouched_review_accepts_everything(localized: tuple[Path, str], tmp_path: Path) -> None:
    out = localized[0]
    done = run_cdtr("import-corrections", out / "cvat.xml", "--boxes", out, "--json", tmp_path / "n.json")
    assert done.returncode == 0, done.stderr
    total = json.loads((tmp_path / "n.json").read_text())["total"]
    assert total["kept"] == 6
    assert total["boxes"] == 6
    assert total["added"] == 0
    assert total["accept_rate"] == 100
    assert "accepted" in done.stdout


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace('name="a.jpg"', 'name="../../etc/a.jpg"'), "points outside the folder"),
        (lambda text: text.replace(' label="', ' label="un'), "none of the classes"),
        (lambda text: text.replace("<annotations>", '<!DOCTYPE x [<!ENTITY y "z">]><annotations>'), "CVAT XML"),
        (lambda text: text.replace("a.jpg", "z.jpg").replace("a.png", "z.png"), None),
        (lambda text: "{" + text, "COCO JSON"),
    ],
    ids=["path", "label", "entity", "names of none", "no JSON"],
)
def test_hostile_corrections_are_one_line(
    change: Callable[[str], str],
    message: str | None,
    localized: tuple[Path, str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = localized[0]
    file = tmp_path / "x.xml"
    file.write_text(change((out / "cvat.xml").read_text(encoding="utf-8")), encoding="utf-8")
    report = tmp_path / "n.json"
    code, printed, err = in_process(capsys, "import-corrections", file, "--boxes", out, "--json", report)
    if message is None:
        assert code == 0
        assert "in the file are none of ours" in printed
        return
    assert code == 2
    assert message in err
    assert err.count("\n") == 1
    assert not report.exists()


def test_out_has_to_be_json(localized: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = localized[0]
    code, _, err = in_process(
        capsys, "import-corrections", out / "cvat.xml", "--boxes", out, "--out", tmp_path / "reviewed.csv"
    )
    assert code == 2, err
    assert "ends with .json" in err


def test_a_folder_of_somebody_else_is_not_replaced(
    tiny_run: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out" / "yolo").mkdir(parents=True)
    (tmp_path / "out" / "yolo" / "thesis.txt").write_text("mine")
    asked = "localize", tiny_run, photos, "--out", tmp_path / "out", "--format", "coco,yolo"
    for more, reason in (((), "is there already"), (("--overwrite",), "holds something else")):
        code, _, err = in_process(capsys, *asked, *more)
        assert code == 2, err
        assert reason in err
    assert [path.name for path in (tmp_path / "out").rglob("*")] == ["yolo", "thesis.txt"]
