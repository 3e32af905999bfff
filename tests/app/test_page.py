"""The page in a real browser, served by the real command line."""

from __future__ import annotations

import csv
import io
import json
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from app_helpers import CLASSES, encoded, picture
from serving import open_browser, serve

from cdtr.api import Localizer
from cdtr.localization.boxes import component_boxes, largest_box, to_uint8
from cdtr.localization.maps import normalise_maps

expect = pytest.importorskip("playwright.sync_api", reason="no playwright: pip install '.[dev]'").expect

WAIT_MS = 10_000
_DROP = """
([names, contents]) => {
  const transfer = new DataTransfer();
  names.forEach((name, index) => transfer.items.add(new File([Uint8Array.from(contents[index])], name)));
  for (const kind of ["dragenter", "dragover", "drop"]) {
    document.body.dispatchEvent(new DragEvent(kind, { bubbles: true, cancelable: true, dataTransfer: transfer }));
  }
}
"""
_SLIDE = """
(slider, [value, kinds]) => {
  slider.value = value;
  for (const kind of kinds) slider.dispatchEvent(new Event(kind, { bubbles: true }));
}
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with open_browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("examples")
    for number in (1, 2, 3):
        (folder / f"{number}.png").write_bytes(encoded(picture(number, (160, 120))))
    return folder


@pytest.fixture(scope="module")
def address(run: Path, examples: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    limits = ("--max-upload", 1, "--max-images", 30)
    with serve(run, "--examples", examples, *limits, temporary=tmp_path_factory.mktemp("tmp")) as (found, _):
        yield found


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    """A page that was loaded; afterwards nothing may have gone wrong in it, and nothing been asked of another host."""
    context = browser.new_context(accept_downloads=True)
    opened = context.new_page()
    opened.set_default_timeout(WAIT_MS)
    asked: list[str] = []
    faults: list[str] = []
    opened.on("request", lambda request: asked.append(request.url))
    opened.on("pageerror", lambda error: faults.append(str(error)))
    opened.on("console", lambda message: faults.append(message.text) if "Content Security" in message.text else None)
    opened.goto(address)
    opened.wait_for_selector("#formats input")
    yield opened
    context.close()
    assert faults == []
    assert [url for url in asked if not url.startswith((address, "blob:", "data:"))] == []


def drop(page: Any, *files: tuple[str, bytes]) -> None:
    page.evaluate(_DROP, [[name for name, _ in files], [list(content) for _, content in files]])


def slide(page: Any, name: str, value: float, *kinds: str) -> None:
    page.locator(f"#{name}").evaluate(_SLIDE, [str(value), list(kinds)])


def shown_box(page: Any) -> str:
    return str(page.locator("#boxes .where").first.inner_text())


def wait_for_score(page: Any) -> None:
    page.wait_for_selector("#boxes:not(.waiting) .score")


def words(box_xyxy: np.ndarray) -> str:
    x0, y0, x1, y1 = (round(float(value)) for value in box_xyxy)
    return f"x {x0} to {x1}, y {y0} to {y1} ({x1 - x0} × {y1 - y0} pixels)"


def test_a_dropped_image_is_found_and_the_slider_moves_its_box(page: Any, localizer: Localizer) -> None:
    drop(page, ("holiday.png", encoded(picture(4))))
    wait_for_score(page)
    ((_, wanted),) = localizer.stream([("holiday.png", picture(4))])
    assert shown_box(page) == words(wanted.boxes_xyxy[0])
    assert page.inner_text("#name") == "holiday.png"
    assert f"review score {round(100 * float(wanted.scores[0]))}%" in page.inner_text("#boxes")
    assert wanted.doubts is not None
    assert all(doubt in page.inner_text("#boxes") for doubt in wanted.doubts[0])
    assert ("Doubts" in page.inner_text("#boxes")) == (wanted.scores[0] < 0.9)
    assert page.locator("#canvas").get_attribute("aria-label").startswith("holiday.png with its heat map")

    before = page.locator("#canvas").evaluate("canvas => canvas.toDataURL()")
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url))
    slide(page, "threshold", 0.8, "input")
    at_once = shown_box(page)
    assert sent == []  # the box has moved before the server was asked
    ((_, wanted),) = localizer.stream([("holiday.png", picture(4))], threshold=0.8)
    assert at_once == words(wanted.boxes_xyxy[0])
    slide(page, "threshold", 0.8, "change")
    wait_for_score(page)
    assert shown_box(page) == at_once
    assert f"review score {round(100 * float(wanted.scores[0]))}%" in page.inner_text("#boxes")
    assert page.locator("#canvas").evaluate("canvas => canvas.toDataURL()") != before

    page.click("#reset")
    wait_for_score(page)
    assert page.inner_text("#threshold-value") == "0.40"


def test_the_heat_map_fades_without_asking(page: Any) -> None:
    drop(page, ("a.png", encoded(picture(5))))
    wait_for_score(page)
    pictures = []
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url))
    for opacity in (0, 0.5, 1):
        slide(page, "opacity", opacity, "input")
        pictures.append(page.locator("#canvas").evaluate("canvas => canvas.toDataURL()"))
    assert len(set(pictures)) == 3
    assert sent == []


def test_another_class_and_all_regions(page: Any, localizer: Localizer) -> None:
    drop(page, ("a.png", encoded(picture(6))))
    wait_for_score(page)
    for label, name in enumerate(CLASSES):
        page.select_option("#label", name)
        expect(page.locator("#boxes .head").first).to_contain_text(name)
        wait_for_score(page)
        ((_, wanted),) = localizer.stream([("a.png", picture(6))], label=label)
        assert shown_box(page) == words(wanted.boxes_xyxy[0])
    page.check("#multi")
    slide(page, "threshold", 0.3, "input", "change")
    at_once = page.locator("#boxes .where").all_inner_texts()
    wait_for_score(page)
    ((_, wanted),) = localizer.stream([("a.png", picture(6))], label=2, multi=True, threshold=0.3)
    assert page.locator("#boxes .where").all_inner_texts() == at_once == [words(box) for box in wanted.boxes_xyxy]


def test_boxes_are_downloaded_as_coco(page: Any, localizer: Localizer, tmp_path: Path) -> None:
    drop(page, ("a.png", encoded(picture(7))))
    wait_for_score(page)
    slide(page, "threshold", 0.6, "input", "change")
    wait_for_score(page)
    page.select_option("#format", "coco")
    with page.expect_download() as downloading:
        page.click("#download")
    assert downloading.value.suggested_filename == "coco.json"
    downloading.value.save_as(tmp_path / "coco.json")
    tree = json.loads((tmp_path / "coco.json").read_text())
    ((_, wanted),) = localizer.stream([("a.png", picture(7))], threshold=0.6)
    x0, y0, x1, y1 = wanted.boxes_xyxy[0].tolist()
    assert tree["annotations"][0]["bbox"] == [x0, y0, x1 - x0, y1 - y0]
    assert tree["images"][0]["file_name"] == "a.png"


def test_a_folder_is_sent_with_progress_and_comes_back_as_a_zip(page: Any, tmp_path: Path) -> None:
    photos = tmp_path / "photos" / "deep"
    photos.mkdir(parents=True)
    for number in range(1, 20):
        (photos / f"{number}.png").write_bytes(encoded(picture(number)))
    (photos / "10.png").write_bytes(b"no image")
    page.evaluate(
        """() => {
          window.seen = [];
          const bar = document.getElementById("progress");
          new MutationObserver(() => window.seen.push(bar.value)).observe(bar, { attributes: true });
        }"""
    )
    page.set_input_files("#folder", tmp_path / "photos")
    assert page.inner_text("#chosen") == "19 files chosen"
    page.uncheck("#formats input[value=yolo]")
    page.check("#formats input[value=csv]")
    with page.expect_download() as downloading:
        page.click("#start")
    expect(page.locator("#state")).to_have_text("18 boxes in 18 images")
    assert {8, 16, 19} <= set(page.evaluate("window.seen"))
    assert page.inner_text("#left-out summary") == "1 left out"
    downloading.value.save_as(tmp_path / "boxes.zip")
    packed = zipfile.ZipFile(tmp_path / "boxes.zip")
    assert set(packed.namelist()) == {".cdtr-written.json", "boxes.csv", "coco.json", "left_out.csv"}
    rows = list(csv.reader(io.StringIO(packed.read("boxes.csv").decode())))[1:]
    assert [row[0] for row in rows] == [f"photos/deep/{number}.png" for number in range(1, 20) if number != 10]


def test_several_dropped_images_go_to_the_batch(page: Any) -> None:
    drop(page, *((f"{number}.png", encoded(picture(number))) for number in range(3)))
    expect(page.locator("#chosen")).to_have_text("3 files chosen")
    with page.expect_download() as downloading:
        page.click("#start")
    assert downloading.value.suggested_filename == "boxes.zip"


def test_too_many_files_are_not_sent(page: Any) -> None:
    drop(page, *((f"{number}.png", b"x") for number in range(31)))
    page.wait_for_selector("#batch-error:not([hidden])")
    assert page.inner_text("#batch-error") == "31 files: at most 30 at once"
    assert page.locator("#start").is_disabled()


def test_examples_are_walked_through(page: Any) -> None:
    for button, name, place in (
        ("#next", "1.png", "1 of 3"),
        ("#next", "2.png", "2 of 3"),
        ("#previous", "1.png", "1 of 3"),
        ("#previous", "3.png", "3 of 3"),
    ):
        page.click(button)
        expect(page.locator("#name")).to_have_text(name)
        assert page.inner_text("#place") == place
    page.click("#strip button:nth-child(2)")
    expect(page.locator("#name")).to_have_text("2.png")


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"text", "a.jpg holds no image"), (b"", "a.jpg is empty"), (b"x" * 2**21, "2.0 MiB, more than the 1 MiB taken")],
    ids=["text", "empty", "large"],
)
def test_a_bad_image_is_one_line_on_the_page(page: Any, content: bytes, message: str) -> None:
    page.set_input_files("#file", {"name": "a.jpg", "mimeType": "image/jpeg", "buffer": content})
    page.wait_for_selector("#error:not([hidden])")
    assert message in page.inner_text("#error")
    drop(page, ("b.png", encoded(picture())))
    wait_for_score(page)
    assert page.locator("#error").is_hidden()


def test_a_picture_that_browsers_cannot_show_comes_from_the_server(page: Any) -> None:
    drop(page, ("scan.tif", encoded(picture(8), "TIFF")))
    wait_for_score(page)
    assert page.locator("#canvas").is_visible()
    assert page.inner_text("#note") == "90 × 60 pixels"


def test_the_api_page_works_without_a_network(page: Any, address: str) -> None:
    page.goto(f"{address}/docs")
    page.wait_for_selector(".opblock-summary-path[data-path='/api/localize']")


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_wider_than_the_window(page: Any, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    drop(page, ("a.png", encoded(picture(9, (300, 200)))))
    wait_for_score(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_everything_can_be_reached_by_keyboard_and_has_a_name(page: Any) -> None:
    names = page.evaluate(
        """() => [...document.querySelectorAll("input, select, button")].filter((one) => !one.closest("[hidden]"))
          .map((one) => [one.labels?.[0]?.textContent || one.getAttribute("aria-label") || one.textContent
            || one.querySelector("img")?.alt || "", one.tabIndex, one.closest("#strip") !== null])"""
    )
    assert all(name.strip() and (tab == 0 or in_strip) for name, tab, in_strip in names)
    assert [tab for _, tab, in_strip in names if in_strip] == [0, -1, -1]
    page.focus("#threshold")
    page.keyboard.press("ArrowRight")
    assert page.inner_text("#threshold-value") == "0.41"
    assert page.get_attribute("#threshold", "aria-valuetext") == "0.41"


def test_the_thumbnails_are_one_tab_stop_with_arrow_keys_between_them(page: Any) -> None:
    def focused() -> str:
        return str(page.evaluate("document.activeElement.title || document.activeElement.id"))

    page.focus("#next")
    stops = []
    for key in ("Tab", "End", "ArrowRight", "ArrowLeft", "Enter", "Home", "ArrowLeft", "ArrowRight", "Tab"):
        page.keyboard.press(key)
        stops.append(focused())
    assert stops == ["1.png", "3.png", "3.png", "2.png", "2.png", "1.png", "1.png", "2.png", "folder"]
    expect(page.locator("#name")).to_have_text("2.png")
    page.keyboard.press("Shift+Tab")
    assert focused() == "2.png"  # where the keys left off
    page.click("#next")
    page.keyboard.press("Tab")
    assert focused() == "3.png"  # the one that is shown


@pytest.fixture(scope="module")
def guarded(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serve(run, "--token", "a-token-of-some-length", temporary=tmp_path_factory.mktemp("tmp")) as (found, _):
        yield found


def test_a_page_with_a_token_asks_for_it_once(browser: Any, guarded: str) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.set_default_timeout(WAIT_MS)
    page.goto(guarded)
    assert page.evaluate("document.activeElement.id") == "token"
    page.keyboard.type("wrong")
    page.keyboard.press("Enter")
    page.wait_for_selector("[role=alert]:not([hidden])")
    page.fill("#token", "a-token-of-some-length")
    page.click("button")
    page.wait_for_selector("#formats input")
    assert page.url == f"{guarded}/"
    drop(page, ("a.png", encoded(picture(4))))
    wait_for_score(page)
    assert page.evaluate("document.cookie") == ""  # scripts do not see the session
    context.clear_cookies()
    page.click("#multi")
    page.wait_for_selector("#token")  # what is asked without a session leads back to the form
    page.goto(f"{guarded}/?token=a-token-of-some-length")
    page.wait_for_selector("#formats input")
    assert page.url == f"{guarded}/"
    context.close()


_POST_ELSEWHERE = """
async (address) => {
  for (let batch = 0; batch < 9; batch++) {
    const body = new URLSearchParams({ format: "csv" });
    await fetch(`${address}/api/batches`, { method: "POST", body, mode: "no-cors" }).catch(() => null);
  }
  const image = new Image();
  const shown = new Promise((resolve) => { image.onload = () => resolve(true); image.onerror = () => resolve(false); });
  image.src = `${address}/api/examples/0`;
  return shown;
}
"""


@pytest.mark.parametrize("sandboxed", [False, True], ids=["another site", "a sandboxed frame"])
def test_pages_of_other_sites_reach_nothing(browser: Any, address: str, guarded: str, sandboxed: bool) -> None:
    # To a browser localhost is another site than 127.0.0.1, and one that it lets send to this machine.
    context = browser.new_context(bypass_csp=True)
    page = context.new_page()
    page.set_default_timeout(WAIT_MS)
    page.goto(guarded.replace("127.0.0.1", "localhost"))
    frame = page.main_frame
    if sandboxed:
        page.set_content('<iframe sandbox="allow-scripts" srcdoc="<p>hello"></iframe>')
        frame = page.frames[-1]
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url) if request.url.startswith(address) else None)
    assert frame.evaluate(_POST_ELSEWHERE, address) is False  # the image is not shown
    assert sent == [f"{address}/api/batches"] * 9 + [f"{address}/api/examples/0"]
    context.close()
    with urllib.request.urlopen(f"{address}/api/batches", data=b"format=csv") as answer:
        name = json.load(answer)["batch"]  # the nine have not taken the eight places
    urllib.request.urlopen(urllib.request.Request(f"{address}/api/batches/{name}", method="DELETE")).close()


def _maps() -> list[np.ndarray]:
    """Blotches as maps are, noise with regions of one pixel, rings, and what is flat."""
    random = np.random.default_rng(0)
    maps = []
    for _ in range(15):
        height, width = random.integers(1, 60, 2)
        coarse = random.random(tuple(random.integers(1, 9, 2)))
        maps.append(
            cv2.resize(coarse, (int(width), int(height)), interpolation=cv2.INTER_LINEAR).reshape(height, width)
        )
        maps.append(random.random((height, width)) ** 3)
        rings = np.sin(np.hypot(*np.mgrid[: height + 1, : width + 1])[:height, :width] * random.uniform(0.5, 2))
        maps.append(rings * (random.random((height, width)) > 0.05))
    maps += [np.zeros((4, 5)), np.ones((1, 1)), np.eye(9), np.eye(9)[::-1].copy()]
    return [normalise_maps(one) for one in maps]


def test_boxes_of_the_browser_are_those_of_the_library(page: Any) -> None:
    cases = [(one, threshold) for one in _maps() for threshold in (0.0, 0.17, 0.42, 0.8, 0.99)]
    found = page.evaluate(
        """async (cases) => {
          const { largestBox, regionBoxes } = await import("/page/boxes.js");
          return cases.map(([map, width, height, threshold]) => [
            largestBox(Uint8Array.from(map), width, height, threshold),
            regionBoxes(Uint8Array.from(map), width, height, threshold, 0.01),
          ]);
        }""",
        [[to_uint8(one).ravel().tolist(), one.shape[1], one.shape[0], threshold] for one, threshold in cases],
    )
    for (one, threshold), (largest, regions) in zip(cases, found, strict=True):
        assert largest == largest_box(one, threshold).tolist()
        wanted = component_boxes(one, threshold, 0.01).tolist()
        assert sorted(regions) == sorted(wanted)
        assert [_area(box) for box in regions] == [_area(box) for box in wanted]


def _area(box: list[int]) -> int:
    return (box[2] - box[0]) * (box[3] - box[1])
