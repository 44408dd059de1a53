"""A connection carries another request only if the last exchange ended cleanly on both sides."""

from __future__ import annotations

import asyncio
from typing import Any

import h11
import pytest

from attestation.transport.connection import Connection, run_now

HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"


class BrokenWrite(Exception):  # noqa: N818
    pass


class Script:
    """A stream that answers with the pieces it was given, and fails to write if told so."""

    def __init__(self, *pieces: bytes, broken: bool = False) -> None:
        self._pieces = list(pieces)
        self._broken = broken
        self.written = b""

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._pieces.pop(0) if self._pieces else b""

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        if self._broken and self.written:
            raise BrokenWrite
        self.written += buffer

    async def aclose(self) -> None:
        pass

    def get_extra_info(self, info: str) -> Any:
        return None


class Chunks:
    def __init__(self, *chunks: bytes) -> None:
        self._chunks = list(chunks)

    async def next_chunk(self) -> bytes | None:
        return self._chunks.pop(0) if self._chunks else None


def exchange(script: Script, *body: bytes, read: bool = True) -> tuple[Connection, bytes]:
    connection = Connection(script, write_error=BrokenWrite)
    head = h11.Request(method="POST", target="/", headers=[("Host", "a"), ("Transfer-Encoding", "chunked")])
    run_now(connection.send(head, Chunks(*body), None))
    run_now(connection.receive_head(None))
    received = b""
    while read and (chunk := run_now(connection.receive_chunk(None))) is not None:
        received += chunk
    return connection, received


def test_a_clean_exchange_leaves_a_connection_for_the_next() -> None:
    connection, received = exchange(Script(HEAD, b"hello"), b"question")
    assert received == b"hello"
    assert connection.finish_cycle()


@pytest.mark.parametrize(
    "pieces",
    [
        (HEAD.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n"), b"hello"),
        (HEAD, b"helloHTTP/1.1 200 OK\r\n\r\n"),
        (HEAD.replace(b"1.1", b"1.0"), b"hello"),
    ],
    ids=["told to close", "bytes that nobody asked for", "an older protocol"],
)
def test_no_request_follows_after(pieces: tuple[bytes, ...]) -> None:
    connection, received = exchange(Script(*pieces))
    assert received == b"hello"
    assert not connection.finish_cycle()


def test_no_request_follows_an_answer_that_was_not_read_to_its_end() -> None:
    connection, _ = exchange(Script(HEAD, b"he"), read=False)
    assert not connection.finish_cycle()


def test_a_peer_that_stopped_reading_is_still_heard_and_its_connection_not_used_again() -> None:
    connection, received = exchange(Script(HEAD, b"hello", broken=True), b"x" * 10, b"y" * 10)
    assert received == b"hello"
    assert not connection.finish_cycle()


@pytest.mark.parametrize("pieces", [(), (HEAD, b"hel"), (HEAD[:10],), (b"SSH-2.0-x\r\n",)])
def test_an_answer_that_breaks_off_is_an_error(pieces: tuple[bytes, ...]) -> None:
    with pytest.raises(h11.RemoteProtocolError):
        exchange(Script(*pieces))


def test_informational_answers_are_skipped() -> None:
    connection, received = exchange(Script(b"HTTP/1.1 103 Early Hints\r\n\r\n" + HEAD + b"hello"))
    assert (received, connection.finish_cycle()) == (b"hello", True)


def test_a_change_of_protocol_is_refused() -> None:
    with pytest.raises(h11.RemoteProtocolError):
        exchange(Script(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n"))


def test_work_that_needs_an_event_loop_does_not_run_without_one() -> None:
    with pytest.raises(RuntimeError, match="event loop"):
        run_now(asyncio.sleep(1))
