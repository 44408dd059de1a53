"""A closed-loop load generator over TLS 1.3, in a process of its own, told by JSON lines what to do.

`{"port", "ca", "path", "key", "body", "stream", "connections"}` opens that many connections, sends
one unmeasured request on each and answers `{"ready": true}`. `{"seconds": S}` keeps every one busy for that
long, lets what is in flight end, closes all and answers with the numbers. No handshake is measured.
"""

from __future__ import annotations

import asyncio
import gc
import json
import ssl
import sys
import time
from dataclasses import dataclass, field
from typing import Any, cast

import uvloop

_TAIL = 96  # bytes kept of what came last, enough for `data: [DONE]` in chunked framing however it is cut
_END = b"0\r\n\r\n"
PATIENCE = 30.0  # seconds for what is in flight when the time is up


@dataclass(slots=True)
class Tally:
    """What all connections of one measurement have seen; seconds."""

    whole: list[float] = field(default_factory=list)
    first_event: list[float] = field(default_factory=list)
    errors: dict[str, int] = field(default_factory=dict)
    until: float = 0.0

    def failed(self, reason: str) -> None:
        """Count one request that did not get a whole 200."""
        self.errors[reason] = self.errors.get(reason, 0) + 1


class Client(asyncio.Protocol):
    """One connection: a request, its response, the next request, for as long as the tally says."""

    def __init__(self, request: bytes, stream: bool, tally: Tally) -> None:
        self._request, self._stream, self._tally = request, stream, tally
        self._loop = asyncio.get_running_loop()
        self._head, self._tail, self._status = b"", b"", b""
        self._left: int | None = None
        self._in_body = False
        self._started = self._first = 0.0
        self.idle: asyncio.Future[None] = self._loop.create_future()
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's own class has its methods only

    def begin(self) -> asyncio.Future[None]:
        """Send the next request; the future ends when this connection has nothing in flight any more."""
        if self.idle.done():
            self.idle = self._loop.create_future()
        self._send()
        return self.idle

    def _send(self) -> None:
        self._head, self._tail, self._in_body, self._first = b"", b"", False, 0.0
        self._started = time.perf_counter()
        self.transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        now = time.perf_counter()
        if not self._in_body:
            self._head += data
            head, found, data = self._head.partition(b"\r\n\r\n")
            if not found:
                return
            self._headers(head)
        if not self._first and (data if not self._stream else b"data:" in self._tail + data):
            self._first = now
        self._tail = (self._tail + data)[-_TAIL:] if len(data) < _TAIL else data[-_TAIL:]
        if self._left is None:
            ended = self._tail.endswith(_END)
        else:
            self._left -= len(data)
            ended = self._left <= 0
        if ended:
            self._ended(now)

    def _headers(self, head: bytes) -> None:
        self._in_body, self._status = True, head[9:12]
        _, found, rest = head.lower().partition(b"\r\ncontent-length:")
        self._left = int(rest.split(b"\r\n", 1)[0]) if found else None

    def _ended(self, now: float) -> None:
        tally = self._tally
        if self._status != b"200":
            tally.failed(f"status {self._status.decode('ascii', 'replace')}")
        elif self._stream and b"[DONE]" not in self._tail:
            tally.failed("stream without its end")
        else:
            tally.whole.append(now - self._started)
            tally.first_event.append(self._first - self._started)
        if now < tally.until:
            self._send()
        else:
            self.idle.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.idle.done():
            self._tally.failed("connection lost")
            self.idle.set_result(None)


def request_bytes(order: dict[str, Any]) -> bytes:
    """The one request that is sent again and again."""
    body = json.dumps(order["body"]).encode()
    head = (
        f"POST {order['path']} HTTP/1.1\r\nhost: localhost:{order['port']}\r\n"
        f"authorization: Bearer {order['key']}\r\n"
        f"content-type: application/json\r\naccept: */*\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def client_context(ca: str) -> ssl.SSLContext:
    """TLS 1.3 only, verifying."""
    context = ssl.create_default_context(cafile=ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context


async def connect(order: dict[str, Any]) -> tuple[list[Client], Tally]:
    """Open and warm all connections, some at a time, so that no listen queue overflows."""
    tally, context, request = Tally(), client_context(order["ca"]), request_bytes(order)
    loop, clients = asyncio.get_running_loop(), []
    for _ in range(order["connections"]):
        _, client = await loop.create_connection(
            lambda: Client(request, order["stream"], tally),
            "127.0.0.1",
            order["port"],
            ssl=context,
            server_hostname="localhost",
        )
        clients.append(client)
        if len(clients) % 16 == 0:
            await asyncio.gather(*(each.begin() for each in clients[-16:]))
    rest = len(clients) % 16
    if rest:
        await asyncio.gather(*(each.begin() for each in clients[-rest:]))
    return clients, tally


def quantile(values: list[float], share: float) -> float | None:
    """The value below which `share` of all lie, in microseconds; None without any."""
    if not values:
        return None
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1e6


async def measure(clients: list[Client], tally: Tally, seconds: float) -> dict[str, Any]:
    """Keep all connections busy, then sum up."""
    tally.whole.clear()
    tally.first_event.clear()
    usable = [client for client in clients if not client.transport.is_closing()]
    started = time.perf_counter()
    tally.until = started + seconds
    _, late = await asyncio.wait([client.begin() for client in usable], timeout=seconds + PATIENCE)
    for _ in late:
        tally.failed("no answer")
    elapsed = time.perf_counter() - started
    for client in clients:
        client.transport.abort()
    return {
        "requests": len(tally.whole),
        "seconds": elapsed,
        "p50": quantile(tally.whole, 0.50),
        "p99": quantile(tally.whole, 0.99),
        "first_p50": quantile(tally.first_event, 0.50),
        "first_p99": quantile(tally.first_event, 0.99),
        "errors": tally.errors,
    }


async def obey() -> None:
    """Orders from standard input until it ends; one JSON line back for each."""
    loop = asyncio.get_running_loop()
    clients: list[Client] = []
    tally = Tally()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        order = json.loads(line)
        if "port" in order:
            clients, tally = await connect(order)
            gc.collect()
            answer: dict[str, Any] = {"ready": True}
        else:
            answer = await measure(clients, tally, order["seconds"])
            await asyncio.sleep(0)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    gc.disable()
    uvloop.run(obey())
