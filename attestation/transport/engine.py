"""Pool and rules of the verified transports, for blocking and asynchronous, httpx and httpx2 alike.

Every new connection: TLS, one request for fresh evidence, the verdict, and only then requests, on that very
connection. Nothing is sent when any step fails, and there is no other way out of here.
"""

from __future__ import annotations

import os
import secrets
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from threading import Lock
from urllib.parse import urlsplit

from attestation import ehbp
from attestation.errors import PolicyInvalid
from attestation.model import Appraisal, Collateral
from attestation.pinned_tls import client_context
from attestation.policy.model import Policy
from attestation.transport.connection import Connection, Timeouts
from attestation.transport.evidence import Appraise, Trust, decide, read_evidence
from attestation.transport.messages import (
    BufferedBody,
    Incoming,
    Outgoing,
    SealedBody,
    is_stale_key,
    receive,
)
from attestation.transport.networks import Network

MAX_IDLE = 16
EVIDENCE_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Origin:
    """The one server a transport speaks to."""

    host: str
    port: int

    @property
    def header(self) -> str:
        """As written in a Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == 443 else f"{host}:{self.port}"


def parse_origin(url: str) -> Origin:
    """Return the origin of an https URL. Raises ValueError for anything else: there is no plain mode."""
    parts = urlsplit(url)
    if parts.scheme != "https" or not parts.hostname:
        raise ValueError("a verified transport needs an https:// URL")
    if not parts.hostname.isascii():
        raise ValueError("write an international host name as it is on the wire: https://xn--…")
    if parts.username or parts.password:
        raise ValueError("a gateway's URL carries no user name or password")
    return Origin(parts.hostname, parts.port or 443)


def read_ca(ca: str | os.PathLike[str] | None) -> str | None:
    """Return PEM text from PEM text or the path of a PEM file."""
    if ca is None or (isinstance(ca, str) and "-----BEGIN" in ca):
        return ca
    return Path(ca).read_text("ascii")


def channel_context(ca: str | os.PathLike[str] | None) -> ssl.SSLContext:
    """TLS for a connection whose evidence decides.

    Without `ca` no certificate authority is asked. That is sound, because nothing but a random nonce is sent
    before the evidence on this connection has shown, freshly signed by hardware, that the key which completed
    this TLS handshake was made inside the enclave. Whoever diverts the connection has another key. With `ca`
    the server's chain and name must hold as well: both, not either.
    """
    return client_context(read_ca(ca), verify_webpki=ca is not None)


def appraiser(policy: Policy) -> Appraise:
    """Bind a policy to `verify`. Raises PolicyInvalid without one: no policy means that nothing is sent."""
    if not isinstance(policy, Policy):
        raise PolicyInvalid(
            "a verified transport needs a policy",
            hint="read one with attestation.policy.toml.parse_policy(); without a policy nothing is sent",
        )
    from attestation.verify import verify

    return partial(_appraise, verify, policy)


def _appraise(
    verify: Callable[..., Appraisal],
    policy: Policy,
    document: bytes,
    *,
    nonce: bytes,
    now: datetime,
    leaf_spki_sha256: bytes,
) -> Appraisal:
    return verify(
        document,
        Collateral(),
        policy,
        nonce=nonce,
        now=now,
        purpose="attestation",
        connection_spki_sha256=leaf_spki_sha256,
    )


@dataclass(slots=True)
class Verified:
    """A connection with what was found about it. Owned by one request at a time, or by the pool."""

    connection: Connection
    trust: Trust

    def usable(self, now: datetime) -> bool:
        """False if the server closed it, or its keys have run out, while it was idle."""
        return now.timestamp() < self.trust.manifest.not_after and not self.connection.has_gone()


@dataclass(slots=True)
class Engine:
    """One origin, its verified connections and the rules. `appraisal` is that of the newest connection."""

    origin: Origin
    network: Network
    tls: ssl.SSLContext
    appraise: Appraise
    now: Callable[[], datetime]
    evidence_seconds: float = EVIDENCE_SECONDS
    max_idle: int = MAX_IDLE
    appraisal: Appraisal | None = None
    _idle: list[Verified] = field(default_factory=list)
    _open: dict[int, Verified] = field(default_factory=dict)
    _closed: bool = False
    _lock: Lock = field(default_factory=Lock)

    async def handle(self, request: Outgoing) -> Reply:
        """Send a request over a verified connection. The caller reads the reply and closes it.

        A sealed request that the gateway cannot open any more (422, key-config) is sealed again, once, to the
        key of a newly verified connection.
        """
        verified = await self.checkout(request.timeouts)
        incoming, stale = await self._exchange(verified, request)
        if stale:
            await self._forget_key(verified)
            if not request.replayable:
                return Reply(self, None, incoming, stale_key=True)
            verified = await self._establish(request.timeouts)
            incoming, stale = await self._exchange(verified, request)
        return Reply(self, verified, incoming, stale_key=stale)

    async def verify_now(self, timeouts: Timeouts) -> Appraisal:
        """Open and verify a connection, and keep it for the first request."""
        verified = await self._establish(timeouts)
        await self.release(verified)
        return verified.trust.appraisal

    async def checkout(self, timeouts: Timeouts) -> Verified:
        """Return an idle verified connection, or a new one. One that the server closed is dropped unused.

        That is the only retry: nothing had been sent. A connection that breaks later fails its request.
        """
        while (verified := self._take_idle()) is not None:
            if verified.usable(self.now()):
                return verified
            await self.discard(verified)
        return await self._establish(timeouts)

    async def release(self, verified: Verified) -> None:
        """Keep a connection for the next request, or close it if the pool is full or closed."""
        with self._lock:
            kept = not self._closed and len(self._idle) < self.max_idle
            if kept:
                self._idle.append(verified)
        if not kept:
            await self.discard(verified)

    async def discard(self, verified: Verified) -> None:
        """Close a connection for good."""
        with self._lock:
            self._open.pop(id(verified), None)
        await self.network.close(verified.connection)

    async def close(self) -> None:
        """Close every connection, those in use too. Later requests are refused."""
        with self._lock:
            self._closed = True
            connections = list(self._open.values())
            self._open.clear()
            self._idle.clear()
        for verified in connections:
            await self.network.close(verified.connection)

    async def _forget_key(self, verified: Verified) -> None:
        """Close every connection whose sealing key the gateway has dropped."""
        with self._lock:
            key = verified.trust.sealing_key
            stale = [other for other in self._idle if other.trust.sealing_key == key]
            self._idle = [other for other in self._idle if other.trust.sealing_key != key]
        for each in (verified, *stale):
            await self.discard(each)

    def _take_idle(self) -> Verified | None:
        with self._lock:
            return self._idle.pop() if self._idle else None

    async def _establish(self, timeouts: Timeouts) -> Verified:
        if self._closed:
            raise RuntimeError("this transport is closed")
        connection = await self.network.open(self.origin.host, self.origin.port, self.tls, timeouts.connect)
        try:
            trust = await self._verify(connection, timeouts)
        except BaseException:
            await self.network.close(connection)
            raise
        verified = Verified(connection, trust)
        if not self._remember(verified):
            await self.network.close(connection)
            raise RuntimeError("this transport was closed meanwhile")
        return verified

    def _remember(self, verified: Verified) -> bool:
        with self._lock:
            if not self._closed:
                self._open[id(verified)] = verified
                self.appraisal = verified.trust.appraisal
            return not self._closed

    async def _verify(self, connection: Connection, timeouts: Timeouts) -> Trust:
        nonce = secrets.token_bytes(32)
        document = await read_evidence(
            connection, self.origin.header, nonce, timeouts, seconds=self.evidence_seconds
        )
        trust = decide(self.appraise, document, nonce=nonce, now=self.now(), tls=connection.tls)
        if not connection.finish_cycle() or connection.has_gone():
            raise ConnectionError("the server closed the connection that its evidence was for, or said more")
        return trust

    async def _exchange(self, verified: Verified, request: Outgoing) -> tuple[Incoming, bool]:
        try:
            return await self._send_and_receive(verified, request)
        except BaseException:
            await self.discard(verified)
            raise

    async def _send_and_receive(self, verified: Verified, request: Outgoing) -> tuple[Incoming, bool]:
        connection, trust = verified.connection, verified.trust
        sealer = ehbp.RequestSealer(trust.sealing_key) if request.has_body else None
        body = request.new_body() if request.has_body else None
        sent = SealedBody(body, sealer) if body is not None and sealer is not None else None
        await connection.send(request.head(self.origin.header, sealer), sent, request.timeouts.write)
        response = await connection.receive_head(request.timeouts.read)
        incoming = receive(connection, response, sealer, trust, request.timeouts)
        if response.status_code != 422 or sealer is None or incoming.sealed:
            return incoming, False
        stale, raw = await is_stale_key(incoming)
        return replace(incoming, body=BufferedBody(raw)), stale


class Reply:
    """A response being read. Its connection goes back to the pool at the end of the body, or is closed."""

    def __init__(
        self, engine: Engine, verified: Verified | None, incoming: Incoming, *, stale_key: bool
    ) -> None:
        self.incoming = incoming
        self.stale_key = stale_key  # the gateway could not open the request: it may be sent again
        self._engine = engine
        self._verified = verified

    async def next_chunk(self) -> bytes | None:
        """Return the next piece of the plaintext, None at its proven end. Raises instead of a false end."""
        try:
            chunk = await self.incoming.body.next_chunk()
        except BaseException:
            await self._give_back(reusable=False)
            raise
        if chunk is None:
            await self.aclose()
        return chunk

    async def aclose(self) -> None:
        """Done reading; a connection whose response was not read to the end is closed. Idempotent."""
        verified = self._verified
        await self._give_back(reusable=verified is not None and verified.connection.finish_cycle())

    async def _give_back(self, *, reusable: bool) -> None:
        verified, self._verified = self._verified, None
        if verified is not None and reusable:
            await self._engine.release(verified)
        elif verified is not None:
            await self._engine.discard(verified)


def build_engine(
    url: str,
    policy: Policy,
    network: Network,
    ca: str | os.PathLike[str] | None,
    now: Callable[[], datetime] | None,
) -> Engine:
    """Put an engine together for one URL. Raises PolicyInvalid, or ValueError for a URL that is not https."""
    return Engine(
        origin=parse_origin(url),
        network=network,
        tls=channel_context(ca),
        appraise=appraiser(policy),
        now=now or _utc_now,
    )


def _utc_now() -> datetime:
    return datetime.now(UTC)
