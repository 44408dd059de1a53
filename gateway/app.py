"""The application: a path table of hot raw-ASGI routes in front of Litestar, which has everything else."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from litestar import Litestar, Request, Response
from litestar._asgi.routing_trie.traversal import parse_path_params
from litestar._parsers import parse_query_string
from litestar.enums import ScopeType
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.types import Message, Scope

from gateway import problems
from gateway.context import AppContext
from gateway.errors import GatewayError, Problem
from gateway.exchange import Receive, Send, base_headers, new_request_id
from gateway.log import Fault, where
from gateway.openapi import hot_paths
from gateway.problems import error_headers, error_object
from gateway.routes.admin import admin_routes
from gateway.routes.chat import ChatRoute
from gateway.routes.health import health_routes
from gateway.routes.openai import BASES, openai_routes
from gateway.routes.page import page_routes
from gateway.routes.trust import trust_routes

__all__ = ["AppContext", "build_app"]

HOT_PATHS = tuple(f"{base}/{name}" for base in BASES for name in ("chat/completions", "chat"))
_BY_STATUS = {
    404: problems.NOT_FOUND,
    405: problems.METHOD_NOT_ALLOWED,
    413: problems.TOO_LARGE,
    415: problems.WRONG_TYPE,
}

AsgiApp = Callable[[Any, Receive, Send], Awaitable[None]]


def build_app(context: AppContext) -> AsgiApp:
    """One ASGI application. Dispatch is by `scope["path"]` alone; no header takes part in it."""
    chat = ChatRoute(context)
    control = forgetful(build_control_plane(context))
    table: dict[str, AsgiApp] = dict.fromkeys(HOT_PATHS, chat)

    async def app(scope: Any, receive: Receive, send: Send) -> None:
        handler = table.get(scope["path"], control) if scope["type"] == "http" else control
        await handler(scope, receive, send)

    return app


def forgetful(litestar: Litestar) -> AsgiApp:
    """Litestar without its caches of paths and query strings: a request is forgotten when it has ended."""
    caches = (parse_query_string, parse_path_params, litestar.asgi_router.handle_routing)

    async def control(scope: Any, receive: Receive, send: Send) -> None:
        try:
            await litestar(scope, receive, send)  # type: ignore[arg-type]
        finally:
            for cache in caches:
                cache.cache_clear()

    return control


def build_control_plane(context: AppContext) -> Litestar:
    """Litestar with every route that is not hot. Its OpenAPI document lists the hot ones all the same."""
    app = Litestar(
        route_handlers=_routes(context),
        before_send=[_stamp(context)],
        exception_handlers={
            GatewayError: _problem_response,
            HTTPException: _http_exception,
            Exception: _unexpected(context),
        },
        openapi_config=OpenAPIConfig(
            title="Casemate",
            version="1",
            path="/docs",
            render_plugins=[JsonRenderPlugin(path="/openapi.json")],
        ),
        logging_config=None,
        request_max_body_size=context.config.limits.body_bytes,
        debug=False,
    )
    if app.openapi_schema.paths is not None:
        app.openapi_schema.paths.update(hot_paths(HOT_PATHS))
    return app


def _routes(context: AppContext) -> list[HTTPRouteHandler]:
    return [
        *page_routes(context),
        *openai_routes(context),
        *trust_routes(context),
        *health_routes(context),
        *admin_routes(context),
    ]


def _stamp(context: AppContext) -> Callable[[Message, Scope], Awaitable[None]]:
    async def stamp(message: Message, scope: Scope) -> None:
        if message["type"] == "http.response.start" and scope["type"] == ScopeType.HTTP:
            ours = base_headers(new_request_id(), time.perf_counter(), context.insecure)
            message["headers"] = [*message["headers"], *ours]

    return stamp


def respond(problem: Problem) -> Response[bytes]:
    """A problem as a Litestar response."""
    headers = {name.decode(): value.decode() for name, value in error_headers(problem)}
    body = msgspec.json.encode(error_object(problem))
    return Response(body, status_code=problem.status, headers=headers, media_type=headers["content-type"])


def _problem_response(_: Request[Any, Any, Any], error: GatewayError) -> Response[bytes]:
    return respond(error.problem)


def _http_exception(_: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    """Litestar's own refusals, without its texts: those may repeat what was sent."""
    response = respond(_BY_STATUS.get(error.status_code, _other(error.status_code)))
    if error.headers and "Allow" in error.headers:
        response.headers["allow"] = error.headers["Allow"]
    return response


def _other(status: int) -> Problem:
    if status >= 500:
        return problems.INTERNAL
    return Problem(status, "invalid_request_error", None, "The request cannot be served.")


def _unexpected(context: AppContext) -> Callable[[Request[Any, Any, Any], Exception], Response[bytes]]:
    def handle(_: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
        context.log.write(Fault("", type(error).__name__, where(error)))
        return respond(problems.INTERNAL)

    return handle
