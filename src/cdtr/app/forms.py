"""Forms with as many files as a batch may hold, of which no field is empty; the frameworks' own limit is 1000 files."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from http import HTTPStatus
from typing import Any

from fastapi import HTTPException, Request, Response
from fastapi.routing import APIRoute
from starlette.datastructures import FormData, Headers
from starlette.formparsers import MultiPartException, MultiPartParser

MULTIPART = "multipart/form-data"
URLENCODED = "application/x-www-form-urlencoded"

TEXT_FIELDS = frozenset(("format", "label", "map", "min_area", "multi", "picture", "threshold"))

_FIELDS = 50  # beside the files; no address has as many


class FormRoute(APIRoute):
    """A route whose forms hold up to ``limits.images`` files.

    413 for more, 415 for a body that is no form, 422 for a field that is there but empty, which FastAPI takes for none.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler that reads a form within the limits."""
        handle = super().get_route_handler()

        async def handle_form(request: Request) -> Response:
            return await handle(_FormRequest(request.scope, request.receive))

        return handle_form


class _FormRequest(Request):
    async def form(self, **_limits: Any) -> FormData:  # type: ignore[override]
        found = await self._read_form()
        empty = [name for name, value in found.multi_items() if value == "" and name in TEXT_FIELDS]
        if empty:
            await found.close()
            raise HTTPException(HTTPStatus.UNPROCESSABLE_ENTITY, f"{empty[0]} is empty: give a value, or leave it out")
        return found

    async def _read_form(self) -> FormData:
        kind = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind and kind not in (MULTIPART, URLENCODED):
            detail = f"content type {kind[:80]!r}: expected a form, {MULTIPART}"
            raise HTTPException(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, detail)
        if kind != MULTIPART:
            return await super().form(max_fields=_FIELDS)
        async with aclosing(self.stream()) as stream:
            try:
                return await _Parser(self.headers, stream, self.app.state.service.limits.images).parse()
            except MultiPartException as error:
                raise HTTPException(HTTPStatus.BAD_REQUEST, error.message) from error


class _Parser(MultiPartParser):
    def __init__(self, headers: Headers, stream: AsyncGenerator[bytes, None], images: int) -> None:
        super().__init__(headers, stream, max_files=math.inf, max_fields=_FIELDS)
        self._most = images
        self._parts = 0

    def on_part_begin(self) -> None:
        self._parts += 1
        if self._parts > self._most + _FIELDS:
            detail = f"more than the {self._most} images that one request may hold: send fewer at a time"
            raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail)
        super().on_part_begin()
