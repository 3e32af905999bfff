"""A server that responds only to those who know its token: programs send it, browsers log in with it once."""

from __future__ import annotations

import hashlib
import hmac
from http import HTTPStatus
from pathlib import Path
from urllib.parse import parse_qs

from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.types import Scope

from cdtr.errors import ConfigError

LOGIN = "/login"
SHORT = 16  # characters, below which a token may be guessed

_COOKIE = "cdtr_session"
_FORM = Path(__file__).parent / "page" / "login.html"
_PUBLIC = "/page/"  # the page's own files, which are no secret
_WRONG = '<p role="alert" hidden>'


class Access:
    """Knows who may come in: a request with ``Authorization: Bearer TOKEN``, or with the cookie that a login sets.

    The cookie holds a value derived from the token, not the token, and ends with the browser's session.
    ConfigError for a token that no header can hold.
    """

    def __init__(self, token: str) -> None:
        if not token or not token.isascii() or not token.isprintable() or " " in token:
            raise ConfigError("`token=`: expected ASCII characters without spaces, at least one")
        self._token = token.encode()
        self._session = hmac.new(self._token, b"cdtr serve: session", hashlib.sha256).hexdigest()

    def challenge(self, scope: Scope, headers: Headers) -> Response | None:
        """None for whoever may come in, else the response: a login by ``?token=``, the login form, or 401."""
        path = scope["path"]
        if path == LOGIN or path.startswith(_PUBLIC) or self._admits(headers):
            return None
        if scope["method"] == "GET" and path == "/":
            given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
            return self.log_in(given, scope) if given else _form(wrong=False)
        detail = "this server wants its token: send it as `Authorization: Bearer TOKEN`, or log in on its page"
        return JSONResponse({"detail": detail}, HTTPStatus.UNAUTHORIZED, {"WWW-Authenticate": "Bearer"})

    def log_in(self, token: str, scope: Scope) -> Response:
        """To the page with a cookie, or the form again for a wrong token."""
        if not self._is_token(token):
            return _form(wrong=True)
        response = RedirectResponse("./", HTTPStatus.SEE_OTHER)
        secure = scope["scheme"] == "https"
        response.set_cookie(_COOKIE, self._session, httponly=True, samesite="strict", secure=secure)
        return response

    def _admits(self, headers: Headers) -> bool:
        kind, _, given = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer" and self._is_token(given.strip()):
            return True
        session = cookie_parser(headers.get("cookie", "")).get(_COOKIE, "")
        return hmac.compare_digest(session.encode(), self._session.encode())

    def _is_token(self, given: str) -> bool:
        return hmac.compare_digest(given.encode("utf-8", "replace"), self._token)


def _form(wrong: bool) -> Response:
    text = _FORM.read_text(encoding="utf-8")
    shown = text.replace(_WRONG, _WRONG.replace(" hidden", "")) if wrong else text
    return HTMLResponse(shown, HTTPStatus.UNAUTHORIZED, {"WWW-Authenticate": "Bearer"})
