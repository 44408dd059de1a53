"""The TLS identity: a key that is made inside, lives in memory only, and dies with its epoch.

`ssl` loads keys from paths only, so the key passes through an anonymous memory file (memfd) that no directory
ever names and that is wiped and closed before `new_tls_identity` returns. The leaf is signed by an authority
made for this one certificate and whose private key is dropped at once: nobody can issue a second one.
Clients that verify the enclave compare the leaf's key with the attested manifest; the authority is only for
programs that know nothing but certificates.
"""

from __future__ import annotations

import hashlib
import ipaddress
import os
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from attestation.pinned_tls import RecordObject

_OP_CLEANSE_PLAINTEXT = 0x2
"""SSL_OP_CLEANSE_PLAINTEXT (openssl/ssl.h): overwrite decrypted bytes once delivered. Not named by `ssl`."""

_CLOCK_SKEW = timedelta(hours=1)
_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")
_LOOPBACK_ADDRESSES = ("127.0.0.1", "::1")


@dataclass(frozen=True, slots=True, eq=False)
class TlsIdentity:
    """A server context with its key inside, and the public facts about it. Make it before forking.

    `certificate_pem` is the chain as sent (leaf, then authority); `ca_pem` the authority alone, for clients
    that trust by certificate; `spki_sha256` the 32 bytes that the manifest lists.
    """

    context: ssl.SSLContext
    certificate_pem: bytes
    ca_pem: bytes
    spki_sha256: bytes
    hostnames: tuple[str, ...]


def new_tls_identity(hostnames: Sequence[str], *, now: datetime, not_after: datetime) -> TlsIdentity:
    """Make a random P-256 key and everything that serves it. Raises ValueError without a hostname."""
    if not hostnames:
        raise ValueError("a TLS identity needs at least one hostname")
    key = ec.generate_private_key(ec.SECP256R1())
    leaf, authority = _certify(key.public_key(), hostnames, now - _CLOCK_SKEW, not_after)
    chain = leaf.public_bytes(Encoding.PEM) + authority.public_bytes(Encoding.PEM)
    spki = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return TlsIdentity(
        context=_server_context(key, chain),
        certificate_pem=chain,
        ca_pem=authority.public_bytes(Encoding.PEM),
        spki_sha256=hashlib.sha256(spki).digest(),
        hostnames=tuple(hostnames),
    )


def _server_context(key: ec.EllipticCurvePrivateKey, chain: bytes) -> ssl.SSLContext:
    """TLS 1.3, HTTP/1.1, no tickets. No key log either: only `create_default_context` reads SSLKEYLOGFILE."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.maximum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(["http/1.1"])
    context.num_tickets = 0
    context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.options |= _OP_CLEANSE_PLAINTEXT
    context.sslobject_class = RecordObject
    _load_through_memory(context, key, chain)
    return context


def _load_through_memory(context: ssl.SSLContext, key: ec.EllipticCurvePrivateKey, chain: bytes) -> None:
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + chain
    fd = os.memfd_create("", os.MFD_CLOEXEC)
    try:
        _write_all(fd, pem, 0)
        context.load_cert_chain(f"/proc/self/fd/{fd}")
        _write_all(fd, bytes(len(pem)), 0)
        os.ftruncate(fd, 0)
    finally:
        os.close(fd)


def _write_all(fd: int, data: bytes, offset: int) -> None:
    while offset < len(data):
        offset += os.pwrite(fd, data[offset:], offset)


def _certify(
    public: ec.EllipticCurvePublicKey, hostnames: Sequence[str], not_before: datetime, not_after: datetime
) -> tuple[x509.Certificate, x509.Certificate]:
    """Return (leaf, authority). The authority's private key is a local name here and nowhere else."""
    authority_key = ec.generate_private_key(ec.SECP256R1())
    authority = _authority(authority_key, not_before, not_after)
    leaf = (
        _builder(public, authority.subject, not_before, not_after)
        .subject_name(x509.Name([]))
        .add_extension(x509.SubjectAlternativeName(_general_names(hostnames)), critical=True)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_data=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False
        )
        .sign(authority_key, hashes.SHA256())
    )
    return leaf, authority


def _authority(
    key: ec.EllipticCurvePrivateKey, not_before: datetime, not_after: datetime
) -> x509.Certificate:
    # The serial in the name keeps authorities of different boots apart in a trust store.
    name = x509.Name(
        [x509.NameAttribute(NameOID.COMMON_NAME, f"Casemate one-certificate authority {os.urandom(8).hex()}")]
    )
    return (
        _builder(key.public_key(), name, not_before, not_after)
        .subject_name(name)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_data=False), critical=True)
        .sign(key, hashes.SHA256())
    )


def _builder(
    public: ec.EllipticCurvePublicKey, issuer: x509.Name, not_before: datetime, not_after: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(not_before)
        .not_valid_after(not_after)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )


def _general_names(hostnames: Sequence[str]) -> list[x509.GeneralName]:
    """Names as given; a loopback name brings both loopback addresses, since tools mix them freely."""
    names = list(dict.fromkeys(hostnames))
    if any(name in _LOOPBACK_NAMES for name in names):
        names += [address for address in _LOOPBACK_ADDRESSES if address not in names]
    return [_general_name(name) for name in names]


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _key_usage(*, signs_data: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=signs_data,
        key_cert_sign=not signs_data,
        crl_sign=not signs_data,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
