"""The JSON interface: the answers are the localizer's, and whatever is wrong is one line with the right status."""

from __future__ import annotations

import base64
import csv
import io
import json
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from app_helpers import CLASSES, THRESHOLD, encoded, picture
from PIL import Image
from starlette.testclient import TestClient

from cdtr.api import Localizer
from cdtr.app.examples import Examples
from cdtr.app.limits import Limits
from cdtr.formats import format_names
from cdtr.localization.boxes import to_uint8
from cdtr.localization.presence import EmptyClasses

PHOTO = encoded(picture())


def localize(client: TestClient, content: bytes = PHOTO, name: str = "a.png", **fields: object) -> Any:
    answer = client.post("/api/localize", files={"image": (name, content)}, data=fields)
    assert answer.status_code == 200, answer.text
    return answer.json()


def grey(encoded_map: dict[str, Any]) -> np.ndarray:
    return np.asarray(Image.open(BytesIO(base64.b64decode(encoded_map["base64"]))))


def test_the_run_says_what_it_is(client: TestClient) -> None:
    info = client.get("/api/run").json()
    assert info["run"] == "animals"
    assert info["class_names"] == list(CLASSES)
    assert info["threshold"] == THRESHOLD
    assert info["scored"] is True
    assert info["formats"] == format_names()
    assert len(info["colours"]) == 256


@pytest.mark.parametrize("fields", [{}, {"threshold": 0.7}, {"multi": True, "min_area": 0}, {"label": "emu"}])
def test_answers_are_the_localizers(client: TestClient, localizer: Localizer, fields: dict[str, Any]) -> None:
    found = localize(client, **fields)
    asked = dict(fields)
    label = CLASSES.index(asked.pop("label")) if "label" in asked else None
    if "min_area" in asked:
        asked["min_area_share"] = asked.pop("min_area")
    ((_, wanted),) = localizer.stream([("a.png", picture())], label=label, **asked)
    assert [box["xyxy"] for box in found["boxes"]] == wanted.boxes_xyxy.tolist()
    assert [box["label"] for box in found["boxes"]] == [CLASSES[index] for index in wanted.labels]
    assert [box["score"] for box in found["boxes"]] == pytest.approx(wanted.scores.tolist(), abs=1e-5)
    assert wanted.doubts is not None
    assert [tuple(box["doubts"]) for box in found["boxes"]] == list(wanted.doubts)
    assert list(found["probabilities"].values()) == pytest.approx(wanted.class_probs.tolist(), abs=1e-5)
    assert found["threshold"] == fields.get("threshold", THRESHOLD)
    assert found["map_label"] == CLASSES[wanted.map_label]
    assert found["empty"] is False
    assert found["object_probability"] is None
    assert found["width"] == 90
    assert found["height"] == 60
    assert found["map"] is None
    assert found["picture"] is None


def test_the_map_is_the_one_that_boxes_are_searched_in(client: TestClient, localizer: Localizer) -> None:
    found = localize(client, map=True, picture=True, label="dog")
    ((_, wanted),) = localizer.stream([("a.png", picture())], label=1)
    np.testing.assert_array_equal(grey(found["map"]), to_uint8(wanted.map))
    assert Image.open(BytesIO(base64.b64decode(found["picture"]["base64"]))).size == (90, 60)


def test_maps_of_large_images_are_scaled_down(client: TestClient) -> None:
    found = localize(client, encoded(picture(size_wh=(2048, 300))), map=True, picture=True)
    assert grey(found["map"]).shape == (150, 1024)
    assert found["picture"]["width"] == 1024
    assert found["picture"]["height"] == 150
    assert found["width"] == 2048


def test_labels_change_boxes_and_score(client: TestClient) -> None:
    boxes = {name: localize(client, label=name)["boxes"] for name in CLASSES}
    assert len({json.dumps(found) for found in boxes.values()}) == len(CLASSES)
    assert all(box["label"] == name for name, found in boxes.items() for box in found)


def test_a_name_of_another_type_does_not_matter(client: TestClient) -> None:
    assert localize(client, encoded(picture(), "BMP"), "a.txt")["width"] == 90


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "WEBP"])
def test_of_several_frames_the_first_is_taken_and_told(client: TestClient, kind: str) -> None:
    several = encoded(picture(), kind, save_all=True, append_images=[picture(2)], lossless=True)
    found = localize(client, several, f"a.{kind.lower()}")
    assert "first" in found["note"]
    assert found["boxes"] == localize(client, encoded(picture(), kind, lossless=True))["boxes"]


