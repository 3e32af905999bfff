"""What OpenAPI says of the interface beyond the functions in ``routes``: errors, choices, content types, the token."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel, Field

from cdtr.app.forms import MULTIPART, URLENCODED

IMAGE_TYPES = (
    "image/jpeg",
    "image/png",
    "image/webp",
    "image/bmp",
    "image/gif",
    "image/tiff",
    "image/x-portable-anymap",
)
FILE_TYPES = {".json": "application/json", ".csv": "text/csv", ".xml": "application/xml", ".zip": "application/zip"}

_EVERYWHERE = (400, 401, 403, 413, 500)
_FORMS = (408, 415, 422, 503)
_REASONS = {
    400: "no bytes; a broken form or length; a host name that is not this server's",
    401: "the server has a token, and it did not come",
    403: "a page of another web site asked",
    404: "no such batch or example",
    408: "the upload came too slowly",
    409: "the batch is finished, or has no image yet",
    413: "more bytes, pixels or images than taken",
    415: "no image, or a body that is no form",
    422: "a damaged image; a wrong threshold, class, format or file name",
    429: "so many batches are open; Retry-After says when to ask again",
    500: "a fault of the server",
    503: "so many uploads are held; Retry-After says when to ask again",
}


class Problem(BaseModel):
    """Every response that is no success."""

    detail: str = Field(description="one line: what is wrong, and what to do")


def problems(*statuses: int, form: bool = False) -> dict[int | str, dict[str, Any]]:
    """The errors of an address, for ``responses``: those given, and those that every address has, or every form."""
    all_of = sorted({*_EVERYWHERE, *statuses, *(_FORMS if form else ())})
    return {status: {"model": Problem, "description": _REASONS[status]} for status in all_of}


def files(*types: str) -> dict[int | str, dict[str, Any]]:
    """A response that is a file of one of these types, for ``responses``."""
    content = {kind: {"schema": {"type": "string", "format": "binary"}} for kind in types}
    if "application/json" in content:
        content["application/json"] = {"schema": {}}
    return {HTTPStatus.OK.value: {"description": "The file", "content": content}}


def complete(
    schema: dict[str, Any], class_names: Sequence[str], formats: Sequence[str], images: int, token: bool
) -> None:
    """Add to FastAPI's schema what only the served run knows: its classes and formats, and whether there is a token."""
    one_format = "|".join(formats)
    for body in _forms(schema):
        fields = body["properties"]
        if "label" in fields:
            fields["label"] = _given(fields["label"]) | {"enum": list(class_names)}
        if "threshold" in fields:
            fields["threshold"] = _given(fields["threshold"])
        if "format" in fields:
            fields["format"]["pattern"] = f"^({one_format})(,({one_format}))*$"
        if "images" in fields:
            fields["images"] |= {"minItems": 1, "description": f"at most {images}; names may be paths below a folder"}
    for content in _contents(schema):
        if URLENCODED in content:  # a form without files is taken in either encoding
            content[MULTIPART] = content[URLENCODED]
    if token:
        schema["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        schema["security"] = [{"token": []}]


def _contents(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for path in schema["paths"].values():
        for operation in path.values():
            if "requestBody" in operation:
                yield operation["requestBody"]["content"]


def _forms(schema: dict[str, Any]) -> list[dict[str, Any]]:
    return [_form_of(schema, content) for content in _contents(schema)]


def _form_of(schema: dict[str, Any], content: dict[str, Any]) -> dict[str, Any]:
    kind = MULTIPART if MULTIPART in content else URLENCODED
    name = content[kind]["schema"]["$ref"].rpartition("/")[2]
    form: dict[str, Any] = schema["components"]["schemas"][name]
    return form


def _given(field: dict[str, Any]) -> dict[str, Any]:
    """A field that may be left out, but has no value for none: forms know no null."""
    (kind,) = (dict(one) for one in field["anyOf"] if one["type"] != "null")
    return {name: value for name, value in field.items() if name != "anyOf"} | kind
