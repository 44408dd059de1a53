"""Evidence comes in over one connection, and whatever else answers is told apart."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from attestation.errors import CannotDecide, MalformedEvidence
from attestation.fetch import fetch_evidence
from tests.fakes.amd import World
from tests.fakes.gateway_peer import Gateway, running_gateway
from tests.fakes.tls_peer import Chain, RecordingPeer

NONCE = b"\x0f" * 32


@pytest.fixture(scope="module")
def chain() -> Chain:
    return Chain.forge()


@pytest.fixture
def gateway(genoa: World, chain: Chain) -> Iterator[Gateway]:
    with running_gateway(genoa, chain) as running:
        yield running


@pytest.mark.parametrize("nonce", [NONCE, None])
def test_a_document_comes_with_the_key_of_its_connection(nonce: bytes | None, gateway: Gateway) -> None:
    document, pin = fetch_evidence(gateway.peer.url + "/any/path", nonce, ca=gateway.chain.root.pem)
    assert document.startswith(b'{"__cmwc_t"')
    assert pin == gateway.chain.leaf.pin
    assert gateway.nonces == [nonce]
    assert len(gateway.peer.received) == 1


def test_without_an_authority_the_document_is_fetched_all_the_same(gateway: Gateway) -> None:
    assert fetch_evidence(gateway.peer.url, NONCE)[1] == gateway.chain.leaf.pin


def test_the_wrong_authority_fetches_nothing(gateway: Gateway) -> None:
    with pytest.raises(CannotDecide):
        fetch_evidence(gateway.peer.url, NONCE, ca=Chain.forge().root.pem)
    gateway.peer.settle()
    assert gateway.peer.application_bytes == 0


@pytest.mark.parametrize("status", [301, 400, 404, 503])
def test_any_other_status_is_no_evidence_and_no_redirect_is_followed(status: int, gateway: Gateway) -> None:
    gateway.evidence_status = status
    with pytest.raises(CannotDecide, match=str(status)):
        fetch_evidence(gateway.peer.url, NONCE)
    assert len(gateway.nonces) == 1


def test_more_than_4_mb_are_refused(gateway: Gateway) -> None:
    gateway.evidence = lambda nonce: bytes(4 * 1024 * 1024 + 1)
    with pytest.raises(MalformedEvidence):
        fetch_evidence(gateway.peer.url, NONCE)


def test_what_does_not_speak_http_is_no_evidence(chain: Chain) -> None:
    with (
        RecordingPeer(chain.context(), serve=lambda tls, record: tls.sendall(b"220 ready\r\n")) as peer,
        pytest.raises(CannotDecide),
    ):
        fetch_evidence(peer.url, NONCE)


def test_the_environment_brings_no_proxy(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert fetch_evidence(gateway.peer.url, NONCE)[1] == gateway.chain.leaf.pin


def test_a_plain_url_is_refused() -> None:
    with pytest.raises(ValueError, match="https"):
        fetch_evidence("http://127.0.0.1:1", NONCE)