def test_exif_rotation_is_applied(client: TestClient) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    found = localize(client, encoded(picture(), "JPEG", exif=exif))
    assert found["width"] == 60
    assert found["height"] == 90


def _huge() -> bytes:
    return encoded(Image.new("1", (9000, 9000)))


BAD: dict[str, tuple[Callable[[], bytes], int, str]] = {
    "zero bytes": (lambda: b"", 400, "a.jpg is empty"),
    "text": (lambda: b"no image at all", 415, "a.jpg holds no image: expected JPEG"),
    "a format that is not taken": (lambda: encoded(picture(), "ICO"), 415, "holds no image"),
    "vector graphics": (lambda: b"<svg xmlns='http://www.w3.org/2000/svg'/>", 415, "holds no image"),
    "cut short": (lambda: PHOTO[: len(PHOTO) // 2], 422, "cannot be decoded"),
    "huge": (_huge, 413, "9000 x 9000 pixels, more than the 25 megapixels"),
    "a bomb": (lambda: encoded(Image.new("1", (30000, 30000))), 413, "megapixels"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_images_get_one_line(client: TestClient, case: str) -> None:
    make, status, words = BAD[case]
    answer = client.post("/api/localize", files={"image": ("a.jpg", make())})
    assert answer.status_code == status
    assert words in answer.json()["detail"]
    assert "\n" not in answer.json()["detail"]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"threshold": 1}, "threshold: Input should be less than 1"),
        ({"threshold": "nan"}, "threshold:"),
        ({"threshold": "high"}, "threshold: Input should be a valid number"),
        ({"label": "cats"}, "no class 'cats', did you mean 'cat'?"),
        ({"label": "zebra"}, "expected one of its 3 class names"),
        ({"min_area": 2}, "min_area:"),
        ({"label": ""}, "label is empty"),
    ],
)
def test_bad_settings_get_one_line(client: TestClient, fields: dict[str, object], words: str) -> None:
    answer = client.post("/api/localize", files={"image": ("a.png", PHOTO)}, data=fields)
    assert answer.status_code == 422
    assert words in answer.json()["detail"]


@pytest.mark.parametrize(
    "name",
    ["../a.png", "/a.png", "a/../../b.png", "x" * 300, "C:/a.png", "c:a.png", "x/C:/a.png", "//host/share/a.png"],
)
def test_names_that_leave_the_folder_are_refused(client: TestClient, name: str) -> None:
    answer = client.post("/api/localize", files={"image": (name, PHOTO)})
    assert answer.status_code == 422
    assert "expected a file name" in answer.json()["detail"]


def test_an_image_must_come(client: TestClient) -> None:
    answer = client.post("/api/localize")
    assert answer.status_code == 422
    assert answer.json() == {"detail": "image: Field required"}


def test_export_of_one_format_is_its_file(client: TestClient) -> None:
    answer = client.post("/api/export", files={"images": ("a.png", PHOTO)}, data={"format": "coco"})
    assert answer.headers["content-disposition"] == 'attachment; filename="coco.json"'
    (annotation,) = answer.json()["annotations"]
    x0, y0, x1, y1 = localize(client)["boxes"][0]["xyxy"]
    assert annotation["bbox"] == [x0, y0, x1 - x0, y1 - y0]


def test_export_of_every_format_is_a_zip(client: TestClient) -> None:
    files = [("images", ("x/a.png", PHOTO)), ("images", ("y/a.png", encoded(picture(2)))), ("images", ("t.png", b"no"))]
    answer = client.post("/api/export", files=files, data={"format": ",".join(format_names())})
    assert answer.status_code == 200, answer.text
    packed = zipfile.ZipFile(BytesIO(answer.content))
    names = set(packed.namelist())
    assert {"coco.json", "coco_results.json", "coco_rle.json", "boxes.csv", "cvat.xml", "review.csv"} <= names
    assert {"yolo/labels/train/x/a.txt", "yolo/labels/train/y/a.txt", "voc/Annotations/x/a.xml"} <= names
    assert {"masks/SegmentationClass/x/a.png", "label_studio/tasks.json", "fiftyone/labels.json"} <= names
    assert [image["file_name"] for image in json.loads(packed.read("coco.json"))["images"]] == ["x/a.png", "y/a.png"]
    rows = list(csv.reader(io.StringIO(packed.read("left_out.csv").decode())))
    assert rows[1][0] == "t.png"
    assert "holds no image" in rows[1][1]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"format": "cocoa"}, "unknown format 'cocoa', did you mean 'coco'?"),
        ({"format": "coco,"}, "unknown format ''"),
        ({"format": ""}, "format is empty: give a value, or leave it out"),
    ],
)
def test_formats_that_are_none(client: TestClient, fields: dict[str, str], words: str) -> None:
    answer = client.post("/api/export", files={"images": ("a.png", PHOTO)}, data=fields)
    assert answer.status_code == 422
    assert words in answer.json()["detail"]


