"""A local port that makes any OpenAI program a verified client: plain HTTP on loopback, sealed beyond it.

A bare ASGI application. It accepts this machine only: a loopback Host header (a web page that rebinds its DNS
name to 127.0.0.1 still sends its own name) and no foreign Origin.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import suppress
from typing import Any
from urllib.parse import unquote

import httpx2
import uvicorn
from rich.console import Console

from attestation.ehbp import EhbpError
from attestation.errors import AttestationError, CannotDecide
from attestation.model import Appraisal, Verdict
from attestation.policy.model import Policy
from attestation.transport.binding import APPRAISAL_EXTENSION, STALE_KEY_EXTENSION
from attestation.transport.httpx2_transport import AsyncVerifiedTransport

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
RawHeaders = list[tuple[bytes, bytes]]

PREFIXES = ("/api/v1/", "/v1/")
REPLAYABLE_BYTES = 1024 * 1024  # bodies up to here are kept, so that a changed sealing key costs no error
ATTESTATION_HEADER = b"casemate-attestation"

_NO_RETRY = (b"x-should-retry", b"false")
_RETRY = (b"x-should-retry", b"true")

_SHOWN = ("source", "trust_class", "product", "measurement", "root_source", "config_sha384")
_TIMEOUT = httpx2.Timeout(connect=10.0, read=600.0, write=60.0, pool=None)
_HOP_BY_HOP = frozenset(
    b"connection keep-alive proxy-connection te trailer transfer-encoding upgrade".split()
)
_DROPPED_REQUEST = _HOP_BY_HOP | frozenset(
    b"host content-length expect origin referer cookie proxy-authorization forwarded"
    b" x-forwarded-for x-forwarded-host x-forwarded-proto".split()
)
_DROPPED_RESPONSE = _HOP_BY_HOP | frozenset(
    b"proxy-authenticate set-cookie alt-svc strict-transport-security ehbp-response-nonce"
    b" casemate-attestation".split()  # what the gateway says of itself is not what was verified
)


class _ClientGone(Exception):  # noqa: N818 - a fact, not an error of ours
    """The local program closed its connection."""


class ProxyApp:
    """The ASGI application: five steps per request, each able to end it."""

    def __init__(self, transport: AsyncVerifiedTransport, upstream: str, port: int) -> None:
        self._transport = transport
        self._upstream = httpx2.URL(upstream).copy_with(path="/", query=None)
        names = ("127.0.0.1", "localhost", "[::1]")
        ported = {f"{name}:{port}" for name in names}
        self._hosts = ported | set(names) if port == 80 else ported
        self._origins = {f"http://{host}" for host in self._hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one HTTP request; any other kind of scope is refused by not being handled."""
        if scope["type"] != "http":
            raise RuntimeError("only HTTP is served here")
        refusal = self._refuse(scope)
        if refusal is not None:
            status, code, message = refusal
            await _answer_problem(send, status, "invalid_request_error", code, message)
            return
        inbox = _Inbox(receive)
        work = asyncio.ensure_future(self._forward(scope, inbox, send))
        gone = asyncio.ensure_future(inbox.wait_until_gone())
        try:
            # Whichever comes first: a client that left cancels the request upstream.
            await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (work, gone):
                task.cancel()
            results = await asyncio.gather(work, gone, return_exceptions=True)
        if isinstance(results[0], Exception) and not isinstance(results[0], _ClientGone):
            raise results[0]

    def _refuse(self, scope: Scope) -> tuple[int, str, str] | None:
        headers = {name.lower(): value.decode("latin-1").lower() for name, value in scope["headers"]}
        if headers.get(b"host", "") not in self._hosts:
            return 403, "host_not_allowed", "This proxy answers to its own loopback address only."
        if headers.get(b"origin", "") not in self._origins | {""}:
            return 403, "origin_not_allowed", "Web pages may not use this proxy."
        if headers.get(b"sec-fetch-site", "none") not in ("none", "same-origin"):
            return 403, "origin_not_allowed", "Web pages may not use this proxy."
        if scope["http_version"] == "1.0":  # there, a connection that breaks off ends a body
            return 505, "http_version_not_supported", "HTTP/1.0 cannot tell a whole answer from a cut one."
        path = unquote(_raw_path(scope).decode("latin-1"))
        if not path.startswith(PREFIXES) or {".", ".."} & set(path.split("/")):
            return 404, "not_found", "Only /api/v1/ and /v1/ are forwarded."
        return None

    async def _forward(self, scope: Scope, inbox: _Inbox, send: Send) -> None:
        try:
            request = await self._request(scope, inbox)
            response = await self._transport.handle_async_request(request)
        except AttestationError as error:
            code = "gateway_response_refused" if isinstance(error, EhbpError) else "gateway_unverified"
            await _answer_problem(send, 502, "upstream_error", code, _reason(error), _NO_RETRY)
            return
        except httpx2.HTTPError as error:
            message = f"The gateway could not be reached or broke off ({type(error).__name__})."
            await _answer_problem(send, 502, "upstream_error", "gateway_unreachable", message)
            return
        try:
            if response.extensions[STALE_KEY_EXTENSION]:
                message = "The gateway has changed its sealing key. Send the request again."
                await _answer_problem(send, 503, "upstream_error", "gateway_key_changed", message, _RETRY)
            else:
                await _relay(response, send)
        finally:
            await response.aclose()

    async def _request(self, scope: Scope, inbox: _Inbox) -> httpx2.Request:
        target = _raw_path(scope)
        if scope["query_string"]:
            target += b"?" + scope["query_string"]
        headers = [(n, v) for n, v in scope["headers"] if n.lower() not in _DROPPED_REQUEST]
        content = await _content(scope["headers"], inbox)
        return httpx2.Request(
            scope["method"],
            self._upstream.copy_with(raw_path=target),
            headers=headers,
            content=content,
            extensions={"timeout": _TIMEOUT.as_dict()},
        )


