"""Whoever connects and never speaks TLS must not hold a connection for long."""

from __future__ import annotations

import asyncio
import socket

from enclave.tls import new_tls_identity
from gateway import worker
from tests.fakes.amd import NOW


def test_a_connection_that_never_begins_its_handshake_is_closed(monkeypatch):
    monkeypatch.setattr(worker, "HANDSHAKE_SECONDS", 0.3)
    identity = new_tls_identity(("localhost",), now=NOW, not_after=NOW.replace(year=NOW.year + 1))

    async def silent_client() -> bytes:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0, ssl=identity.context)
        with socket.create_connection(server.sockets[0].getsockname()) as client:
            client.setblocking(False)
            async with asyncio.timeout(5):
                received = await loop.sock_recv(client, 1)
        server.close()
        await server.wait_closed()
        return received

    with asyncio.Runner(loop_factory=worker._Loop) as runner:
        assert runner.run(silent_client()) == b""
