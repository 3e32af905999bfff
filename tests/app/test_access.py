"""A server with a token: nothing without it, everything with it, in programs and in browsers."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from app_helpers import encoded, picture
from starlette.testclient import TestClient

from cdtr.app.access import Access
from cdtr.errors import ConfigError

TOKEN = "correct-horse-battery-staple"
PHOTO = {"image": ("a.png", encoded(picture()))}


@pytest.fixture
def guarded(make_client: Callable[..., TestClient]) -> TestClient:
    return make_client(access=Access(TOKEN))


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/run"),
        ("POST", "/api/localize"),
        ("POST", "/api/batches"),
        ("GET", "/api/batches/x/result"),
        ("DELETE", "/api/batches/x"),
        ("GET", "/api/examples/0"),
        ("GET", "/docs"),
        ("GET", "/openapi.json"),
        ("GET", "/nowhere"),
        ("HEAD", "/"),
        ("POST", "/"),
        ("GET", "/page"),
        ("GET", "/login/x"),
    ],
)
@pytest.mark.parametrize(
    "headers",
    [
        {},
        bearer("wrong"),
        bearer(""),
        bearer(TOKEN[:-1]),
        {"authorization": TOKEN},
        {"cookie": f"cdtr_session={TOKEN}"},
    ],
    ids=["none", "wrong", "empty", "cut", "no kind", "token as cookie"],
)
def test_nothing_is_answered_without_the_token(
    guarded: TestClient, method: str, path: str, headers: dict[str, str]
) -> None:
    answer = guarded.request(method, path, headers=headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    if method != "HEAD":
        assert answer.json()["detail"].startswith("this server wants its token")


def test_programs_send_the_token(guarded: TestClient) -> None:
    assert guarded.post("/api/localize", files=PHOTO, headers=bearer(TOKEN)).status_code == 200
    assert guarded.get("/api/run", headers={"authorization": f"bearer {TOKEN}"}).status_code == 200
    assert guarded.get("/api/run").status_code == 401  # nothing was remembered


def test_browsers_log_in_once(guarded: TestClient) -> None:
    form = guarded.get("/")
    assert form.status_code == 401
    assert form.headers["content-type"] == "text/html; charset=utf-8"
    assert '<form method="post" action="login">' in form.text
    assert guarded.get("/page/style.css").status_code == 200  # which the form needs
    wrong = guarded.post("/login", data={"token": "wrong"})
    assert wrong.status_code == 401
    assert '<p role="alert">This is not' in wrong.text
    assert '<p role="alert">' not in form.text
    assert guarded.get("/api/run").status_code == 401

    answer = guarded.post("/login", data={"token": TOKEN}, follow_redirects=False)
    assert answer.status_code == 303
    assert answer.headers["location"] == "./"
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert "Secure" not in cookie
    assert TOKEN not in cookie
    assert "<canvas" in guarded.get("/").text
    assert guarded.post("/api/localize", files=PHOTO).status_code == 200


def test_a_link_with_the_token_logs_in(guarded: TestClient) -> None:
    assert guarded.get("/", params={"token": "wrong"}).status_code == 401
    answer = guarded.get("/", params={"token": TOKEN}, follow_redirects=False)
    assert answer.status_code == 303
    assert answer.headers["location"] == "./"
    assert guarded.get("/api/run").status_code == 200


def test_an_encrypted_login_stays_encrypted(guarded: TestClient) -> None:
    answer = guarded.post("https://127.0.0.1:8000/login", data={"token": TOKEN}, follow_redirects=False)
    assert "Secure" in answer.headers["set-cookie"]


def test_other_sites_log_nobody_in(guarded: TestClient) -> None:
    answer = guarded.post("/login", data={"token": TOKEN}, headers={"origin": "http://evil.example"})
    assert answer.status_code == 403


def test_another_servers_cookie_is_worth_nothing(make_client: Callable[..., TestClient], guarded: TestClient) -> None:
    other = make_client(access=Access("another-token-altogether"))
    other.post("/login", data={"token": "another-token-altogether"})
    (cookie,) = other.cookies.jar
    assert guarded.get("/api/run", headers={"cookie": f"{cookie.name}={cookie.value}"}).status_code == 401


def test_the_schema_says_that_there_is_a_token(guarded: TestClient, client: TestClient) -> None:
    schema = guarded.get("/openapi.json", headers=bearer(TOKEN)).json()
    assert schema["components"]["securitySchemes"] == {"token": {"type": "http", "scheme": "bearer"}}
    assert schema["security"] == [{"token": []}]
    assert "security" not in client.get("/openapi.json").json()
    assert client.post("/login", data={"token": "x"}).status_code == 404


@pytest.mark.parametrize("token", ["", "two words", "schlüssel", "line\nbreak"])
def test_tokens_that_no_header_holds_are_refused(token: str) -> None:
    with pytest.raises(ConfigError, match="`token=`"):
        Access(token)
