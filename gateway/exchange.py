"""One request and its response.

Identity, headers, sealing, writing with a stall limit, and noticing that a client left.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Coroutine, MutableMapping
from types import TracebackType
from typing import Any, TypeVar

from attestation.ehbp import RESPONSE_NONCE_HEADER, ResponseSealer
from gateway.context import AppContext
from gateway.errors import Problem
from gateway.problems import Headers, error_body, error_headers
from gateway.wire.sse import encode_event

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
T = TypeVar("T")

INSECURE_HEADER = (b"casemate-attestation", b"development")


class ClientLeft(Exception):  # noqa: N818 - what happened
    """The client closed its connection, or stopped reading for too long."""


class Exchange:
    """Lives as long as one request. Nothing of its content is kept here."""

    def __init__(self, context: AppContext, scope: Scope, receive: Receive, send: Send) -> None:
        self.context = context
        self.scope = scope
        self.receive = receive
        self.request_id = new_request_id()
        self.began = time.perf_counter()
        self.status = 0
        self.streaming = False
        self.finished = False
        self.extra: Headers = []
        self._send = send
        self._sealer: ResponseSealer | None = None
        self.opened_by: int | None = None

    @property
    def milliseconds(self) -> int:
        """Since the request began."""
        return int((time.perf_counter() - self.began) * 1000)

    @property
    def sealed(self) -> bool:
        """True once the response will be sealed."""
        return self._sealer is not None

    def seal_with(self, sealer: ResponseSealer, opened_by: int | None) -> None:
        """From here on every response body, errors included, leaves sealed. `opened_by`: the key's number."""
        self._sealer = sealer
        self.opened_by = opened_by

    def unseal(self) -> None:
        """Answer in plain after all: clients look for the stale-key problem (422) outside the seal."""
        self._sealer = None

    def header(self, name: bytes) -> bytes | None:
        """The first request header of that (lower-case) name."""
        return next((value for key, value in self.scope["headers"] if key == name), None)

    async def start(self, status: int, headers: Headers, *, streaming: bool = False) -> None:
        """Send status and headers."""
        self.status = status
        self.streaming = streaming
        everything = [
            *headers,
            *self.extra,
            *base_headers(self.request_id, self.began, self.context.insecure),
        ]
        if self._sealer is not None:
            everything.append((RESPONSE_NONCE_HEADER.lower().encode(), self._sealer.nonce_hex.encode()))
        await self._out({"type": "http.response.start", "status": status, "headers": everything})

    async def write(self, body: bytes, *, more: bool = True) -> None:
        """Send a part of the body. Raises ClientLeft if the client does not take it in time."""
        if self._sealer is not None:
            body = self._sealer.seal(body)
        self.finished = not more
        await self._out({"type": "http.response.body", "body": body, "more_body": more})

    async def reply(self, status: int, headers: Headers, body: bytes) -> None:
        """A whole response at once."""
        if self._sealer is None:
            headers = [*headers, (b"content-length", str(len(body)).encode())]
        await self.start(status, headers)
        await self.write(body, more=False)

    async def fail(self, problem: Problem) -> None:
        """Tell a problem: as a response, or as the last event of a stream that has begun (then without
        `[DONE]`).
        """
        if self.finished:
            return
        if not self.status:
            await self.reply(problem.status, error_headers(problem), error_body(problem))
        elif self.streaming:
            await self.write(encode_event(error_body(problem)), more=False)
        else:
            self.abort()

    def abort(self) -> None:
        """Cut the connection, where the server offers that."""
        self.finished = True
        extension = self.scope.get("extensions", {}).get("casemate.abort")
        if extension is not None:
            extension["call"]()

    async def _out(self, message: Message) -> None:
        if not self._may_wait():
            await self._send(message)  # returns at once: a time limit would cost more than sending
            return
        try:
            async with asyncio.timeout(self.context.config.limits.write_stall_seconds):
                await self._send(message)
        except TimeoutError as error:
            self.abort()
            raise ClientLeft from error

    def _may_wait(self) -> bool:
        """False where the server says that what the client left unread does not fill its buffers."""
        flow = self.scope.get("extensions", {}).get("casemate.flow")
        return flow is None or flow["control"].write_paused


class Presence:
    """`async with`: cancels the block as soon as the client leaves, and turns that into ClientLeft.

    The request body must have been read: this listens on the same channel.
    """

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._left = False

    async def __aenter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine that runs is in a task
        self._task = task
        self._watcher = asyncio.create_task(self._watch())

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._watcher.cancel()
        task = self._task
        del self._watcher, self._task  # a cycle with them would keep the request's headers
        if self._left and task.uncancel() == 0 and kind is asyncio.CancelledError:
            raise ClientLeft from None

    async def _watch(self) -> None:
        while (await self._exchange.receive())["type"] != "http.disconnect":
            continue
        if not self._exchange.finished:
            self._left = True
            self._task.cancel()


async def through(work: Coroutine[Any, Any, T]) -> T:
    """Run `work` to its end even if this task is cancelled meanwhile; the cancellation goes on afterwards."""
    task = asyncio.create_task(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        if not task.cancelled():
            task.exception()  # a failure of the work does not hide the cancellation
        raise cancelled
    return task.result()


def new_request_id() -> str:
    """A random name for one request: nothing of the client's."""
    return "req_" + secrets.token_hex(16)


def base_headers(request_id: str, began: float, insecure: bool) -> Headers:
    """What every response carries. SDKs of both families read their own name of the request id."""
    headers = [
        (b"x-request-id", request_id.encode()),
        (b"request-id", request_id.encode()),
        (b"openai-processing-ms", str(int((time.perf_counter() - began) * 1000)).encode()),
        (b"cache-control", b"no-store"),
    ]
    return [*headers, INSECURE_HEADER] if insecure else headers
