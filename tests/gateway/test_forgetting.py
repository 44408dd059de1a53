"""Nothing of a request waits for the garbage collector: reference counting frees it as soon as it ends."""

from __future__ import annotations

import gc
import json
import socket
import ssl
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from enclave.tee.dev import SimulatedTee
from tests.gateway.served import ServedGateway, config_text, fake_provider, served_gateway

CANARY = "canary-e41c90"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedGateway]:
    tee = SimulatedTee.forge(now=datetime.now(UTC), chip_secret=b"s" * 32)
    with (
        fake_provider() as provider,
        served_gateway(config_text(provider), tee, tmp_path_factory.mktemp("gateway")) as running,
    ):
        yield running


def post(gateway: ServedGateway, key: str, body: bytes, *, leave_after: int | None = None) -> None:
    """Send a request over a raw socket and read the answer, or leave after so many bytes of it."""
    plain = socket.create_connection(("127.0.0.1", gateway.port), timeout=10)
    with gateway.tls.wrap_socket(plain, server_hostname="localhost") as tls:
        tls.sendall(
            f"POST /v1/chat HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n"
            f"content-type: application/json\r\nconnection: close\r\n"
            f"content-length: {len(body)}\r\n\r\n".encode()
            + body
        )
        received = 0
        while leave_after is None or received < leave_after:
            try:
                piece = tls.recv(65_536)
            except ssl.SSLError:
                return
            if not piece:
                return
            received += len(piece)


def holds_canary(value: Any, depth: int = 3) -> bool:
    if isinstance(value, bytes | bytearray):
        return CANARY.encode() in value
    if isinstance(value, str):
        return CANARY in value
    return depth > 0 and any(holds_canary(inner, depth - 1) for inner in gc.get_referents(value))


def uncollected(gateway: ServedGateway, key: str, body: bytes, leave_after: int | None) -> list[str]:
    """Types of the objects in reference cycles that hold the canary after a request has ended."""
    before = gateway.log.getvalue().count(b"\n")
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        post(gateway, key, body, leave_after=leave_after)
        until = time.monotonic() + 5
        while gateway.log.getvalue().count(b"\n") == before and time.monotonic() < until:
            time.sleep(0.02)
        time.sleep(0.05)
        gc.collect()
        return sorted({type(value).__name__ for value in gc.garbage if holds_canary(value)})
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


def test_the_search_finds_a_cycle_that_is_there(gateway: ServedGateway) -> None:
    gc.collect()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        cycle: list[Any] = [CANARY]
        cycle.append(cycle)
        del cycle
        gc.collect()
        assert any(holds_canary(value) for value in gc.garbage)
    finally:
        gc.set_debug(0)
        gc.garbage.clear()


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("model", "leave_after"),
    [
        ("plain", None),
        ("json", None),
        ("tools", None),
        ("error400-echo", None),
        ("error500", None),
        ("error-event", None),
        ("disconnect", None),
        ("truncated", None),
        ("huge", None),
        ("never", None),
        ("unknown", None),
        ("endless", 0),
        ("endless", 2_000),
    ],
)
def test_nothing_of_a_request_is_left_in_a_reference_cycle(
    gateway: ServedGateway, model: str, leave_after: int | None, stream: bool
) -> None:
    if leave_after and not stream:
        leave_after = 0
    key = gateway.new_key()
    content = [{"type": "text", "text": CANARY}]
    body = {"model": model, "messages": [{"role": "user", "content": content}], "stream": stream, "x": CANARY}
    assert uncollected(gateway, key, json.dumps(body).encode(), leave_after) == []


@pytest.mark.parametrize(
    "body", [b'{"model":"' + CANARY.encode(), b"[" * 500 + CANARY.encode(), CANARY.encode() + b"\xff"]
)
def test_nothing_of_a_malformed_body_is_left_either(gateway: ServedGateway, body: bytes) -> None:
    assert uncollected(gateway, gateway.new_key(), body, None) == []
