"""The application: the page, the JSON interface with its OpenAPI page, and what stands before both."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, Form, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, Response
from fastapi.staticfiles import StaticFiles
from fastapi_offline import FastAPIOffline
from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp

from cdtr.api import Localizer
from cdtr.app.access import LOGIN, Access
from cdtr.app.browsers import SecurityHeaders
from cdtr.app.contract import complete
from cdtr.app.examples import Examples
from cdtr.app.gate import Gate
from cdtr.app.limits import Limits
from cdtr.app.routes import router
from cdtr.app.service import Service
from cdtr.errors import CdtrError

PAGE = Path(__file__).parent / "page"

_SWEEP_S = 30.0
_ABOUT = (
    'Images in, boxes and heat maps out. Errors are `{"detail": ...}` with one line: 413 for too much, 415 for what is '
    "no image, 422 for what cannot be used, 429 and 503 where the server is full (`Retry-After` says for how long). "
    "Nothing of an image is kept after its response."
)


def create_app(
    localizer: Localizer,
    name: str,
    limits: Limits | None = None,
    examples: Examples | None = None,
    hosts: Collection[str] | None = None,
    batch_size: int = 8,
    access: Access | None = None,
) -> FastAPI:
    """The ASGI application that serves a run called ``name``.

    examples: images to walk through. hosts: names under which it may be asked, None for any. batch_size: images in one
    forward pass at most. access: who knows the token, None for a server without one.
    """
    limits = limits or Limits()
    service = Service(localizer, name, limits, examples, batch_size)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        service.worker.start()
        sweeping = asyncio.create_task(_sweep(service))
        try:
            yield
        finally:
            sweeping.cancel()
            service.worker.close()
            service.batches.close()

    app: FastAPI = FastAPIOffline(
        title=f"cdtr: {name}",
        version=version("cdtr"),
        description=_ABOUT,
        redoc_url=None,
        lifespan=lifespan,
        generate_unique_id_function=lambda route: route.name,
        exception_handlers=_handlers(),
    )
    app.state.service = service
    app.include_router(router)
    app.mount("/page", StaticFiles(directory=PAGE), name="page")
    app.add_api_route("/", _page, include_in_schema=False)
    if access is not None:
        app.add_api_route(LOGIN, _login(access), methods=["POST"], include_in_schema=False)
    app.add_middleware(Gate, limits=limits, hosts=hosts, access=access)
    _adapt(app, service, has_token=access is not None)
    return app


def _adapt(app: FastAPI, service: Service, has_token: bool) -> None:
    """Put headers on FastAPI's responses to its own faults as well, and what only the run knows into the schema."""
    build_stack, describe = app.build_middleware_stack, app.openapi

    def stack() -> ASGIApp:
        return SecurityHeaders(build_stack())

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            names, images = service.localizer.class_names, service.limits.images
            complete(describe(), names, service.formats(), images, has_token)
        return describe()

    app.build_middleware_stack = stack  # type: ignore[method-assign]
    app.openapi = openapi  # type: ignore[method-assign]


def _page() -> FileResponse:
    return FileResponse(PAGE / "index.html")


def _login(access: Access) -> Callable[..., Response]:
    def log_in(request: Request, token: Annotated[str, Form()] = "") -> Response:
        return access.log_in(token, request.scope)

    return log_in


async def _sweep(service: Service) -> None:
    while True:
        await asyncio.sleep(_SWEEP_S)
        await run_in_threadpool(service.batches.remove_idle)


def _handlers() -> dict[int | type[Exception], Any]:
    """Every error as one line."""

    def unusable(_request: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, 422)

    def invalid(_request: Request, error: RequestValidationError) -> JSONResponse:
        found = "; ".join(f"{fault['loc'][-1]}: {fault['msg']}" for fault in error.errors())
        return JSONResponse({"detail": found}, 422)

    def unexpected(_request: Request, error: Exception) -> JSONResponse:
        detail = f"{type(error).__name__}, a fault of the server: its terminal shows where"
        return JSONResponse({"detail": detail}, 500)

    return {CdtrError: unusable, RequestValidationError: invalid, Exception: unexpected}
