"""The application: the page, the JSON interface with its OpenAPI page, and what stands before both."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse
from fastapi.staticfiles import StaticFiles
from fastapi_offline import FastAPIOffline
from starlette.concurrency import run_in_threadpool

from cdtr.api import Localizer
from cdtr.app.examples import Examples
from cdtr.app.gate import Gate, Limits, SecurityHeaders
from cdtr.app.routes import router
from cdtr.app.service import Service
from cdtr.errors import CdtrError

PAGE = Path(__file__).parent / "page"

_SWEEP_S = 30.0
_ABOUT = (
    'Images in, boxes and heat maps out. Errors are `{"detail": ...}` with one line: 413 for too much, 415 for what is '
    "no image, 422 for what cannot be used, 429 and 503 where the server is full (`Retry-After` says for how long). "
    "Nothing of an image is kept after its answer."
)


def create_app(
    localizer: Localizer,
    name: str,
    limits: Limits | None = None,
    examples: Examples | None = None,
    hosts: Collection[str] | None = None,
    batch_size: int = 8,
) -> FastAPI:
    """The ASGI application that serves a run called ``name``.

    examples: images to walk through. hosts: names under which it may be asked, None for any. batch_size: images in one
    forward pass at most.
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

    app = FastAPIOffline(
        title=f"cdtr: {name}",
        version=version("cdtr"),
        description=_ABOUT,
        redoc_url=None,
        lifespan=lifespan,
        exception_handlers=_handlers(),
    )
    app.state.service = service
    app.include_router(router)
    app.mount("/page", StaticFiles(directory=PAGE), name="page")
    app.add_api_route("/", _page, include_in_schema=False)
    app.add_middleware(Gate, limits=limits, hosts=hosts)
    app.add_middleware(SecurityHeaders)
    return app


def _page() -> FileResponse:
    return FileResponse(PAGE / "index.html")


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
