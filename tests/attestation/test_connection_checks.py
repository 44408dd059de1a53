"""What ties evidence to one connection is looked at again by whoever keeps that connection."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from attestation.errors import BindingMismatch
from attestation.formats.manifest import Manifest
from attestation.model import Appraisal, Verdict
from attestation.pinned_tls import spki_sha256
from attestation.transport.evidence import decide
from tests.fakes.amd import NOW, World
from tests.fakes.evidence import HPKE_KEY, NONCE, manifest


@dataclass(frozen=True)
class Tls:
    """A finished handshake with one peer certificate."""

    leaf: x509.Certificate
    session_reused: bool = False

    def getpeercert(self, binary_form: bool = False) -> bytes:
        """DER, as `ssl` gives it."""
        assert binary_form
        return self.leaf.public_bytes(Encoding.DER)


@pytest.fixture(scope="session")
def tls(genoa: World) -> Tls:
    """Any certificate will do: only its key counts."""
    return Tls(genoa.hierarchy.ask.certificate)


def failed(tls: Tls, **changes: Any) -> list[str]:
    """Checks that refuse a connection although the verifier accepted the evidence."""
    key = spki_sha256(tls.getpeercert(True))
    bound: Manifest = replace(manifest(b""), **({"tls_spki_sha256": (key,)} | changes))

    def accepting(document: bytes, **_: Any) -> Appraisal:
        return Appraisal(Verdict.ACCEPTED, (), bound)

    try:
        trust = decide(accepting, b"", nonce=NONCE, now=NOW, tls=tls)
    except BindingMismatch as error:
        return [check.id for check in error.checks]
    assert trust.sealing_key == HPKE_KEY
    return []


def test_a_fresh_connection_with_an_attested_key_is_trusted(tls: Tls) -> None:
    assert failed(tls) == []


@pytest.mark.parametrize(
    ("check_id", "changes"),
    [
        ("transport.tls.key", {"tls_spki_sha256": (bytes(32),)}),
        ("transport.phase", {"phase": "provisioning"}),
        ("transport.not_after", {"not_after": int(NOW.timestamp())}),
        ("transport.hpke.key", {"hpke_x25519": ()}),
    ],
)
def test_refuses_a_connection_by_exactly_this_rule(tls: Tls, check_id: str, changes: dict[str, Any]) -> None:
    assert failed(tls, **changes) == [check_id]


def test_refuses_a_resumed_session(tls: Tls) -> None:
    assert failed(replace(tls, session_reused=True)) == ["transport.tls.resumed"]
