"""A vendor's HTTPS host on loopback: own authority, scripted answers, and a record of what it was asked."""

from __future__ import annotations

import datetime as dt
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from attestation.collect.http import Address
from tests.fakes.tls_peer import Certified, Chain, RecordingPeer, certify


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer. `pause` seconds pass before each piece of the body, which comes in `pieces`.

    `raw`, if set, is sent in place of a response. `length` is declared instead of the real one.
    """

    body: bytes = b""
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    pause: float = 0.0
    pieces: int = 1
    raw: bytes | None = None
    length: int | None = None


ABSENT = Reply(b"<html>no such thing</html>", 404, (("content-type", "text/html"),))


@dataclass(slots=True)
class VendorHost:
    """Answers `published` by exact target (path and query), after `script`, one per request, is used up."""

    names: tuple[str, ...]
    chain: Chain
    published: dict[str, Reply] = field(default_factory=dict)
    script: list[Reply] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    heads: list[dict[str, str]] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0
    port: int = 0

    @property
    def ca(self) -> str:
        """PEM of the authority that vouches for this host."""
        return self.chain.root.pem

    @property
    def routes(self) -> Mapping[str, Address]:
        """Where a client finds the host's names."""
        return {name: ("127.0.0.1", self.port) for name in self.names}

    @property
    def url(self) -> str:
        """The host under a name of its own, as a PCCS would be named."""
        return f"https://localhost:{self.port}"

    def serve(self, tls: ssl.SSLSocket, record: bytearray) -> None:
        """Answer one request and close."""
        while b"\r\n\r\n" not in record:
            data = tls.recv(65536)
            if not data:
                return
            record += data
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            self._answer(tls, bytes(record))
        finally:
            self.at_once -= 1

    def _answer(self, tls: ssl.SSLSocket, request: bytes) -> None:
        first, *lines = request.partition(b"\r\n\r\n")[0].decode("ascii").split("\r\n")
        method, target, _ = first.split(" ")
        assert method == "GET"
        self.asked.append(target)
        self.heads.append(
            {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        )
        reply = self.script.pop(0) if self.script else self.published.get(target, ABSENT)
        if reply.raw is not None:
            tls.sendall(reply.raw)
            return
        length = len(reply.body) if reply.length is None else reply.length
        head = [f"HTTP/1.1 {reply.status} Whatever", f"content-length: {length}"]
        head += [f"{name}: {value}" for name, value in reply.headers]
        tls.sendall("\r\n".join([*head, "", ""]).encode("latin-1"))
        size = max(len(reply.body) // reply.pieces, 1)
        for start in range(0, len(reply.body), size):
            time.sleep(reply.pause)
            tls.sendall(reply.body[start : start + size])


@contextmanager
def running(host: VendorHost, context: ssl.SSLContext | None = None) -> Iterator[RecordingPeer]:
    """Run a host; `context` for one whose TLS is special."""
    with RecordingPeer(context or host.chain.context(), serve=host.serve) as peer:
        host.port = peer.port
        yield peer


def chain_for(*names: str) -> Chain:
    """An authority and a leaf for these names and for localhost."""
    return Chain.forge(hosts=(*names, "localhost"))


def with_expired_leaf(chain: Chain) -> Chain:
    """The same authority, with a leaf that was valid until yesterday."""
    leaf, issuer = chain.leaf, chain.intermediate
    fresh = certify("expired", issuer, ca=False, hosts=("localhost",))
    now = dt.datetime.now(dt.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(leaf.certificate.subject)
        .issuer_name(issuer.certificate.subject)
        .public_key(fresh.key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=9))
        .not_valid_after(now - dt.timedelta(days=1))
    )
    for extension in leaf.certificate.extensions:
        if not isinstance(extension.value, x509.SubjectKeyIdentifier):
            builder = builder.add_extension(extension.value, extension.critical)
    return replace(chain, leaf=Certified(fresh.key, builder.sign(issuer.key, hashes.SHA256())))


@dataclass(slots=True)
class Hands:
    """A clock that only moves when somebody sleeps, or the test moves it."""

    now: dt.datetime
    slept: list[float] = field(default_factory=list)

    def clock(self) -> dt.datetime:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += dt.timedelta(seconds=seconds)

    def pass_time(self, **duration: float) -> None:
        """`hours=1`, `days=2`, …"""
        self.now += dt.timedelta(**duration)
