"""TLS contexts that refuse a peer inside the handshake, before any application byte leaves.

A pin is the SHA-256 of a DER SubjectPublicKeyInfo, written `sha256/<base64>` (RFC 7469 section 2.4). The
check hangs on the two classes that an `ssl.SSLContext` instantiates: asynchronous clients (asyncio, uvloop,
aiohttp, httpx, httpx2) build `sslobject_class`, synchronous ones build `sslsocket_class` and never touch the
former, so both are set. Nothing here reads the environment: no `SSLKEYLOGFILE`, no `SSL_CERT_FILE`.
"""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import certifi
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from attestation.pins import read_pin as parse_pin
from attestation.pins import write_pin as format_pin

__all__ = [
    "RecordObject",
    "UntrustedPeer",
    "client_context",
    "format_pin",
    "leaf_certificate",
    "parse_pin",
    "pinned_context",
    "spki_sha256",
    "validated_chain",
]

PIN_BYTES = 32
RECORD_BYTES = 16_384
"""The most plaintext that one TLS record holds, and so one read returns (RFC 8446 section 5.1)."""

_Rule = Callable[[Any], None]


class UntrustedPeer(ssl.SSLError):
    """The peer's certificate chain holds no pinned key. No application byte was sent to it."""


class RecordObject(ssl.SSLObject):
    """Never asks for more than a record's worth of memory.

    uvloop asks for 256 KiB each time; where freed memory is overwritten, filling that costs more than the
    rest of a small request.
    """

    def read(self, len: int = RECORD_BYTES, buffer: Any = None) -> Any:
        return super().read(min(len, RECORD_BYTES), buffer)


def spki_sha256(der_cert: bytes) -> bytes:
    """Return the pin (32 bytes) of a DER certificate. Raises ValueError if its key cannot be read."""
    try:
        key = x509.load_der_x509_certificate(der_cert).public_key()
        spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except (UnsupportedAlgorithm, x509.InvalidVersion) as error:
        raise ValueError("certificate of an unknown version, or with a key of an unsupported kind") from error
    return hashlib.sha256(spki).digest()


def client_context(ca_pem: str | None = None, *, verify_webpki: bool = True) -> ssl.SSLContext:
    """A TLS 1.3 client context without pins: ALPN http/1.1, no tickets, no key log, no renegotiation.

    `ca_pem` (PEM text) replaces the public roots. With `verify_webpki=False` no chain and no name is checked:
    whoever uses such a context must decide about the peer's key before sending anything.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_COMPRESSION
    context.set_alpn_protocols(["http/1.1"])
    if not verify_webpki:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif ca_pem is not None:
        context.load_verify_locations(cadata=ca_pem)
    else:
        # certifi, not load_default_certs(): the latter follows SSL_CERT_FILE and SSL_CERT_DIR.
        context.load_verify_locations(cadata=Path(certifi.where()).read_text("ascii"))
    return context


def pinned_context(
    pins: Collection[bytes], *, ca_pem: str | None = None, verify_webpki: bool = True
) -> ssl.SSLContext:
    """A `client_context` that also requires a pinned key, decided inside `do_handshake`.

    A pin matches the leaf or an issuing CA of the *validated* chain, never a certificate that was merely
    presented. With `verify_webpki=False` there is no validated chain, so only the leaf is compared.
    Raises ValueError for an empty set: no pins never means any peer.
    """
    allowed = frozenset(pins)
    if not allowed or any(len(pin) != PIN_BYTES for pin in allowed):
        raise ValueError("at least one pin of 32 bytes is needed")
    context = client_context(ca_pem, verify_webpki=verify_webpki)

    def require_pin(tls: Any) -> None:
        chain = validated_chain(tls) if verify_webpki else [leaf_certificate(tls)]
        if tls.session_reused:
            raise UntrustedPeer("a resumed session shows no certificate chain to compare with the pins")
        if allowed.isdisjoint(_pins_of(chain)):
            raise UntrustedPeer("no key in the peer's certificate chain is pinned")

    context.sslobject_class = _object_class(require_pin)
    context.sslsocket_class = _socket_class(require_pin)
    return context


def leaf_certificate(tls: Any) -> bytes:
    """DER of the certificate the peer proved possession of. Raises UntrustedPeer if it showed none."""
    der = tls.getpeercert(binary_form=True)
    if not der:
        raise UntrustedPeer("the peer showed no certificate")
    return bytes(der)


def validated_chain(tls: Any) -> list[bytes]:
    """DER certificates of the chain that OpenSSL validated, leaf first.

    Public since Python 3.13; before, the same call exists on the wrapped C object only.
    """
    public = getattr(tls, "get_verified_chain", None)
    if public is not None:
        return [bytes(der) for der in public()]
    # _ssl.Certificate.public_bytes() defaults to PEM; ENCODING_DER has been 2 since it exists.
    return [bytes(cert.public_bytes(2)) for cert in tls._sslobj.get_verified_chain() or ()]


def _pins_of(chain: list[bytes]) -> set[bytes]:
    """Pins of the certificates whose key can be read; one that cannot is simply no match."""
    pins = set()
    for der in chain:
        try:
            pins.add(spki_sha256(der))
        except ValueError:
            continue
    return pins


def _object_class(rule: _Rule) -> type[ssl.SSLObject]:
    class PinnedObject(RecordObject):
        _trusted = False

        def do_handshake(self) -> None:
            super().do_handshake()
            rule(self)
            self._trusted = True

        def write(self, data: Any) -> int:
            # OpenSSL handshakes implicitly on a first write: that way round the rule must not be missed.
            if not self._trusted:
                raise UntrustedPeer("nothing is written before the handshake has checked the peer's pin")
            return super().write(data)

    return PinnedObject


def _socket_class(rule: _Rule) -> type[ssl.SSLSocket]:
    class PinnedSocket(ssl.SSLSocket):
        _trusted = False

        def do_handshake(self, block: bool = False) -> None:
            super().do_handshake(block)
            rule(self)
            self._trusted = True

        def send(self, data: Any, flags: int = 0) -> int:
            self._require_trusted()
            return super().send(data, flags)

        def write(self, data: Any) -> int:
            self._require_trusted()
            return super().write(data)

        def _require_trusted(self) -> None:
            # A first write handshakes implicitly, and an unconnected socket would send in the clear.
            if not self._trusted:
                raise UntrustedPeer("nothing is written before the handshake has checked the peer's pin")

    return PinnedSocket
