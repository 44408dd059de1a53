"""A gateway on loopback whose evidence verifies: real TLS and EHBP, forged hardware. And ways to be wrong."""

from __future__ import annotations

import json
import ssl
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import h11
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from attestation.ehbp import KEY_PROBLEM, EhbpKeyMismatch, RequestOpener, ResponseSealer
from attestation.policy.model import Policy
from attestation.policy.toml import parse_policy
from tests.fakes.amd import World
from tests.fakes.evidence import PINS, Scene
from tests.fakes.tls_peer import Chain, RecordingPeer

POLICY = f'[config]\nproviders = {{ "api.openai.com" = ["{PINS[0]}", "{PINS[1]}"] }}\n'


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as the application saw it: after opening."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    sealed: bool


@dataclass(slots=True)
class Answer:
    """What the application answers. `sealed` None: if the request was. `cut`: break off after the chunks.

    `silent`: close the connection without a word. `raw`: with these bytes as the last words.
    """

    chunks: Iterable[bytes] = (b'{"ok":true}',)
    status: int = 200
    content_type: str = "application/json"
    sealed: bool | None = None
    cut: bool = False
    silent: bool = False
    headers: tuple[tuple[str, str], ...] = ()
    raw: bytes | None = None


@dataclass(slots=True)
class Gateway:
    """State of one fake gateway; tests change it while it runs."""

    scene: Scene
    chain: Chain
    key: X25519PrivateKey
    answer: Callable[[Asked], Answer] = lambda asked: Answer()
    evidence: Callable[[bytes | None], bytes] | None = None
    evidence_type: str = "application/cmw+json"
    evidence_status: int = 200
    close_after_evidence: bool = False
    peer: RecordingPeer = field(init=False)
    asked: list[Asked] = field(default_factory=list)
    nonces: list[bytes | None] = field(default_factory=list)

    @property
    def policy(self) -> Policy:
        """A policy that accepts this gateway, as insecure development."""
        return parse_policy(self.scene.policy(POLICY))

    def document(self, nonce: bytes | None) -> bytes:
        """Fresh evidence for this nonce."""
        return self.scene.document(nonce=nonce)

    def rotate(self) -> None:
        """A new sealing key: what was sealed to the old one opens no more."""
        self.key = X25519PrivateKey.generate()
        keys = {"hpke_x25519": (self.key.public_key().public_bytes_raw(),)}
        self.scene = replace(self.scene, manifest=self.scene.manifest | keys)

    def serve(self, tls: ssl.SSLSocket, record: bytearray) -> None:
        """One connection: HTTP/1.1 requests until the client leaves."""
        http = h11.Connection(h11.SERVER)
        while (request := _next(http, tls, record)) is not None and isinstance(request, h11.Request):
            body = bytearray()
            while isinstance(event := _next(http, tls, record), h11.Data):
                body += event.data
            if event is None:
                return
            if not self._respond(http, tls, request, bytes(body)):
                return
            http.start_next_cycle()

    def _respond(self, http: h11.Connection, tls: ssl.SSLSocket, request: h11.Request, body: bytes) -> bool:
        target = request.target.decode()
        if target.startswith("/.well-known/attestation"):
            return self._attest(http, tls, target)
        headers = {name.decode(): value.decode() for name, value in request.headers}
        sealer = None
        if "ehbp-encapsulated-key" in headers:
            opener = RequestOpener(self.key.private_bytes_raw(), headers["ehbp-encapsulated-key"])
            try:
                body = opener.feed(body)
            except EhbpKeyMismatch:
                problem = json.dumps({"type": KEY_PROBLEM, "title": "key configuration"}).encode()
                return _send(http, tls, Answer((problem,), 422, "application/problem+json"), None)
            sealer = opener.response_sealer()
        asked = Asked(request.method.decode(), target, headers, body, sealer is not None)
        self.asked.append(asked)
        answer = self.answer(asked)
        return _send(http, tls, answer, None if answer.sealed is False else sealer)

    def _attest(self, http: h11.Connection, tls: ssl.SSLSocket, target: str) -> bool:
        nonce = bytes.fromhex(target.partition("nonce=")[2]) or None
        self.nonces.append(nonce)
        document = (self.evidence or self.document)(nonce)
        closing = (("connection", "close"),) if self.close_after_evidence else ()
        answer = Answer((document,), self.evidence_status, self.evidence_type, headers=closing)
        return _send(http, tls, answer, None) and not self.close_after_evidence

    @property
    def request_bytes(self) -> int:
        """Application bytes received beyond the requests for evidence."""
        return sum(len(_without_evidence_requests(bytes(record))) for record in self.peer.received)


def _without_evidence_requests(record: bytes) -> bytes:
    head, end, rest = record.partition(b"\r\n\r\n")
    if head.startswith(b"GET /.well-known/attestation") and end:
        return rest
    return record


def _next(http: h11.Connection, tls: ssl.SSLSocket, record: bytearray) -> Any:
    while (event := http.next_event()) is h11.NEED_DATA:
        data = tls.recv(65536)
        record += data
        http.receive_data(data)
    return None if isinstance(event, h11.ConnectionClosed) else event


def _send(http: h11.Connection, tls: ssl.SSLSocket, answer: Answer, sealer: ResponseSealer | None) -> bool:
    if answer.silent or answer.raw is not None:
        tls.sendall(answer.raw or b"")
        return False
    headers = [("content-type", answer.content_type), ("transfer-encoding", "chunked"), *answer.headers]
    if sealer is not None:
        headers.append(("ehbp-response-nonce", sealer.nonce_hex))
    tls.sendall(http.send(h11.Response(status_code=answer.status, headers=headers)) or b"")
    for chunk in answer.chunks:
        tls.sendall(http.send(h11.Data(data=sealer.seal(chunk) if sealer else chunk)) or b"")
    if answer.cut:
        return False
    tls.sendall(http.send(h11.EndOfMessage()) or b"")
    return True


@contextmanager
def running_gateway(world: World, chain: Chain, **manifest: Any) -> Iterator[Gateway]:
    """A gateway whose manifest names the keys it really uses, unless `manifest` says otherwise."""
    key = X25519PrivateKey.generate()
    keys: dict[str, Any] = {
        "tls_spki_sha256": (chain.leaf.pin,),
        "hpke_x25519": (key.public_key().public_bytes_raw(),),
    }
    gateway = Gateway(Scene(world, manifest=keys | manifest), chain, key)
    gateway.peer = RecordingPeer(chain.context(), serve=gateway.serve)
    with gateway.peer:
        yield gateway
