"""A TLS server on loopback that remembers every application byte it was sent, and forged certificates."""

from __future__ import annotations

import datetime as dt
import ipaddress
import socket
import ssl
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from attestation.pinned_tls import spki_sha256

HELLO = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"


@dataclass(frozen=True, slots=True)
class Certified:
    """A certificate with its private key."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(Encoding.PEM).decode()

    @property
    def pin(self) -> bytes:
        return spki_sha256(self.der)


def certify(
    name: str, issuer: Certified | None = None, *, ca: bool, hosts: tuple[str, ...] = ()
) -> Certified:
    """A certificate valid around the real clock, self-signed unless `issuer` is given."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    signer = issuer.key if issuer else key
    now = dt.datetime.now(dt.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
    )
    if hosts:
        builder = builder.add_extension(
            x509.SubjectAlternativeName([_name(host) for host in hosts]), critical=False
        )
    return Certified(key, builder.sign(signer, hashes.SHA256()))


def _name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


@dataclass(frozen=True, slots=True)
class Chain:
    """Root, intermediate and leaf for localhost and 127.0.0.1."""

    root: Certified
    intermediate: Certified
    leaf: Certified

    @classmethod
    def forge(
        cls, root: Certified | None = None, *, hosts: tuple[str, ...] = ("localhost", "127.0.0.1")
    ) -> Chain:
        root = root or certify("test root", ca=True)
        intermediate = certify("test intermediate", root, ca=True)
        return cls(root, intermediate, certify("test leaf", intermediate, ca=False, hosts=hosts))

    def context(self, *extra: Certified, leaf: bytes | None = None) -> ssl.SSLContext:
        """A TLS 1.3 server context; `extra` certificates are merely presented, `leaf` (DER) for its own."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        key = self.leaf.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        first = ssl.DER_cert_to_PEM_cert(leaf or self.leaf.der)
        chain = first + "".join(one.pem for one in (self.intermediate, *extra))
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "identity.pem")
            path.write_text(key + chain)
            context.load_cert_chain(path)
        return context


def answer_hello(tls: ssl.SSLSocket, record: bytearray) -> None:
    """Answer every request head with HELLO, for ever."""
    seen = 0
    while data := tls.recv(65536):
        record += data
        while (end := record.find(b"\r\n\r\n", seen)) >= 0:
            seen = end + 4
            tls.sendall(HELLO)


@dataclass(slots=True)
class RecordingPeer:
    """Serves each connection in a thread of its own. `received` holds the application bytes per connection.

    A handshake that the client breaks off counts as a connection that received nothing.
    """

    context: ssl.SSLContext
    serve: Callable[[ssl.SSLSocket, bytearray], None] = answer_hello
    received: list[bytearray] = field(default_factory=list)
    _listener: socket.socket = field(init=False)
    _threads: list[threading.Thread] = field(default_factory=list)
    _sockets: list[socket.socket] = field(default_factory=list)
    _starting: threading.Lock = field(default_factory=threading.Lock)

    def __enter__(self) -> RecordingPeer:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.drop_connections()
        self._join(0)

    @property
    def port(self) -> int:
        port: int = self._listener.getsockname()[1]
        return port

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    @property
    def application_bytes(self) -> int:
        """Everything received after handshakes, over all connections."""
        return sum(map(len, self.received))

    def drop_connections(self) -> None:
        """Close every connection now, as a restarting server does."""
        for connection in list(self._sockets):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def settle(self) -> None:
        """Wait until every connection so far is over, so that what was received is final."""
        self._join(1)

    def _start(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        with self._starting:
            thread.start()
            self._threads.append(thread)

    def _join(self, first: int) -> None:
        with self._starting:
            running = self._threads[first:]
        for thread in running:
            thread.join(10)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._sockets.append(connection)
            record = bytearray()
            self.received.append(record)
            self._start(self._handle, connection, record)

    def _handle(self, connection: socket.socket, record: bytearray) -> None:
        with (
            connection,
            suppress(OSError),
            self.context.wrap_socket(connection, server_side=True) as tls,
        ):
            self._sockets.append(tls)
            self.serve(tls, record)
