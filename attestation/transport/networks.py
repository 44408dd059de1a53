"""How connections are opened and closed: blocking sockets or anyio, with httpcore or httpcore2."""

from __future__ import annotations

import socket
import ssl
from contextlib import suppress
from types import ModuleType
from typing import Any, Protocol

import anyio

from attestation.transport.connection import Connection


class Network(Protocol):
    """Opens verified-to-be connections. Errors are those of the httpcore flavour it was made with."""

    async def open(self, host: str, port: int, tls: ssl.SSLContext, timeout: float | None) -> Connection:
        """TCP, then TLS with exactly this context. No proxy, no environment."""

    async def close(self, connection: Connection) -> None:
        """Close, also while the caller is being cancelled. Never raises for a connection already broken."""


class BlockingStream:
    """Gives a blocking httpcore stream the shape of an asynchronous one that never suspends."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        data: bytes = self._stream.read(max_bytes, timeout=timeout)
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, timeout=timeout)

    async def aclose(self) -> None:
        # shutdown() wakes a thread that still reads from this socket; close() alone would leave it waiting.
        with suppress(OSError):
            self._stream.get_extra_info("socket").shutdown(socket.SHUT_RDWR)
        self._stream.close()

    def get_extra_info(self, info: str) -> Any:
        # The socket, not the C object inside that httpcore hands out as `ssl_object`.
        return self._stream.get_extra_info("socket" if info == "ssl_object" else info)


class BlockingNetwork:
    """Blocking sockets of `httpcore` or `httpcore2`."""

    def __init__(self, core: ModuleType) -> None:
        self._core = core
        self._backend = core.SyncBackend()

    async def open(self, host: str, port: int, tls: ssl.SSLContext, timeout: float | None) -> Connection:
        """See `Network.open`."""
        plain = self._backend.connect_tcp(host, port, timeout=timeout, socket_options=[])
        stream = plain.start_tls(tls, server_hostname=host, timeout=timeout)  # closes the socket if it fails
        return Connection(BlockingStream(stream), write_error=self._core.WriteError)

    async def close(self, connection: Connection) -> None:
        """See `Network.close`."""
        with suppress(OSError):
            await connection.aclose()


class AsyncNetwork:
    """anyio sockets (asyncio with or without uvloop, trio) of `httpcore` or `httpcore2`."""

    def __init__(self, core: ModuleType) -> None:
        self._core = core
        self._backend = core.AnyIOBackend()

    async def open(self, host: str, port: int, tls: ssl.SSLContext, timeout: float | None) -> Connection:
        """See `Network.open`."""
        plain = await self._backend.connect_tcp(host, port, timeout=timeout)
        try:
            stream = await plain.start_tls(tls, server_hostname=host, timeout=timeout)
        except BaseException:
            with anyio.CancelScope(shield=True):
                await plain.aclose()
            raise
        return Connection(stream, write_error=self._core.WriteError)

    async def close(self, connection: Connection) -> None:
        """See `Network.close`."""
        with anyio.CancelScope(shield=True), suppress(OSError, anyio.BrokenResourceError):
            await connection.aclose()
