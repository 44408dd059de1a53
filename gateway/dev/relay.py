"""A TLS 1.3 front for the local model server, in a process of its own: together they play a provider.

Development only. The key and its one-certificate authority are made at start and live in memory. Run as
`python -m gateway.dev.relay PARENT_PID TARGET_PORT`; once it listens, one JSON line with `port`, `ca_pem`
and `pins` (leaf, then issuer) is written to standard output. It moves bytes and looks at none, stops on
SIGTERM or SIGINT, and dies with its parent.
"""

from __future__ import annotations

import asyncio
import json
import signal
import ssl
import sys
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from attestation.pinned_tls import format_pin, spki_sha256
from enclave.tls import TlsIdentity, new_tls_identity
from gateway.process import die_with_parent

CHUNK = 65_536
LIFE = timedelta(days=30)
HANDSHAKE_SECONDS = 10.0


class Relay:
    """Accepts TLS on a free loopback port and carries each connection's bytes to `target_port` and back."""

    def __init__(self, identity: TlsIdentity, target_port: int) -> None:
        self._identity = identity
        self._target_port = target_port
        self._server: asyncio.Server | None = None

    async def start(self) -> int:
        """Listen; return the port."""
        self._server = await asyncio.start_server(
            self._carry,
            "127.0.0.1",
            0,
            ssl=self._identity.context,
            ssl_handshake_timeout=HANDSHAKE_SECONDS,
            limit=CHUNK,
        )
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def stop(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
        except OSError:
            await _close(writer)
            return
        pumps = {
            asyncio.create_task(_pump(reader, inner_writer)),
            asyncio.create_task(_pump(inner_reader, writer)),
        }
        # TLS knows no half-close: whoever ends first ends both, which is also how a client's leaving reaches
        # the model.
        _, rest = await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        for pump in rest:
            pump.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)
        await asyncio.gather(_close(writer), _close(inner_writer))


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Move bytes until either end is gone; `drain` holds the faster side back."""
    with suppress(OSError, ssl.SSLError):
        while data := await reader.read(CHUNK):
            writer.write(data)
            await writer.drain()


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(OSError, ssl.SSLError):
        await writer.wait_closed()


def new_identity() -> TlsIdentity:
    """A fresh key and authority for localhost."""
    now = datetime.now(UTC)
    return new_tls_identity(["localhost"], now=now, not_after=now + LIFE)


def describe(identity: TlsIdentity, port: int) -> dict[str, object]:
    """What a gateway's configuration needs to trust this relay."""
    issuer = spki_sha256(ssl.PEM_cert_to_DER_cert(identity.ca_pem.decode("ascii")))
    pins = [format_pin(identity.spki_sha256), format_pin(issuer)]
    return {"port": port, "ca_pem": identity.ca_pem.decode("ascii"), "pins": pins}


async def serve(target_port: int) -> None:
    """Run until SIGTERM or SIGINT."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    identity = new_identity()
    relay = Relay(identity, target_port)
    port = await relay.start()
    sys.stdout.write(json.dumps(describe(identity, port)) + "\n")
    sys.stdout.flush()
    await stopped.wait()
    await relay.stop()


def main(parent: int, target_port: int) -> None:
    """Entry point of the relay's process."""
    die_with_parent(parent)
    asyncio.run(serve(target_port))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
