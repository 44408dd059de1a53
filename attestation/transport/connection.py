"""One HTTP/1.1 connection over any byte stream: h11 for the protocol, nothing else.

Written once for blocking and asynchronous streams: everything is a coroutine, and over a blocking stream no
coroutine ever suspends, so `run_now` finishes it without an event loop.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import h11

READ_BYTES = 64 * 1024
MAX_HEAD_BYTES = 100 * 1024

Result = TypeVar("Result")

# Seconds for one read; a function gives those that are left of a time for many, so that a peer which drips
# bytes, or informational responses, gains nothing by it.
Patience = float | None | Callable[[], float]


def run_now(work: Coroutine[Any, Any, Result]) -> Result:
    """Finish a coroutine that only ever touches blocking streams. Raises RuntimeError if it suspends."""
    try:
        work.send(None)
    except StopIteration as stop:
        value: Result = stop.value
        return value
    work.close()
    raise RuntimeError("a blocking transport met an operation that needs an event loop")


class Stream(Protocol):
    """What httpcore's asynchronous network streams offer; `blocking.BlockingStream` fits the others to it."""

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes: ...

    async def write(self, buffer: bytes, timeout: float | None = None) -> None: ...

    async def aclose(self) -> None: ...

    def get_extra_info(self, info: str) -> Any: ...


class Body(Protocol):
    """A request or response body, chunk by chunk."""

    async def next_chunk(self) -> bytes | None:
        """Return the next chunk, or None at the end."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds for each network operation; None waits for ever. Same meaning as in httpx."""

    connect: float | None = None
    read: float | None = None
    write: float | None = None


class Connection:
    """Sends one request at a time and receives its response. One owner at a time: not for concurrent use."""

    def __init__(self, stream: Stream, *, write_error: type[Exception]) -> None:
        self._stream = stream
        self._write_error = write_error
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD_BYTES)

    @property
    def tls(self) -> Any:
        """The `ssl.SSLObject` or `ssl.SSLSocket` under this connection."""
        return self._stream.get_extra_info("ssl_object")

    async def send(self, head: h11.Request, body: Body | None, timeout: float | None) -> None:
        """Send a whole request. A peer that stopped reading may have answered: then go on to its answer."""
        try:
            await self._send(head, timeout)
            while body is not None and (chunk := await body.next_chunk()) is not None:
                await self._send(h11.Data(data=chunk), timeout)
            await self._send(h11.EndOfMessage(), timeout)
        except self._write_error:
            return

    async def receive_head(self, timeout: Patience) -> h11.Response:
        """Return the final response head; informational ones are skipped. Raises h11.RemoteProtocolError."""
        while True:
            event = await self._next_event(timeout)
            if isinstance(event, h11.Response):
                return event
            if not isinstance(event, h11.InformationalResponse) or event.status_code == 101:
                raise h11.RemoteProtocolError("the server did not answer with an HTTP response")

    async def receive_chunk(self, timeout: Patience) -> bytes | None:
        """Return the next piece of the response body, None at its end. A cut body raises."""
        event = await self._next_event(timeout)
        return bytes(event.data) if isinstance(event, h11.Data) else None

    def finish_cycle(self) -> bool:
        """Make ready for another request; False if this connection cannot carry one."""
        idle = self._http.our_state is h11.DONE and self._http.their_state is h11.DONE
        if not idle or self._http.trailing_data[0]:
            return False
        self._http.start_next_cycle()
        return True

    def has_gone(self) -> bool:
        """True if the server closed, or sent what nobody asked for: it would pass for the next answer."""
        return bool(self._stream.get_extra_info("is_readable")) or _holds_more(self.tls)

    async def aclose(self) -> None:
        """Close the socket. Safe to call twice."""
        await self._stream.aclose()

    async def _send(self, event: h11.Event, timeout: float | None) -> None:
        data = self._http.send(event)
        if data:
            await self._stream.write(data, timeout)

    async def _next_event(self, timeout: Patience) -> h11.Event | type[h11.PAUSED]:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            data = await self._stream.read(READ_BYTES, timeout() if callable(timeout) else timeout)
            # Closing ends no body either, as it would in HTTP/1.0: whoever sits on the network can close.
            if not data and self._http.their_state in (h11.SEND_RESPONSE, h11.SEND_BODY):
                raise h11.RemoteProtocolError("the server closed the connection before its response ended")
            self._http.receive_data(data)
        return event  # type: ignore[return-value]


def _holds_more(tls: Any) -> bool:
    """Whether decrypted or decryptable bytes wait above the socket, which then looks idle."""
    if not isinstance(tls, ssl.SSLObject):
        return bool(tls.pending())
    try:
        tls.read(1)  # from memory: never blocks, and nobody will miss the byte of a connection to be closed
    except ssl.SSLWantReadError:
        return False
    except ssl.SSLError:
        return True
    return True
