"""Pages of other web sites can neither write nor embed, whatever their browser sends."""

from __future__ import annotations

from pathlib import Path

import pytest
from app_helpers import encoded, picture
from starlette.testclient import TestClient

from cdtr.app.examples import Examples

PHOTO = encoded(picture())
OWN = "http://127.0.0.1:8000"

FOREIGN: dict[str, dict[str, str]] = {
    "another site": {"origin": "http://evil.example", "sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"},
    "an older browser": {"origin": "http://evil.example"},
    "another port of this machine": {"origin": "http://127.0.0.1:3000", "sec-fetch-site": "same-site"},
    "another port in an older browser": {"origin": "http://127.0.0.1:3000"},
    "a sandboxed frame": {"origin": "null"},
    "a sandboxed frame that says so": {"origin": "null", "sec-fetch-site": "cross-site"},
    "a form": {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"},
    "a name that only begins like ours": {"origin": "http://127.0.0.1:8000.evil.example"},
    "an empty origin": {"origin": ""},
}


@pytest.mark.parametrize("case", FOREIGN)
@pytest.mark.parametrize("path", ["/api/localize", "/api/export", "/api/batches", "/api/batches/x/images"])
def test_writes_of_other_sites_are_refused(client: TestClient, case: str, path: str) -> None:
    field = "image" if path == "/api/localize" else "images"
    answer = client.post(path, files={field: ("a.png", PHOTO)}, headers=FOREIGN[case])
    assert answer.status_code == 403
    assert "another web site" in answer.json()["detail"]


def test_other_sites_open_and_remove_no_batch(client: TestClient) -> None:
    for _ in range(9):
        assert client.post("/api/batches", data={"format": "csv"}, headers=FOREIGN["a form"]).status_code == 403
    answer = client.post("/api/batches")
    assert answer.status_code == 201
    address = f"/api/batches/{answer.json()['batch']}"
    assert client.delete(address, headers=FOREIGN["another site"]).status_code == 403
    assert client.get(f"{address}/result").status_code == 409  # it is still there


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"origin": OWN},
        {"origin": OWN, "sec-fetch-site": "same-origin"},
        {"sec-fetch-site": "none"},
        {"origin": "https://proxy.example", "sec-fetch-site": "same-origin"},  # a proxy that changes Host
    ],
    ids=["a program", "an older browser", "our page", "the user", "our page through a proxy"],
)
def test_our_page_and_programs_are_answered(client: TestClient, headers: dict[str, str]) -> None:
    answer = client.post("/api/localize", files={"image": ("a.png", PHOTO)}, headers=headers)
    assert answer.status_code == 200, answer.text


def test_other_sites_may_link_to_the_page_but_not_load_from_it(client: TestClient) -> None:
    link = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
    embedded = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors", "sec-fetch-dest": "image"}
    assert client.get("/", headers=link).status_code == 200
    assert client.get("/api/run", headers=embedded).status_code == 403
    assert client.get("/page/icon.svg", headers=embedded).status_code == 403


def test_nothing_can_be_embedded_elsewhere(make_client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.png").write_bytes(PHOTO)
    client = make_client(examples=Examples(tmp_path))
    answers = [
        client.get(path)
        for path in ("/", "/docs", "/openapi.json", "/page/main.js", "/api/run", "/api/examples/0", "/nowhere")
    ]
    answers += [
        client.get("/api/examples/0/thumbnail"),
        client.post("/api/localize", files={"image": ("a.png", PHOTO)}),
        client.post("/api/localize", headers=FOREIGN["an older browser"]),
        client.put("/api/localize"),
        client.get("/api/run", headers={"host": "evil.example"}),
    ]
    monkeypatch.setattr(client.app.state.service.worker.localizer, "stream", None)
    answers.append(client.post("/api/localize", files={"image": ("a.png", PHOTO)}))
    assert {answer.status_code for answer in answers} == {200, 403, 404, 405, 500}
    for answer in answers:
        assert answer.headers["cross-origin-resource-policy"] == "same-origin", answer.url
        assert answer.headers["x-content-type-options"] == "nosniff"
