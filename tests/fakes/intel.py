"""A forged Intel for tests: its hierarchy, TDX quotes of every form, collateral, and every wrong variant.

`IntelWorld.forge()` makes root, platform CA and TCB signing key (elliptic curves: milliseconds); `issue()`
gives a signed quote with fitting collateral, in which one argument at a time can be made wrong. Keys, serial
numbers and signatures derive from labels, so that the same call gives the same bytes.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from attestation.hardware import TdxEvidence
from attestation.model import TdxCollateral
from tests.fakes.amd import NOW
from tests.fakes.intel_collateral import (
    Authority,
    CollateralFields,
    qe_identity,
    revocation_list,
    sign_raw,
    signed_json,
    tcb_info,
)
from tests.fakes.intel_layout import (
    SGX_EXTENSION,
    PckFields,
    QuoteFields,
    Regions,
    SignatureParts,
    TdFields,
    pck_extension,
    qe_report,
    regions_of,
    signature_pieces,
    signed_pieces,
)

ROOT, PLATFORM_CA, PROCESSOR_CA = (
    "Intel SGX Root CA",
    "Intel SGX PCK Platform CA",
    "Intel SGX PCK Processor CA",
)
TCB_SIGNING, PCK = "Intel SGX TCB Signing", "Intel SGX PCK Certificate"
_BEGINNING = datetime(2018, 5, 21, 10, 45, tzinfo=UTC)
_P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_USAGES = ("key_encipherment", "data_encipherment", "key_agreement", "encipher_only", "decipher_only")


@dataclass(frozen=True, slots=True)
class SignerFields:
    """Who signs and certifies. None: the proper one."""

    attestation_signer: ec.EllipticCurvePrivateKey | None = None
    certified_key: ec.EllipticCurvePrivateKey | None = None  # stands in the quote; the signer may be another
    qe_signer: ec.EllipticCurvePrivateKey | None = None
    pck: Authority | None = None
    chain: bytes | None = None  # PEM, as it stands in the quote
    pck_extension: bytes | None = None
    pck_name: str = PCK
    pck_serial: int | None = None
    pck_made: datetime = NOW - timedelta(days=300)
    pck_until: datetime = NOW + timedelta(days=2255)
    issuer: Authority | None = None


_GROUPS = (TdFields, QuoteFields, PckFields, CollateralFields, SignerFields)


@dataclass(frozen=True, slots=True)
class IntelSigned:
    """A quote with what is needed to check it. `regions` tells where in the quote everything stands."""

    quote: bytes
    collateral: TdxCollateral
    roots: frozenset[bytes]
    regions: Regions
    td: TdFields
    pck: Authority

    @property
    def evidence(self) -> TdxEvidence:
        """As a verifier takes it."""
        return TdxEvidence(self.quote, self.collateral)

    def with_byte(self, place: str | int, value: int = 1) -> IntelSigned:
        """The same with one byte of the quote xored: at an offset, or the first of a named region."""
        changed = bytearray(self.quote)
        changed[self.regions[place][0] if isinstance(place, str) else place] ^= value
        return replace(self, quote=bytes(changed))

    def with_collateral(self, **changes: Any) -> IntelSigned:
        """The same with parts of the collateral replaced (`tcb_info=b""` takes the TCB info away)."""
        return replace(self, collateral=replace(self.collateral, **changes))


@dataclass(frozen=True, slots=True)
class IntelWorld:
    """One forged Intel. Two worlds of different labels have equal names and different keys."""

    label: str
    root: Authority
    ca: Authority
    signing: Authority

    @classmethod
    def forge(cls, label: str = "forged") -> IntelWorld:
        """Root, platform CA and TCB signing certificate."""
        root = certify(label, ROOT, None, path_length=1)
        ca = certify(label, PLATFORM_CA, root, path_length=0)
        return cls(label, root, ca, certify(label, TCB_SIGNING, root))

    @property
    def roots(self) -> frozenset[bytes]:
        """Pins that trust this hierarchy as if it were Intel's: SHA-256 of the root's SPKI."""
        return frozenset({spki_sha256(self.root)})

    def issue(self, **changes: Any) -> IntelSigned:
        """A quote with its collateral; `changes` are fields of the five groups (their names are distinct)."""
        td, quote, pck_fields, collateral, signers = _grouped(changes)
        pck = signers.pck or self.certify_pck(pck_fields, signers)
        issuer = signers.issuer or self.ca
        chain = pck.pem + issuer.pem + self.root.pem + b"\0" if signers.chain is None else signers.chain
        pieces = signed_pieces(td, quote)
        attestation = signers.certified_key or derived_key(self.label, "attestation key")
        point = public_point(attestation)
        report = qe_report(quote, point)
        signed = b"".join(data for _, data in pieces)
        parts = SignatureParts(
            sign_raw(signers.attestation_signer or attestation, signed),
            point,
            report,
            sign_raw(signers.qe_signer or pck.key, report),
            chain,
        )
        pieces += signature_pieces(quote, parts)
        raw = b"".join(data for _, data in pieces)
        published = self.publish(collateral, pck, issuer)
        return IntelSigned(raw, published, self.roots, regions_of(pieces), td, pck)

    def certify_pck(self, pck: PckFields, signers: SignerFields) -> Authority:
        """A PCK certificate for one platform."""
        value = pck_extension(pck) if signers.pck_extension is None else signers.pck_extension
        extension = x509.UnrecognizedExtension(x509.ObjectIdentifier(SGX_EXTENSION), value)
        return certify(
            self.label,
            signers.pck_name,
            signers.issuer or self.ca,
            made=signers.pck_made,
            until=signers.pck_until,
            serial=signers.pck_serial,
            extension=extension,
        )

    def publish(self, f: CollateralFields, pck: Authority, issuer: Authority) -> TdxCollateral:
        """Everything that Intel's PCS would serve about the platform of `pck`."""
        serials = {
            "pck": pck.certificate.serial_number,
            "ca": issuer.certificate.serial_number,
            "signing": self.signing.certificate.serial_number,
            "bystander": 77,
        }
        by_root = tuple(serials[name] for name in ("ca", "signing") if name in f.revoked)
        by_ca = tuple(serials[name] for name in ("pck", "bystander") if name in f.revoked)
        signing_chain = (self.signing.der, self.root.der)
        return TdxCollateral(
            tcb_info=signed_json("tcbInfo", tcb_info(f), f.tcb_info_signer or self.signing.key),
            tcb_info_chain=_given(f.tcb_info_chain, signing_chain),
            qe_identity=signed_json(
                "enclaveIdentity", qe_identity(f), f.qe_identity_signer or self.signing.key
            ),
            qe_identity_chain=_given(f.qe_identity_chain, signing_chain),
            pck_crl=revocation_list(
                issuer,
                by_ca,
                made=f.pck_crl_issued or f.issued,
                until=f.pck_crl_until or f.until,
                signer=f.pck_crl_signer,
            ),
            pck_crl_chain=_given(f.pck_crl_chain, (issuer.der, self.root.der)),
            root_crl=revocation_list(
                self.root,
                by_root,
                made=f.root_crl_issued or f.issued,
                until=f.root_crl_until or f.until,
                signer=f.root_crl_signer,
            ),
        )


