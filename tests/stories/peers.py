"""Recording peers on the way to a gateway: what a client sent before it was refused, byte by byte."""

from __future__ import annotations

import itertools
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

HANDSHAKE, APPLICATION_DATA = 22, 23
RECORD_OVERHEAD = 17
"""What TLS 1.3 adds to a record's content: its type and the 16 bytes of the AEAD's tag."""
FINISHED_BYTES = (36, 52)
"""A client's Finished message, with SHA-256 and with SHA-384."""
ALERT_BYTES = 2


Handle = Callable[[socket.socket, bytearray], None]
"""Serves one connection until its end; what was received goes into the record."""


@dataclass(slots=True)
class TcpPeer:
    """A TCP server on loopback that keeps every byte it was sent, connection by connection."""

    handle: Handle
    received: list[bytearray] = field(default_factory=list)
    _listener: socket.socket = field(init=False)
    _threads: list[threading.Thread] = field(default_factory=list)
    _sockets: list[socket.socket] = field(default_factory=list)

    def __enter__(self) -> TcpPeer:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        _shut(self._listener)
        self.drop_connections()
        for thread in self._threads:
            thread.join(10)
        self._listener.close()

    @property
    def port(self) -> int:
        port: int = self._listener.getsockname()[1]
        return port

    def settle(self) -> None:
        """Wait until every connection so far is over, so that what was received is final."""
        for thread in self._threads[1:]:
            thread.join(10)

    def drop_connections(self) -> None:
        """Close every connection now, as a restarting server does."""
        for connection in list(self._sockets):
            _shut(connection)

    def keep(self, connection: socket.socket) -> None:
        """Have a further socket closed with the others."""
        self._sockets.append(connection)

    def _start(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._sockets.append(connection)
            record = bytearray()
            self.received.append(record)
            self._start(self._serve, connection, record)

    def _serve(self, connection: socket.socket, record: bytearray) -> None:
        with connection, suppress(OSError):
            self.handle(connection, record)


def answering(answer: bytes) -> Handle:
    """Whatever comes first is answered with these bytes, and nothing after it."""

    def handle(connection: socket.socket, record: bytearray) -> None:
        while data := connection.recv(65_536):
            if not record:
                connection.sendall(answer)
            record += data

    return handle


@dataclass(slots=True)
class Tap:
    """Passes every byte to and from `target`, a port; only the lengths of TLS records can be read here.

    That is enough: TLS 1.3 hides what a record says, and not how much.
    """

    target: int
    peer: TcpPeer = field(init=False)

    def __post_init__(self) -> None:
        self.peer = TcpPeer(self._pass_on)

    def __enter__(self) -> Tap:
        self.peer.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.peer.__exit__()

    def _pass_on(self, connection: socket.socket, record: bytearray) -> None:
        with socket.create_connection(("127.0.0.1", self.target)) as onward:
            self.peer.keep(onward)
            back = threading.Thread(target=_pump, args=(onward, connection, bytearray()), daemon=True)
            back.start()
            _pump(connection, onward, record)
            back.join(10)

    def request_bytes(self, evidence_request: int) -> int:
        """Application bytes that clients sent beyond one request for evidence on each connection.

        `evidence_request` is that request's exact length: a connection that carried anything else first
        counts whole.
        """
        return sum(_beyond(bytes(record), evidence_request) for record in self.peer.received)


def _beyond(record: bytes, evidence_request: int) -> int:
    sizes = [size - RECORD_OVERHEAD for kind, size in tls_records(record) if kind == APPLICATION_DATA]
    if not sizes or sizes[0] not in FINISHED_BYTES:
        return sum(sizes)
    sent = [size for size in sizes[1:] if size != ALERT_BYTES]
    return sum(sent[1:] if sent[:1] == [evidence_request] else sent)


def tls_records(stream: bytes) -> list[tuple[int, int]]:
    """Content type and length of each TLS record (RFC 8446 section 5.1); one that was cut is left out."""
    found, position = [], 0
    while position + 5 <= len(stream):
        size = int.from_bytes(stream[position + 3 : position + 5], "big")
        if position + 5 + size > len(stream):
            break
        found.append((stream[position], size))
        position += 5 + size
    return found


def beyond_client_hellos(peer: TcpPeer) -> int:
    """Bytes that a peer without TLS received beyond one handshake record and alerts on each connection."""
    return sum(_beyond_hello(bytes(record)) for record in peer.received)


def _beyond_hello(record: bytes) -> int:
    records = tls_records(record)
    known = list(itertools.takewhile(lambda found: found[0] != APPLICATION_DATA, records))
    if not records or records[0][0] != HANDSHAKE:
        return len(record)
    return len(record) - sum(5 + size for _, size in known)


def _pump(source: socket.socket, sink: socket.socket, record: bytearray) -> None:
    with suppress(OSError):
        while data := source.recv(65_536):
            record += data
            sink.sendall(data)
    for one in (source, sink):
        _shut(one)


def _shut(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
