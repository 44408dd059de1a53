"""uvicorn's HTTP protocol with bounds on what may come before a request exists, and without its free-text
log.

Adds, and changes nothing else: a time limit until headers are complete (also on a new connection that
stays silent), a cap on header bytes, a time limit on a body that nobody reads any more, refusals in OpenAI
form, and for handlers two extensions: to cut the connection, and to see whether a write would have to wait.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from gateway.config import Limits
from gateway.errors import Problem
from gateway.problems import BAD_HTTP, HEADERS_TOO_LARGE, error_body

_SILENT = logging.Logger("casemate.silent", logging.CRITICAL + 1)
_SILENT.disabled = True


class _HeadersTooLarge(Exception):  # noqa: N818
    """Raised inside a parser callback; the parser turns it into its own error."""


class CasemateHttpProtocol(HttpToolsProtocol):
    """One connection. The class attributes are the limits; `http_protocol()` makes a class with others."""

    header_seconds: float = Limits().header_seconds
    header_bytes: int = Limits().header_bytes
    body_seconds: float = Limits().body_silence_seconds

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.logger = _SILENT
        self.access_log = False
        self._deadline: asyncio.TimerHandle | None = None
        self._in_headers = True
        self._in_body = False
        self._begun = 0
        self._received = 0
        self._counted = 0
        self._problem: Problem = BAD_HTTP

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._arm(self.header_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        super().connection_lost(exc)
        # After a reset uvicorn would let its keep-alive timer hold this object, and a request's headers, on.
        self._unset_keepalive_if_required()

    def data_received(self, data: bytes) -> None:
        begun = self._begun
        super().data_received(data)
        if not self._in_headers or self.transport.is_closing():
            return
        if begun == self._begun or begun == 0:  # else: part of `data` belonged to the request before
            self._received += len(data)
        if self._received > self.header_bytes:
            self._problem = HEADERS_TOO_LARGE
            self.send_400_response("")

    def send_400_response(self, msg: str) -> None:
        """Refuse in OpenAI form; `msg` is uvicorn's and not shown. Nothing is put into a running response."""
        self._disarm()
        if self.cycle is not None and not self.cycle.response_complete:
            self.transport.close()
            return
        body = error_body(self._problem)
        self.transport.write(
            STATUS_LINE[self._problem.status]
            + b"content-type: application/json\r\ncache-control: no-store\r\nconnection: close\r\n"
            + b"content-length: "
            + str(len(body)).encode("ascii")
            + b"\r\n\r\n"
            + body
        )
        self.transport.close()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_headers = True
        self._begun += 1
        self._counted = 0
        if self._deadline is None:
            self._arm(self.header_seconds)
        self.scope["extensions"] = {
            "casemate.abort": {"call": self.transport.abort},
            "casemate.flow": {"control": self.flow},
        }

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(len(name) + len(value) + 4)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._disarm()
        self._in_headers = False
        self._in_body = True
        self._received = 0
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._in_body = False
        self._disarm()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._in_body and not self.transport.is_closing():
            self._arm(self.body_seconds)

    def _count(self, size: int) -> None:
        self._counted += size
        if self._counted > self.header_bytes:
            self._problem = HEADERS_TOO_LARGE
            raise _HeadersTooLarge

    def _arm(self, seconds: float) -> None:
        self._disarm()
        self._deadline = self.loop.call_later(seconds, self._expire)

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _expire(self) -> None:
        self._deadline = None
        self.transport.abort()


def http_protocol(limits: Limits) -> type[CasemateHttpProtocol]:
    """A protocol class with the configured limits."""
    members = {
        "header_seconds": limits.header_seconds,
        "header_bytes": limits.header_bytes,
        "body_seconds": limits.body_silence_seconds,
    }
    return type("ConfiguredHttpProtocol", (CasemateHttpProtocol,), members)