def _given(chain: tuple[bytes, ...] | None, proper: tuple[bytes, ...]) -> tuple[bytes, ...]:
    return proper if chain is None else chain


def _grouped(
    changes: Mapping[str, Any],
) -> tuple[TdFields, QuoteFields, PckFields, CollateralFields, SignerFields]:
    """Sort arguments by the group that has such a field. Raises TypeError for a name that none has."""
    names = [{field.name for field in fields(group)} for group in _GROUPS]
    unknown = changes.keys() - set().union(*names)
    if unknown:
        raise TypeError(f"no such field: {', '.join(sorted(unknown))}")
    made = [
        group(**{name: value for name, value in changes.items() if name in known})
        for group, known in zip(_GROUPS, names, strict=True)
    ]
    return tuple(made)  # type: ignore[return-value]


def derived_key(*labels: str) -> ec.EllipticCurvePrivateKey:
    """A P-256 key that depends on nothing but its labels."""
    digest = hashlib.sha512("\0".join(labels).encode()).digest()
    return ec.derive_private_key(int.from_bytes(digest, "big") % (_P256_ORDER - 1) + 1, ec.SECP256R1())


def public_point(key: ec.EllipticCurvePrivateKey) -> bytes:
    """x||y, big-endian, 64 bytes."""
    encoding, form = serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
    return key.public_key().public_bytes(encoding, form)[1:]


def spki_sha256(authority: Authority) -> bytes:
    """What a pin compares."""
    encoding, form = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    return hashlib.sha256(authority.certificate.public_key().public_bytes(encoding, form)).digest()


def name_of(common_name: str) -> x509.Name:
    """A name as Intel writes it. Only the key tells a forged root from theirs, as in real look-alikes."""
    parts = (
        (NameOID.COMMON_NAME, common_name),
        (NameOID.ORGANIZATION_NAME, "Intel Corporation"),
        (NameOID.LOCALITY_NAME, "Santa Clara"),
        (NameOID.STATE_OR_PROVINCE_NAME, "CA"),
        (NameOID.COUNTRY_NAME, "US"),
    )
    return x509.Name([x509.NameAttribute(kind, text) for kind, text in parts])


def certify(
    label: str,
    common_name: str,
    issuer: Authority | None,
    *,
    path_length: int | None = None,
    authority: bool | None = None,
    made: datetime = _BEGINNING,
    until: datetime = datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC),
    serial: int | None = None,
    key: ec.EllipticCurvePrivateKey | None = None,
    extension: x509.UnrecognizedExtension | None = None,
    critical: bool = False,
    signer: ec.EllipticCurvePrivateKey | None = None,
    digest: hashes.HashAlgorithm | None = None,
) -> Authority:
    """A certificate as Intel issues it; without an issuer self-signed, with a path length an authority."""
    key = key or derived_key(label, common_name)
    may_issue = path_length is not None if authority is None else authority
    above = issuer.key if issuer else key
    usage = x509.KeyUsage(
        digital_signature=not may_issue,
        content_commitment=not may_issue,
        key_cert_sign=may_issue,
        crl_sign=may_issue,
        **dict.fromkeys(_USAGES, False),
    )
    number = int.from_bytes(hashlib.sha256(f"{label} {common_name}".encode()).digest()[:19], "big")
    builder = (
        x509.CertificateBuilder()
        .subject_name(name_of(common_name))
        .issuer_name(issuer.certificate.subject if issuer else name_of(common_name))
        .public_key(key.public_key())
        .serial_number(number if serial is None else serial)
        .not_valid_before(made)
        .not_valid_after(until)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(above.public_key()), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(usage, critical=True)
        .add_extension(x509.BasicConstraints(ca=may_issue, path_length=path_length), critical=True)
    )
    if extension is not None:
        builder = builder.add_extension(extension, critical=critical)
    return Authority(key, builder.sign(signer or above, digest or hashes.SHA256(), ecdsa_deterministic=True))


def pem_of(der: bytes) -> bytes:
    """Any bytes in a certificate's PEM armour."""
    text = base64.b64encode(der)
    lines = [text[start : start + 64] for start in range(0, len(text), 64)]
    return b"\n".join([b"-----BEGIN CERTIFICATE-----", *lines, b"-----END CERTIFICATE-----", b""])
