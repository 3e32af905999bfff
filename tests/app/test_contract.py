"""OpenAPI says what is answered: requests drawn from the schema, right and wrong ones, meet what it declares."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from app_helpers import CLASSES, encoded, picture
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from starlette.testclient import TestClient
from starlette.types import ASGIApp, Receive, Scope, Send

from cdtr.app.examples import Examples
from cdtr.app.forms import TEXT_FIELDS
from cdtr.app.limits import Limits
from cdtr.formats import format_names

schemathesis = pytest.importorskip("schemathesis", reason="no schemathesis: pip install 'cdtr[dev]'")

OPERATIONS = {
    "GET /api/run": 1,
    "POST /api/localize": 20,
    "POST /api/export": 20,
    "POST /api/batches": 20,
    "POST /api/batches/{batch}/images": 20,
    "GET /api/batches/{batch}/result": 8,
    "DELETE /api/batches/{batch}": 8,
    "GET /api/examples/{number}": 10,
    "GET /api/examples/{number}/thumbnail": 10,
}
PHOTO = encoded(picture())


@pytest.fixture
def served(make_client: Callable[..., TestClient], tmp_path: Path) -> TestClient:
    for number in range(3):
        (tmp_path / f"{number}.png").write_bytes(encoded(picture(number)))
    return make_client(examples=Examples(tmp_path), limits=Limits(batches=1000))


def _batches(client: TestClient) -> Iterator[str | None]:
    """An unknown batch, a new one, one with an image, and one that is finished, in turns."""
    for turn in itertools.cycle(range(4)):
        if turn == 0:
            yield None
            continue
        name = client.post("/api/batches", data={"format": "csv"}).json()["batch"]
        if turn > 1:
            client.post(f"/api/batches/{name}/images", files={"images": ("first.png", PHOTO)})
        if turn > 2:
            client.get(f"/api/batches/{name}/result")
        yield name


def _running(app: ASGIApp) -> ASGIApp:
    """An application that has been started, so that nobody starts it again."""

    async def call(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await app(scope, receive, send)
            return
        while (await receive())["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})

    return call


def _ask(served: TestClient, label: str, mode: Any, prepare: Callable[[Any], None], **checks: Any) -> set[int]:
    """Ask what the schema draws, check each answer against it; the statuses that came."""
    schema = schemathesis.openapi.from_asgi("/openapi.json", _running(served.app))
    found: set[int] = set()
    (operation,) = (one.ok() for one in schema.get_all_operations() if one.ok().label == label)

    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(
        max_examples=OPERATIONS[label],
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
    )
    def check(case: Any) -> None:
        prepare(case)
        answer = case.call()
        found.add(int(answer.status_code))
        case.validate_response(answer, **checks)

    check()
    return found


def test_every_address_is_tried(served: TestClient) -> None:
    paths = served.get("/openapi.json").json()["paths"]
    assert {f"{method.upper()} {path}" for path, some in paths.items() for method in some} == set(OPERATIONS)


@pytest.mark.parametrize("label", OPERATIONS)
def test_what_the_schema_allows_is_taken(served: TestClient, label: str) -> None:
    batches = _batches(served)

    def prepare(case: Any) -> None:
        if "batch" in (case.path_parameters or {}) and (name := next(batches)) is not None:
            case.path_parameters["batch"] = name
        if "number" in (case.path_parameters or {}):
            case.path_parameters["number"] %= 5
        for field, content in (("image", PHOTO), ("images", [PHOTO])):  # no schema says what an image is
            if isinstance(case.body, dict) and field in case.body:
                case.body[field] = content

    found = _ask(served, label, schemathesis.GenerationMode.POSITIVE, prepare)
    if "{batch}" not in label and "{number}" not in label:
        assert found <= {200, 201}
    elif "DELETE" in label:
        assert found == {204}
    elif "{batch}" in label:
        assert found == {200, 404, 409}
    else:
        assert {200, 404} <= found


@pytest.mark.parametrize("label", [label for label in OPERATIONS if label.endswith(("/localize", "/export", "images"))])
def test_what_is_no_image_is_refused_as_declared(served: TestClient, label: str) -> None:
    batches = _batches(served)

    def prepare(case: Any) -> None:
        if "batch" in (case.path_parameters or {}):
            case.path_parameters["batch"] = next(batches) or "guessed"

    excluded = [schemathesis.checks.CHECKS.get_one("positive_data_acceptance")]
    found = _ask(served, label, schemathesis.GenerationMode.POSITIVE, prepare, excluded_checks=excluded)
    assert max(found) < 500


@pytest.mark.parametrize("label", OPERATIONS)
def test_what_the_schema_forbids_is_refused_as_declared(served: TestClient, label: str) -> None:
    try:
        found = _ask(served, label, schemathesis.GenerationMode.NEGATIVE, lambda _case: None)
    except Unsatisfiable:
        assert label in ("GET /api/run", "GET /api/batches/{batch}/result", "DELETE /api/batches/{batch}")
        return  # nothing that can be sent is forbidden
    # A batch needs no body, which is drawn as well.
    assert found <= {400, 404, 415, 422} | ({201} if label == "POST /api/batches" else set())


def test_every_error_is_declared_as_one_line(served: TestClient) -> None:
    schema = served.get("/openapi.json").json()
    assert list(schema["components"]["schemas"]["Problem"]["properties"]) == ["detail"]
    assert "HTTPValidationError" not in json.dumps(schema)
    for some in schema["paths"].values():
        for operation in some.values():
            errors = {status: one for status, one in operation["responses"].items() if status >= "400"}
            assert {"400", "401", "403", "413", "500"} <= set(errors)
            for one in errors.values():
                assert one["content"]["application/json"]["schema"]["$ref"].endswith("/Problem")
            if "requestBody" in operation:
                assert {"408", "415", "422", "503"} <= set(errors)


def test_choices_and_ranges_are_declared(served: TestClient) -> None:
    forms = served.get("/openapi.json").json()["components"]["schemas"]
    fields = {name for form, schema in forms.items() if form.startswith("Body_") for name in schema["properties"]}
    assert fields == TEXT_FIELDS | {"image", "images"}
    export = forms["Body_export"]["properties"]
    assert export["label"]["enum"] == list(CLASSES)
    assert export["threshold"]["minimum"] == 0
    assert export["threshold"]["exclusiveMaximum"] == 1
    assert export["images"]["minItems"] == 1
    assert export["images"]["description"][:12] == "at most 2000"
    assert all(name in export["format"]["pattern"] for name in format_names())


@pytest.mark.parametrize("kind", ["application/json", "text/plain", "image/png"])
def test_a_body_that_is_no_form_is_not_taken_for_an_empty_one(served: TestClient, kind: str) -> None:
    for path in ("/api/batches", "/api/localize", "/api/export"):
        answer = served.post(path, content=b'{"format": "csv"}', headers={"content-type": kind})
        assert answer.status_code == 415
        assert f"content type {kind!r}: expected a form" in answer.json()["detail"]


@pytest.mark.parametrize(("number", "status"), [(2000, 200), (2001, 413), (2049, 413), (2200, 413)])
def test_one_request_holds_as_many_images_as_documented(served: TestClient, number: int, status: int) -> None:
    # All but the last are no images, which is quickly found.
    files = [("images", (f"{index}.png", b"x")) for index in range(number - 1)] + [("images", ("last.png", PHOTO))]
    answer = served.post("/api/export", files=files, data={"format": "csv"})
    assert answer.status_code == status, answer.text
    if status == 413:
        assert "2000" in answer.json()["detail"]
        return
    batch = served.post("/api/batches", data={"format": "csv"}).json()["batch"]
    images = served.post(f"/api/batches/{batch}/images", files=files).json()["images"]
    assert len(images) == number
    assert images[0]["error"] is not None
    assert images[-1] == {"image": "last.png", "boxes": 1, "error": None}
