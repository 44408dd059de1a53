"""Clients that take their time: every one is cut off, and meanwhile the others are served at once."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass

from attestation.pinned_tls import client_context
from gateway.config import Limits
from tests.stories.conftest import USUAL_FILES, Story, files_at_once
from tests.stories.verifiers import CHAT
from tests.stories.wire import CANARY, CHAT_LINE, chat_body, chat_head, require_refusal, responses

LIMITS = Limits()  # `casemate dev` sets no others
MARGIN_SECONDS = 6.0
SILENT = 200
SERVED_SECONDS = 5.0

Sending = Callable[[Story], AsyncIterator[bytes]]


@dataclass(frozen=True, slots=True)
class Slow:
    """What a client sends, when it has to be cut off, and what it may be told before that."""

    send: Sending
    seconds: float
    statuses: tuple[int, ...] = ()


def at_once(make: Callable[[Story], bytes]) -> Sending:
    """Everything it will ever send."""

    async def send(story: Story) -> AsyncIterator[bytes]:
        yield make(story)

    return send


def dripping(first: Callable[[Story], bytes], drop: bytes) -> Sending:
    """Something, and then one more drop each moment, for ever."""

    async def send(story: Story) -> AsyncIterator[bytes]:
        yield first(story)
        while True:
            await asyncio.sleep(0.5)
            yield drop

    return send


def get_with_body(target: str) -> bytes:
    return f"GET {target} HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n".encode()


def post(target: str, key: str = "zima-wrong") -> bytes:
    fields = (
        f"host: x\r\nauthorization: Bearer {key}\r\ncontent-type: application/json\r\ncontent-length: 1000"
    )
    return f"POST {target} HTTP/1.1\r\n{fields}\r\n\r\n".encode()


def whole_request(story: Story) -> bytes:
    body = chat_body()
    return chat_head(story, f"content-length: {len(body)}") + body


HEADERS, BODY = LIMITS.header_seconds + MARGIN_SECONDS, LIMITS.body_silence_seconds + MARGIN_SECONDS
ATTACKS = {
    "nothing": Slow(at_once(lambda story: b""), HEADERS),
    "half a request line": Slow(at_once(lambda story: CHAT_LINE.encode()[:9]), HEADERS),
    "half a head": Slow(at_once(lambda story: chat_head(story)[:-2]), HEADERS),
    "a head, letter by letter": Slow(dripping(lambda story: b"GET /", b"x"), HEADERS),
    "a head, header by header": Slow(
        dripping(lambda story: chat_head(story)[:-2], f"x: {CANARY}\r\n".encode()), HEADERS
    ),
    "empty lines": Slow(dripping(lambda story: b"\r\n", b"\r\n"), HEADERS),
    "half a second head": Slow(
        at_once(lambda story: whole_request(story) + chat_head(story)[:-2]), HEADERS, (200,)
    ),
    "a head without its body": Slow(
        at_once(lambda story: chat_head(story, "content-length: 99")), BODY, (408,)
    ),
    "half a body": Slow(
        at_once(lambda story: chat_head(story, "content-length: 99") + CANARY.encode()), BODY, (408,)
    ),
    "half a chunk": Slow(
        at_once(lambda story: chat_head(story, "transfer-encoding: chunked") + b"99\r\n" + CANARY.encode()),
        BODY,
        (408,),
    ),
    "a sealed body that never begins": Slow(
        at_once(lambda story: chat_head(story, "content-length: 99", f"ehbp-encapsulated-key: {'09' * 32}")),
        BODY,
        (408,),
    ),
    "half a body under a wrong key": Slow(at_once(lambda story: post(CHAT)), BODY, (401,)),
    "half a body to an administrator's path": Slow(
        at_once(lambda story: post("/admin/v1/accounts")), BODY, (401,)
    ),
    "half an administrator's body": Slow(
        at_once(lambda story: post("/admin/v1/accounts", story.dev.env["CASEMATE_ADMIN_KEY"])), BODY, (408,)
    ),
    "a body that nobody asked for": Slow(at_once(lambda story: get_with_body("/healthz")), BODY, (200,)),
    "a body to nowhere": Slow(at_once(lambda story: post("/nowhere")), BODY, (404,)),
}


async def test_slow_clients_are_cut_off_while_others_are_served(story: Story) -> None:
    tls = client_context(story.ca_pem)
    async with asyncio.TaskGroup() as group:
        attacks = {name: group.create_task(suffer(story, tls, attack)) for name, attack in ATTACKS.items()}
        crowd = [group.create_task(suffer(story, tls, ATTACKS["nothing"])) for _ in range(SILENT)]
        for _ in range(5):
            await asyncio.sleep(1)
            assert await asyncio.to_thread(served_within, story) < SERVED_SECONDS
    ends = {name: task.result() for name, task in attacks.items()}
    assert {name: seconds for name, (seconds, _) in ends.items() if seconds > ATTACKS[name].seconds} == {}
    assert max(task.result()[0] for task in crowd) < HEADERS
    for name, (_, received) in ends.items():
        check(name, received)


def test_more_silent_connections_than_files_are_usual_keep_nobody_out(story: Story) -> None:
    """They have not even begun TLS; the gateway was started with the usual limit."""
    silent = USUAL_FILES + 100
    with files_at_once(2 * silent), ExitStack() as stack:
        for _ in range(silent):
            stack.enter_context(socket.create_connection(("127.0.0.1", story.port), timeout=10))
        assert served_within(story) < SERVED_SECONDS


def check(name: str, received: bytes) -> None:
    """Exactly the status that is to be told, in the usual form."""
    answers = responses(received)
    assert [answer.status for answer in answers] == list(ATTACKS[name].statuses), name
    for answer in answers:
        if answer.status >= 400:
            require_refusal(answer.status, answer.body.decode())


async def suffer(story: Story, tls: ssl.SSLContext, attack: Slow) -> tuple[float, bytes]:
    """Play one attack; seconds until the gateway closed the connection, and what it said."""
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", story.port, ssl=tls, server_hostname="localhost"
    )
    began = time.monotonic()
    sending = asyncio.create_task(_send(story, writer, attack))
    try:
        async with asyncio.timeout(attack.seconds + 1):
            received = await _read(reader)
            return time.monotonic() - began, received
    except TimeoutError:
        return attack.seconds + 1, b""
    finally:
        sending.cancel()
        writer.transport.abort()
        await asyncio.gather(sending, return_exceptions=True)


async def _read(reader: asyncio.StreamReader) -> bytes:
    received = bytearray()
    with suppress(ConnectionError, ssl.SSLError):
        while piece := await reader.read(65_536):
            received += piece
    return bytes(received)


async def _send(story: Story, writer: asyncio.StreamWriter, attack: Slow) -> None:
    with suppress(ConnectionError, ssl.SSLError):
        async for piece in attack.send(story):
            writer.write(piece)
            await writer.drain()


def served_within(story: Story) -> float:
    """Seconds that a normal request took."""
    began = time.monotonic()
    with story.client() as client:
        assert client.post(
            CHAT, json={"model": "plain", "messages": [{"role": "user", "content": "Hi"}]}
        ).is_success
    return time.monotonic() - began