def test_export_without_a_good_image_is_an_error(client: TestClient) -> None:
    files = [("images", ("a.png", b"no")), ("images", ("b.png", b"no"))]
    answer = client.post("/api/export", files=files)
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith("none of the 2 images could be read; the first: a.png holds no image")


def test_a_run_without_scores_has_no_review(run: Path, tmp_path: Path) -> None:
    from cdtr.app.server import create_app

    plain = Localizer.from_pretrained(run, "cpu")
    plain.quality = None
    with TestClient(create_app(plain, "plain")) as client:
        assert "review" not in client.get("/api/run").json()["formats"]
        found = localize(client)
        assert found["scored"] is False
        assert found["boxes"][0]["doubts"] is None
        answer = client.post("/api/export", files={"images": ("a.png", PHOTO)}, data={"format": "review"})
        assert answer.status_code == 422
        assert "no calibrated scores" in answer.json()["detail"]


def test_examples_are_asked_for_by_number(make_client: Callable[..., TestClient], tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "b.png").write_bytes(PHOTO)
    (tmp_path / "a10.png").write_bytes(b"broken")
    (tmp_path / "a9.png").write_bytes(encoded(picture(3, (400, 300))))
    (tmp_path / "out.png").symlink_to("/etc/hostname")  # the server follows no link that leaves the folder
    client = make_client(examples=Examples(tmp_path))
    assert client.get("/api/run").json()["examples"] == ["a9.png", "a10.png", "deep/b.png"]
    whole = client.get("/api/examples/2")
    assert whole.content == PHOTO
    assert whole.headers["content-type"] == "image/png"
    small = client.get("/api/examples/0/thumbnail")
    assert Image.open(BytesIO(small.content)).size == (160, 120)
    assert client.get("/api/examples/1").status_code == 415
    assert client.get("/api/examples/1/thumbnail").status_code == 422
    assert client.get("/api/examples/9").json()["detail"].startswith("no example 9")
    assert client.get("/api/examples/x").status_code == 422


def test_without_examples_there_are_none(client: TestClient) -> None:
    assert client.get("/api/run").json()["examples"] == []
    assert client.get("/api/examples/0").status_code == 404


def test_faults_are_one_line_too(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: object, **_more: object) -> None:
        raise RuntimeError("no such luck")

    monkeypatch.setattr(client.app.state.service.worker.localizer, "stream", fail)  # type: ignore[attr-defined]
    answer = client.post("/api/localize", files={"image": ("a.png", PHOTO)})
    assert answer.status_code == 500
    assert answer.json()["detail"].startswith("RuntimeError, a fault of the server")


def test_page_and_documentation_name_no_other_host(client: TestClient) -> None:
    for address in ("/", "/docs", "/page/main.js", "/page/style.css"):
        answer = client.get(address)
        assert answer.status_code == 200
        assert "://" not in answer.text.replace("http://127.0.0.1", "")
        assert "default-src" in answer.headers["content-security-policy"]
    paths = client.get("/openapi.json").json()["paths"]
    assert {"/api/localize", "/api/export", "/api/batches/{batch}/images"} <= set(paths)
    assert client.get("/redoc").status_code == 404


def test_limits_are_told(make_client: Callable[..., TestClient]) -> None:
    info = make_client(limits=Limits(upload_bytes=1000, pixels=2000, images=3)).get("/api/run").json()
    assert info["upload_bytes"] == 1000
    assert info["pixels"] == 2000
    assert info["images"] == 3


def test_an_image_of_a_class_without_an_object_gets_no_box(client: TestClient, localizer: Localizer) -> None:
    probabilities = localize(client)["probabilities"]
    best = max(probabilities, key=lambda name: probabilities[name])
    localizer.empty = EmptyClasses((CLASSES.index(best),))
    try:
        found, other = localize(client), localize(client, label=min(CLASSES, key=lambda name: name == best))
    finally:
        localizer.empty = None
    assert found["empty"] is True
    assert found["boxes"] == []
    assert found["map_label"] == best
    assert found["object_probability"] == pytest.approx(1 - probabilities[best], abs=1e-5)
    assert other["empty"] is False
    assert len(other["boxes"]) == 1
