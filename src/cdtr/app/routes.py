"""The addresses of the JSON interface, as its OpenAPI page shows them."""

from __future__ import annotations

from http import HTTPStatus
from pathlib import Path
from typing import Annotated

import numpy as np
from fastapi import APIRouter, Depends, File, Form, HTTPException, Request, Response, UploadFile
from fastapi import Path as PathParameter
from fastapi.responses import FileResponse
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from cdtr.app.batches import Batch
from cdtr.app.contract import FILE_TYPES, IMAGE_TYPES, files, problems
from cdtr.app.examples import MOST, Examples
from cdtr.app.forms import FormRoute
from cdtr.app.responses import Found, describe, image_jpeg, map_png
from cdtr.app.service import LocalizedUpload, Outcome, Service
from cdtr.app.uploads import read_header
from cdtr.localization.options import LocalizeOptions
from cdtr.reports.overlays import heat_map

router = APIRouter(prefix="/api", route_class=FormRoute)


class RunInfo(BaseModel):
    """The run and what the server takes."""

    run: str
    class_names: list[str]
    threshold: float = Field(description="the run's own, which counts where none is given")
    scored: bool = Field(description="whether boxes have calibrated scores")
    formats: list[str]
    examples: list[str] = Field(description="names of the images at /api/examples/NUMBER, from 0")
    upload_bytes: int = Field(description="most bytes of one request")
    pixels: int = Field(description="most pixels of one image")
    images: int = Field(description="most images of one batch or request")
    colours: list[list[int]] = Field(description="the heat map's colours from 0 to 1, red, green, blue")


class Opened(BaseModel):
    """A batch that was opened."""

    batch: str = Field(
        description="its name, for the addresses below; it is closed after ten minutes without a request"
    )


class Added(BaseModel):
    """What became of each image that was added to a batch."""

    images: list[Outcome]


def find_service(request: Request) -> Service:
    """Return the service of the application."""
    service: Service = request.app.state.service
    return service


TheService = Annotated[Service, Depends(find_service)]


def find_options(
    service: TheService,
    threshold: Annotated[
        float | None, Form(ge=0, lt=1, description="share of the map's maximum; by default the run's own")
    ] = None,
    label: Annotated[
        str | None, Form(description="look for this class, by name; by default for the most probable")
    ] = None,
    multi: Annotated[bool, Form(description="a box for every region, not only the largest")] = False,
    min_area: Annotated[
        float, Form(ge=0, le=1, description="with multi, the smallest region, as a share of the image")
    ] = 0.01,
) -> LocalizeOptions:
    """Read the options of localization from a form."""
    return service.options(threshold, label, multi, min_area)


TheOptions = Annotated[LocalizeOptions, Depends(find_options)]
Formats = Annotated[str, Form(alias="format", description="coco, yolo, voc, csv, ...; several with commas between")]


def find_batch(service: TheService, batch: str) -> Batch:
    """Return a batch by its name, or refuse the request."""
    found = service.batches.find(batch)
    if found is None:
        raise HTTPException(HTTPStatus.NOT_FOUND, "no such batch: it was removed, or idle for too long; open a new one")
    return found


TheBatch = Annotated[Batch, Depends(find_batch)]
Images = Annotated[list[UploadFile], File()]
ExampleNumber = Annotated[int, PathParameter(ge=0, lt=MOST)]


@router.get("/run", summary="The run, its classes, formats and limits", responses=problems())
def run_info(service: TheService) -> RunInfo:
    """Return the facts about the run that is served."""
    localizer, limits = service.localizer, service.limits
    return RunInfo(
        run=service.name,
        class_names=list(localizer.class_names),
        threshold=localizer.threshold,
        scored=localizer.quality is not None,
        formats=service.formats(),
        examples=[] if service.examples is None else service.examples.names,
        upload_bytes=limits.upload_bytes,
        pixels=limits.pixels,
        images=limits.images,
        colours=np.asarray(heat_map(np.linspace(0, 1, 256)[None]))[0].tolist(),
    )


@router.post("/localize", summary="Find the object in one image", responses=problems(form=True))
async def localize(
    service: TheService,
    options: TheOptions,
    image: Annotated[UploadFile, File(description="JPEG, PNG, WebP, BMP, GIF or TIFF (first frame), PPM")],
    with_map: Annotated[bool, Form(alias="map", description="return the heat map as well")] = False,
    with_upright: Annotated[bool, Form(alias="picture", description="return the upright image as well")] = False,
) -> Found:
    """Boxes, scores and class probabilities of an image. Nothing of it is kept."""
    upload = await service.localize(image, options)
    return await run_in_threadpool(_found, upload, service.threshold(options), with_map, with_upright)


