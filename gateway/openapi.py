"""Descriptions of the hot routes for the OpenAPI document: they bypass Litestar, which cannot see them."""

from __future__ import annotations

from collections.abc import Iterable

from litestar.openapi.spec import (
    OpenAPIMediaType,
    OpenAPIResponse,
    OpenAPIType,
    Operation,
    PathItem,
    Reference,
    RequestBody,
    Schema,
)

_REQUEST = Schema(
    type=OpenAPIType.OBJECT,
    required=["model", "messages"],
    properties={
        "model": Schema(type=OpenAPIType.STRING, description="An id from GET /api/v1/models."),
        "messages": Schema(type=OpenAPIType.ARRAY, items=Schema(type=OpenAPIType.OBJECT)),
        "stream": Schema(type=OpenAPIType.BOOLEAN),
        "max_tokens": Schema(type=OpenAPIType.INTEGER),
    },
    description="OpenAI's chat completion request; unknown members are forwarded untouched.",
)

_STATUSES = {
    "400": "Malformed request, or unknown model.",
    "401": "Missing or incorrect API key.",
    "402": "Not enough credit.",
    "408": "The model did not begin in time.",
    "409": "A sealed request that was received before.",
    "413": "Body too large.",
    "415": "Body is not JSON.",
    "422": "Body is sealed to a key that is not held here.",
    "429": "Too many requests; see Retry-After.",
    "502": "The provider failed, or its key is not pinned.",
    "503": "Not available right now.",
}


def hot_paths(paths: Iterable[str]) -> dict[str, PathItem]:
    """One path item for each hot path."""
    return {path: PathItem(post=_chat(path)) for path in paths}


def _chat(path: str) -> Operation:
    answer = OpenAPIMediaType(schema=Schema(type=OpenAPIType.OBJECT))
    events = OpenAPIMediaType(schema=Schema(type=OpenAPIType.STRING))
    responses: dict[str, OpenAPIResponse | Reference] = {
        "200": OpenAPIResponse(
            description="A completion, or its event stream. Both carry `billing`.",
            content={"application/json": answer, "text/event-stream": events},
        ),
        **{status: OpenAPIResponse(description=text) for status, text in _STATUSES.items()},
    }
    return Operation(
        tags=["chat"],
        summary="Create a chat completion",
        operation_id="post" + "".join(part.title() for part in path.split("/")),
        request_body=RequestBody(
            content={"application/json": OpenAPIMediaType(schema=_REQUEST)}, required=True
        ),
        responses=responses,
    )