class _Inbox:
    """The client's messages: its body first, then only the news that it has left."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._body_read = asyncio.Event()

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the request body as it arrives. Raises _ClientGone if the client leaves within it."""
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise _ClientGone
            if message.get("body"):
                yield message["body"]
            if not message.get("more_body", False):
                self._body_read.set()
                return

    async def wait_until_gone(self) -> None:
        """Return when the client has left after sending its body."""
        await self._body_read.wait()
        while (await self._receive())["type"] != "http.disconnect":
            pass


async def _content(headers: RawHeaders, inbox: _Inbox) -> bytes | AsyncIterator[bytes] | None:
    """The body to send: none, small and kept (it can be sealed twice), or streamed as it arrives."""
    fields = {name.lower(): value for name, value in headers}
    length = fields.get(b"content-length", b"0")
    if b"transfer-encoding" not in fields and length.isdigit() and int(length) <= REPLAYABLE_BYTES:
        return b"".join([chunk async for chunk in inbox.chunks()]) or None
    return inbox.chunks()


async def _relay(response: httpx2.Response, send: Send) -> None:
    """Pass a response on chunk by chunk. One that breaks off is never ended as if it were whole."""
    appraisal: Appraisal = response.extensions[APPRAISAL_EXTENSION]
    headers = [(n.lower(), v) for n, v in response.headers.raw if n.lower() not in _DROPPED_RESPONSE]
    headers.append((ATTESTATION_HEADER, appraisal.verdict.value.encode()))
    await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
    assert isinstance(response.stream, httpx2.AsyncByteStream)  # noqa: S101 - narrows a union for mypy
    try:
        async for chunk in response.stream:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
    except (AttestationError, httpx2.HTTPError):
        # Not completing makes the server close the connection, which the client sees as a broken response.
        return
    await send({"type": "http.response.body", "body": b""})


async def _answer_problem(
    send: Send, status: int, kind: str, code: str, message: str, *headers: tuple[bytes, bytes]
) -> None:
    error = {"message": message, "type": kind, "code": code, "param": None}
    body = json.dumps({"error": error}).encode()
    fields = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        *headers,
    ]
    await send({"type": "http.response.start", "status": status, "headers": fields})
    await send({"type": "http.response.body", "body": body})


def _reason(error: AttestationError) -> str:
    """Checks by name first, so that a program's log says which rule stopped it."""
    if isinstance(error, EhbpError):
        return f"The response was not sealed by the attested key and is discarded: {error}."
    names = ", ".join(check.id for check in error.checks) or type(error).__name__
    sentence = f"Nothing was sent: the gateway could not be verified ({names}). {error}."
    return f"{sentence} Hint: {error.hint}." if error.hint else sentence


def _raw_path(scope: Scope) -> bytes:
    raw: bytes = scope.get("raw_path") or scope["path"].encode()
    return raw.split(b"?")[0]


def run_proxy(
    url: str,
    policy: Policy,
    host: str = "127.0.0.1",
    port: int = 8080,
    ca: str | os.PathLike[str] | None = None,
) -> None:
    """Verify the gateway at `url`, say so, and serve until interrupted.

    `host` must be a loopback address; port 0 takes a free one. Raises an AttestationError if the gateway is
    refused or cannot be reached at the start, if others could reach `host`, or if the port is taken.
    """
    if host != "localhost" and not _is_loopback(host):
        raise CannotDecide(
            "the proxy listens on loopback only", hint="use --host 127.0.0.1: what it serves is not encrypted"
        )
    transport = AsyncVerifiedTransport(url, policy, ca=ca)
    with _listen(host, port) as listener, suppress(KeyboardInterrupt):
        asyncio.run(_serve(transport, url, listener))


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=128)
    except OSError as error:
        raise CannotDecide(
            f"cannot listen on {host} port {port}: {os.strerror(error.errno or 0)}",
            hint="name another with --port; 0 takes any that is free",
        ) from error


async def _serve(transport: AsyncVerifiedTransport, url: str, listener: socket.socket) -> None:
    host, port = listener.getsockname()[:2]
    try:
        try:
            appraisal = await transport.verify()
        except httpx2.HTTPError as error:
            raise CannotDecide(
                f"cannot reach {url}: {error}", hint="start the gateway first, or correct the URL"
            ) from error
        shown = f"[{host}]" if ":" in host else host
        _announce(Console(stderr=True), appraisal, url, f"http://{shown}:{port}")
        server = uvicorn.Server(server_config(ProxyApp(transport, url, port)))
        await server.serve(sockets=[listener])
    finally:
        await transport.aclose()


def server_config(app: ProxyApp) -> uvicorn.Config:
    """How uvicorn runs the proxy: h11, no access log, no forwarding header believed."""
    return uvicorn.Config(
        app,
        http="h11",
        ws="none",
        lifespan="off",
        log_level="critical",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        workers=1,
        timeout_graceful_shutdown=5,
    )


def _announce(console: Console, appraisal: Appraisal, url: str, local: str) -> None:
    if appraisal.verdict is Verdict.ACCEPTED_INSECURE:
        console.print(
            "INSECURE DEVELOPMENT: a simulated TEE signed this evidence. It protects nothing; no real data.",
            style="bold white on red",
            markup=False,
        )
    lines: Iterable[str] = (
        f"{url}: {appraisal.verdict.value} ({len(appraisal.checks)} checks)",
        *(f"  {name}: {appraisal.facts[name]}" for name in _SHOWN if name in appraisal.facts),
        f"Verified connections for OpenAI programs: base_url = {local}/api/v1",
    )
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