@router.post(
    "/export",
    summary="Files of boxes of one or a few images",
    response_class=Response,
    responses=files(*FILE_TYPES.values()) | problems(form=True),
)
async def export(
    service: TheService,
    options: TheOptions,
    images: Images,
    formats: Formats = "coco",
) -> Response:
    """Return the boxes of the images as one file, or as a zip of several.

    Images that cannot be read are listed in `left_out.csv` of the zip; if none can, there is an error.
    """
    batch = service.open_batch(formats, options)
    try:
        outcomes = await service.add(images, batch)
        failed = [outcome.error for outcome in outcomes if outcome.error is not None]
        if len(failed) == len(outcomes):
            all_of = f"none of the {len(failed)} images could be read; the first: " if len(failed) > 1 else ""
            raise HTTPException(HTTPStatus.UNPROCESSABLE_ENTITY, f"{all_of}{failed[0]}")
        path = await run_in_threadpool(batch.finish)
        headers = {"Content-Disposition": f'attachment; filename="{path.name}"'}
        return Response(path.read_bytes(), media_type=_media_type(path), headers=headers)
    finally:
        batch.close()


@router.post(
    "/batches",
    summary="Open a batch for any number of images",
    status_code=HTTPStatus.CREATED,
    responses=problems(429, form=True),
)
async def open_batch(service: TheService, options: TheOptions, formats: Formats = "coco") -> Opened:
    """Send the images in as many requests as you like, get the result, then delete the batch."""
    if not service.batches.has_room():
        detail = f"{service.limits.batches} batches are open: try again when one is finished"
        raise HTTPException(HTTPStatus.TOO_MANY_REQUESTS, detail, {"Retry-After": "10"})
    return Opened(batch=service.batches.keep(service.open_batch(formats, options)))


@router.post("/batches/{batch}/images", summary="Add images to a batch", responses=problems(404, 409, form=True))
async def add_images(service: TheService, batch: TheBatch, images: Images) -> Added:
    """What became of each image. Boxes are written in the order of the images, and of the requests as they came."""
    return Added(images=await service.add(images, batch))


@router.get(
    "/batches/{batch}/result",
    summary="Finish a batch and download its files",
    response_class=FileResponse,
    responses=files(*FILE_TYPES.values()) | problems(404, 409, 422),
)
async def batch_result(batch: TheBatch) -> FileResponse:
    """Return the files of a batch."""
    async with batch.lock:
        if batch.images == 0:
            raise HTTPException(HTTPStatus.CONFLICT, "the batch has no image yet: add some first")
        path = await run_in_threadpool(batch.finish)
    return FileResponse(path, media_type=_media_type(path), filename=path.name)


# Without the model of None: before 0.118 FastAPI takes it for a body, which this status may not have.
@router.delete(
    "/batches/{batch}",
    summary="Remove a batch",
    status_code=HTTPStatus.NO_CONTENT,
    response_model=None,
    responses=problems(422),
)
async def remove_batch(service: TheService, batch: str) -> None:
    """Close a batch and remove its files."""
    found = service.batches.take(batch)
    if found is not None:
        async with found.lock:  # images that are in work still need its files
            found.close()


@router.get(
    "/examples/{number}",
    summary="An example image",
    response_class=Response,
    responses=files(*IMAGE_TYPES) | problems(404, 415, 422),
)
def example(service: TheService, number: ExampleNumber) -> Response:
    """Return an example image."""
    content = _examples(service, number).content(number)
    header = read_header(content, f"example {number}", service.limits.pixels)
    return Response(content, media_type=header.media_type)


@router.get(
    "/examples/{number}/thumbnail",
    summary="A small version of an example",
    response_class=Response,
    responses=files("image/jpeg") | problems(404, 422),
)
async def thumbnail(service: TheService, number: ExampleNumber) -> Response:
    """Return a small version of an example image."""
    examples = _examples(service, number)
    async with service.turns:
        content = await run_in_threadpool(examples.thumbnail, number, service.limits.pixels)
    return Response(content, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=600"})


def _examples(service: Service, number: int) -> Examples:
    if service.examples is None:
        raise HTTPException(HTTPStatus.NOT_FOUND, "no examples: start the server with `examples=FOLDER`")
    count = len(service.examples.names)
    if number >= count:
        raise HTTPException(HTTPStatus.NOT_FOUND, f"no example {number}: expected a number below {count}")
    return service.examples


def _found(upload: LocalizedUpload, threshold: float, with_map: bool, with_upright: bool) -> Found:
    found = describe(upload.localization, threshold, upload.note)
    found.map = map_png(upload.localization.map) if with_map else None
    found.upright = image_jpeg(upload.image) if with_upright else None
    return found


def _media_type(path: Path) -> str:
    return FILE_TYPES.get(path.suffix, "application/octet-stream")
