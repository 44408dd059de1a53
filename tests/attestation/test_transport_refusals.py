"""Transports fail closed: whatever is wrong with the evidence, not one byte of a request is sent."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from types import ModuleType

import httpcore
import httpx
import httpx2
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from attestation.errors import (
    AttestationError,
    BindingMismatch,
    CannotDecide,
    MalformedEvidence,
    NotAuthentic,
    PolicyInvalid,
    PolicyRefused,
)
from attestation.formats.document import build_document
from attestation.pins import write_pin
from attestation.policy.model import Policy
from attestation.policy.toml import parse_policy
from attestation.transport import VerifiedTransport
from attestation.transport.binding import Library, PulledBody
from attestation.transport.engine import parse_origin
from tests.attestation.sessions import KINDS, session, transport_for
from tests.fakes.amd import DEBUG_POLICY, NOW, World
from tests.fakes.evidence import HPKE_KEY, TLS_KEY, Scene
from tests.fakes.gateway_peer import Gateway, running_gateway
from tests.fakes.tls_peer import Chain, RecordingPeer

SECRET = "the prompt that must not leave"


@pytest.fixture(scope="module")
def chain() -> Chain:
    return Chain.forge()


@pytest.fixture
def gateway(genoa: World, chain: Chain) -> Iterator[Gateway]:
    with running_gateway(genoa, chain) as running:
        yield running


def refused(kind: str, gateway: Gateway, policy: Policy | None = None, **options: object) -> AttestationError:
    """Ask with a secret; return why nothing was sent, after counting what was."""
    with session(kind, gateway.peer.url, policy or gateway.policy, **options) as client:
        with pytest.raises(AttestationError) as caught:
            client.send("POST", "/api/v1/chat/completions", json={"prompt": SECRET})
        assert client.transport.appraisal is None
    gateway.peer.settle()
    assert len(gateway.nonces) >= 1
    assert gateway.request_bytes == 0
    assert not any(SECRET.encode() in record for record in gateway.peer.received)
    return caught.value


def check_ids(error: AttestationError) -> set[str]:
    return {check.id for check in error.checks}


def remeasured(scene: Scene) -> Scene:
    return replace(scene, report={"measurement": b"\x66" * 48})


def debugged(scene: Scene) -> Scene:
    return replace(scene, report={"policy": DEBUG_POLICY})


def provisioning(scene: Scene) -> Scene:
    return replace(scene, manifest=scene.manifest | {"phase": "provisioning"})


def expired(scene: Scene) -> Scene:
    return replace(scene, manifest=scene.manifest | {"not_after": int(NOW.timestamp()) - 1})


def keyless(scene: Scene) -> Scene:
    return replace(scene, manifest=scene.manifest | {"hpke_x25519": ()})


def other_tls_key(scene: Scene) -> Scene:
    return replace(scene, manifest=scene.manifest | {"tls_spki_sha256": (TLS_KEY,)})


def operator_root(scene: Scene) -> Scene:
    return replace(scene, manifest=scene.manifest | {"root_source": "operator"})


WRONG: dict[str, tuple[Callable[[Scene], Scene], type[AttestationError]]] = {
    "another measurement": (remeasured, PolicyRefused),
    "a debug guest": (debugged, PolicyRefused),
    "a gateway that is still provisioning": (provisioning, AttestationError),
    "keys that have expired": (expired, AttestationError),
    "a manifest without a sealing key": (keyless, AttestationError),
    "a TLS key beside the manifest": (other_tls_key, BindingMismatch),
    "a root source the policy does not name": (operator_root, PolicyRefused),
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_sent_to(kind: str, wrong: str, gateway: Gateway) -> None:
    change, error = WRONG[wrong]
    policy = gateway.policy
    gateway.scene = change(gateway.scene)
    assert isinstance(refused(kind, gateway, policy), error)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_sent_when_another_root_signed(
    kind: str, gateway: Gateway, worlds: dict[str, World]
) -> None:
    named = write_pin(worlds["Milan"].hierarchy.ark.spki_sha256)
    genuine = write_pin(gateway.scene.world.hierarchy.ark.spki_sha256)
    policy = parse_policy(gateway.scene.policy().replace(genuine.encode(), named.encode()))
    error = refused(kind, gateway, policy)
    assert isinstance(error, NotAuthentic)
    assert "snp.chain.root" in check_ids(error)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_sent_without_a_named_development_root(kind: str, gateway: Gateway) -> None:
    policy = replace(gateway.policy, insecure_development_root=None)
    assert isinstance(refused(kind, gateway, policy), NotAuthentic)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_sent_on_a_stale_nonce(kind: str, gateway: Gateway) -> None:
    recorded = gateway.document(b"\x01" * 32)
    gateway.evidence = lambda nonce: recorded
    error = refused(kind, gateway)
    assert isinstance(error, BindingMismatch)
    assert "statement.nonce" in check_ids(error)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_sent_on_a_statement_for_another_purpose(kind: str, gateway: Gateway) -> None:
    gateway.evidence = lambda nonce: gateway.scene.document(nonce=nonce, purpose="peer")
    assert "statement.purpose" in check_ids(refused(kind, gateway))


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_sent_on_a_statement_for_another_manifest(kind: str, gateway: Gateway) -> None:
    own = gateway.scene
    other = replace(own, manifest=own.manifest | {"release": "2"})

    def mixed(nonce: bytes | None) -> bytes:
        evidence = replace(own.evidence(nonce=nonce), manifest=other.evidence(nonce=nonce).manifest)
        return build_document(evidence, insecure=True)

    gateway.evidence = mixed
    assert "statement.manifest" in check_ids(refused(kind, gateway))


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_sent_to_a_peer_that_relays_the_evidence_of_the_genuine_gateway(
    kind: str, gateway: Gateway, genoa: World
) -> None:
    """A diverted connection: same CA, a valid certificate for the name, fresh evidence, but not its own."""
    diversion = Chain.forge(gateway.chain.root)
    with running_gateway(genoa, diversion) as impostor:
        impostor.evidence = gateway.document
        error = refused(kind, impostor, gateway.policy, ca=gateway.chain.root.pem)
        assert isinstance(error, BindingMismatch)


@pytest.mark.parametrize("kind", KINDS)
def test_a_sealing_key_beside_the_evidence_is_never_used(kind: str, gateway: Gateway) -> None:
    attested = gateway.key
    gateway.key = X25519PrivateKey.generate()  # what the server holds and would announce beside its evidence
    gateway.scene = replace(gateway.scene, manifest=gateway.scene.manifest | {"hpke_x25519": (HPKE_KEY,)})
    with session(kind, gateway.peer.url, gateway.policy) as client:
        assert client.send("POST", "/v1/chat/completions", json={"prompt": SECRET}).status_code == 422
    assert gateway.asked == []
    assert attested is not gateway.key
    assert not any(SECRET.encode() in record for record in gateway.peer.received)


@pytest.mark.parametrize("kind", KINDS)
def test_a_certificate_of_an_unknown_authority_is_refused_before_the_evidence_is_asked_for(
    kind: str, gateway: Gateway
) -> None:
    stranger = Chain.forge().root.pem
    with (
        session(kind, gateway.peer.url, gateway.policy, ca=stranger) as client,
        pytest.raises(client.http.ConnectError),
    ):
        client.send("POST", "/v1/chat/completions", json={"prompt": SECRET})
    gateway.peer.settle()
    assert gateway.peer.application_bytes == 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("policy", [None, {}, "policy.toml"])
def test_without_a_policy_there_is_no_transport(kind: str, policy: object) -> None:
    with pytest.raises(PolicyInvalid):
        transport_for(kind, "https://127.0.0.1:1", policy)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "127.0.0.1:1", "https://", "https://u:p@127.0.0.1"])
def test_there_is_no_plain_mode(kind: str, url: str) -> None:
    with pytest.raises(ValueError, match=r"https|user name"):
        transport_for(kind, url, Policy())


@pytest.mark.parametrize("library", [httpx, httpx2], ids=["httpx", "httpx2"])
def test_an_international_name_is_compared_as_it_is_on_the_wire(library: ModuleType) -> None:
    request = library.Request("GET", "https://bücher.example/v1/models")
    with pytest.raises(ValueError, match="xn--"):
        parse_origin("https://bücher.example")
    origin = parse_origin("https://xn--bcher-kva.example")
    sent = Library(library, httpcore).outgoing(request, origin, PulledBody)
    assert (sent.target, origin.header) == (b"/v1/models", "xn--bcher-kva.example")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "url", ["https://127.0.0.2/v1/models", "http://{host}/v1/models", "https://localhost:{port}/"]
)
def test_requests_to_any_other_origin_are_refused(kind: str, url: str, gateway: Gateway) -> None:
    foreign = url.format(host=f"127.0.0.1:{gateway.peer.port}", port=gateway.peer.port)
    with (
        session(kind, gateway.peer.url, gateway.policy) as client,
        pytest.raises(client.http.UnsupportedProtocol),
    ):
        client.send("GET", foreign)
    assert gateway.peer.received == []


@pytest.mark.parametrize("kind", KINDS)
def test_evidence_of_the_wrong_type_size_or_status_is_refused(kind: str, gateway: Gateway) -> None:
    gateway.evidence_type = "application/json"
    assert isinstance(refused(kind, gateway), MalformedEvidence)
    gateway.evidence_type, gateway.evidence_status = "application/cmw+json", 503
    assert isinstance(refused(kind, gateway), CannotDecide)
    gateway.evidence_status = 200
    gateway.evidence = lambda nonce: b" " * (4 * 1024 * 1024 + 1)
    assert isinstance(refused(kind, gateway), MalformedEvidence)


@pytest.mark.parametrize("kind", KINDS)
def test_a_connection_that_closes_after_its_evidence_is_not_replaced_by_an_unverified_one(
    kind: str, gateway: Gateway
) -> None:
    gateway.close_after_evidence = True
    with session(kind, gateway.peer.url, gateway.policy) as client, pytest.raises(client.http.NetworkError):
        client.send("POST", "/v1/chat/completions", json={"prompt": SECRET})
    gateway.peer.settle()
    assert gateway.request_bytes == 0


@pytest.mark.parametrize("records", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_what_follows_the_evidence_is_never_taken_for_an_answer(
    kind: str, records: int, gateway: Gateway
) -> None:
    forged = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"

    def answer_twice(tls: ssl.SSLSocket, record: bytearray) -> None:
        record += tls.recv(65536)
        nonce = bytes.fromhex(record.partition(b"nonce=")[2][:64].decode())
        gateway.nonces.append(nonce)
        document = gateway.document(nonce)
        head = f"HTTP/1.1 200 OK\r\ncontent-type: application/cmw+json\r\ncontent-length: {len(document)}"
        evidence = head.encode() + b"\r\n\r\n" + document
        tls.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)  # both arrive together, as one segment
        for part in [evidence + forged] if records == 1 else [evidence, forged]:
            tls.sendall(part)
        tls.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 0)
        while data := tls.recv(65536):
            record += data

    gateway.peer.serve = answer_twice
    with session(kind, gateway.peer.url, gateway.policy) as client, pytest.raises(client.http.NetworkError):
        client.send("GET", "/v1/models")
    gateway.peer.settle()
    assert len(gateway.nonces) == 1
    assert gateway.request_bytes == 0


@pytest.mark.parametrize(
    ("begin", "drip"),
    [
        (b"", b"HTTP/1.1 103 Early Hints\r\n\r\n"),
        (b"HTTP/1.1 200 OK\r\nx: ", b"y"),
        (b"HTTP/1.1 200 OK\r\ncontent-type: application/cmw+json\r\ncontent-length: 9000\r\n\r\n", b" "),
    ],
    ids=["interim responses", "head", "body"],
)
@pytest.mark.parametrize("kind", KINDS)
def test_a_server_that_drips_its_evidence_gains_no_time(
    kind: str, begin: bytes, drip: bytes, gateway: Gateway
) -> None:
    left = threading.Event()

    def dripping(tls: ssl.SSLSocket, record: bytearray) -> None:
        record += tls.recv(65536)
        tls.sendall(begin)
        for _ in range(150):
            left.wait(0.02)
            tls.sendall(drip)

    gateway.peer.serve = dripping
    with session(kind, gateway.peer.url, gateway.policy) as client:
        client.transport._engine.evidence_seconds = 0.2
        with pytest.raises((CannotDecide, client.http.ReadTimeout)):
            client.send("POST", "/v1/chat/completions", json={"prompt": SECRET})
    gateway.peer.settle()
    assert gateway.request_bytes == 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_certificate_that_cannot_be_read_is_malformed_evidence(kind: str, gateway: Gateway) -> None:
    gateway.peer.context = gateway.chain.context(leaf=unreadable(gateway.chain.leaf.der))
    assert isinstance(refused(kind, gateway), MalformedEvidence)


def unreadable(der: bytes) -> bytes:
    """The same certificate as X.509 version 4, which TLS takes and does not look at."""
    return der.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x03", 1)


def test_a_plain_server_receives_a_client_hello_and_nothing_else(gateway: Gateway) -> None:
    with RecordingPeer(gateway.chain.context()) as silent:
        transport = VerifiedTransport(silent.url, gateway.policy, now=lambda: NOW + timedelta(hours=1))
        with pytest.raises(MalformedEvidence):
            transport.verify()
        transport.close()
        silent.settle()
        assert b"".join(silent.received).count(b"GET /.well-known/attestation?nonce=") == 1
        assert b"".join(silent.received).count(b"\r\n\r\n") == 1
