"""A simulated SEV-SNP machine for development: it protects nothing, and every certificate it makes says so.

It forges an AMD hierarchy of its own (ARK, ASK, VCEK) and signs byte-exact reports, so that the verifier runs
its real code path; no verifier accepts it without naming this very root under `insecure_development_root`.
Tests forge every negative case with the same functions. The production image leaves this module out.
Layouts: AMD 56860 (report, TCB_VERSION), AMD 57230 (certificates); docs/spec has our reading of them.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.x509.oid import NameOID

from attestation.hardware import SnpEvidence
from attestation.model import Tcb
from attestation.snp.abi import SIGNATURE_ECDSA_P384_SHA384, encode_tcb
from enclave.errors import NoTee
from enclave.secret import Secret

ORGANISATION = "INSECURE DEVELOPMENT ONLY - NOT AMD"
MEASUREMENT = hashlib.sha384(b"casemate insecure development enclave").digest()
PRODUCT = "Genoa"
TCB = Tcb(bootloader=10, tee=0, snp=25, microcode=84)

_REPORT_DATA_SIZE = 64
_VEK_ARC = "1.3.6.1.4.1.3704.1"
_LIFETIME = timedelta(days=365)
_CLOCK_SKEW = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Issuer:
    """A forged certificate authority: RSA-4096 key, its name, and its certificate."""

    key: rsa.RSAPrivateKey
    certificate: x509.Certificate

    @property
    def der(self) -> bytes:
        """The certificate's DER bytes."""
        return self.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def spki_sha256(self) -> bytes:
        """SHA-256 of the SubjectPublicKeyInfo: what a pin compares."""
        return hashlib.sha256(spki(self.key.public_key())).digest()


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """ARK and the intermediates under it. `asvk` (for VLEKs) is absent unless a test asks for it."""

    product: str
    ark: Issuer
    ask: Issuer
    asvk: Issuer | None = None


@dataclass(frozen=True, slots=True)
class Vek:
    """A forged report signing key and its certificate, DER."""

    key: ec.EllipticCurvePrivateKey
    certificate: bytes


@dataclass(frozen=True, slots=True)
class ReportFields:
    """What a report shall say, field by field; TCBs as 8 raw bytes. Names and sizes as in snp.abi.Report."""

    report_data: bytes
    version: int = 5
    guest_svn: int = 0
    policy: int = 1 << 17
    family_id: bytes = bytes(16)
    image_id: bytes = bytes(16)
    vmpl: int = 0
    signature_algo: int = SIGNATURE_ECDSA_P384_SHA384
    current_tcb_raw: bytes = encode_tcb(TCB, PRODUCT)
    platform_info: int = 0x24  # ECC on, alias check complete (BadRAM)
    flags: int = 0  # signed by the VCEK, chip key not masked
    measurement: bytes = MEASUREMENT
    host_data: bytes = bytes(32)
    id_key_digest: bytes = bytes(48)
    author_key_digest: bytes = bytes(48)
    report_id: bytes = bytes(32)
    report_id_ma: bytes = b"\xff" * 32  # no migration agent
    reported_tcb_raw: bytes = encode_tcb(TCB, PRODUCT)
    cpuid: tuple[int, int, int] = (0x19, 0x11, 1)  # Genoa
    chip_id: bytes = bytes(64)
    committed_tcb_raw: bytes = encode_tcb(TCB, PRODUCT)
    current_version: tuple[int, int, int] = (1, 55, 40)  # major, minor, build
    committed_version: tuple[int, int, int] = (1, 55, 40)
    launch_tcb_raw: bytes = encode_tcb(TCB, PRODUCT)
    launch_mit_vector: int = 1
    current_mit_vector: int = 1


def spki(public_key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey) -> bytes:
    """SubjectPublicKeyInfo, DER."""
    return public_key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def distinguished_name(common_name: str) -> x509.Name:
    """A subject that nobody can take for AMD's."""
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, ORGANISATION),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def certificate_builder(
    common_name: str,
    issuer_name: str,
    public_key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey,
    *,
    now: datetime,
) -> x509.CertificateBuilder:
    """A certificate without extensions, valid from a day before `now` for a year."""
    return (
        x509.CertificateBuilder()
        .subject_name(distinguished_name(common_name))
        .issuer_name(distinguished_name(issuer_name))
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(now + _LIFETIME)
    )


def as_authority(builder: x509.CertificateBuilder, *, path_length: int | None) -> x509.CertificateBuilder:
    """Add the critical extensions that AMD's authorities carry."""
    usage = dict.fromkeys(
        ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment"), False
    ) | dict.fromkeys(("key_agreement", "encipher_only", "decipher_only"), False)
    return builder.add_extension(
        x509.BasicConstraints(ca=True, path_length=path_length), critical=True
    ).add_extension(x509.KeyUsage(key_cert_sign=True, crl_sign=path_length is None, **usage), critical=True)


def sign_pss(builder: Any, key: rsa.RSAPrivateKey, *, salt: int = 48) -> Any:
    """Sign a certificate or CRL builder as AMD does: RSASSA-PSS, SHA-384, MGF1-SHA-384, salt 48."""
    return builder.sign(
        key, hashes.SHA384(), rsa_padding=padding.PSS(padding.MGF1(hashes.SHA384()), salt_length=salt)
    )


def new_rsa_key() -> rsa.RSAPrivateKey:
    """RSA-4096: takes about a second, so forge a hierarchy once and reuse it."""
    return rsa.generate_private_key(public_exponent=65537, key_size=4096)


def forge_hierarchy(product: str, *, now: datetime, vlek: bool = False) -> Hierarchy:
    """ARK, ASK and, if asked for, ASVK of one product, with fresh keys."""
    ark_name = f"ARK-{product}"
    ark_key = new_rsa_key()
    builder = certificate_builder(ark_name, ark_name, ark_key.public_key(), now=now)
    ark = Issuer(ark_key, sign_pss(as_authority(builder, path_length=None), ark_key))
    ask = forge_intermediate(ark, f"SEV-{product}", ark_name, now=now)
    asvk = forge_intermediate(ark, f"SEV-VLEK-{product}", ark_name, now=now) if vlek else None
    return Hierarchy(product, ark, ask, asvk)


def forge_intermediate(
    ark: Issuer, common_name: str, ark_name: str, *, now: datetime, key: rsa.RSAPrivateKey | None = None
) -> Issuer:
    """An ASK or ASVK signed by `ark`; an existing key may be reused, since making one is slow."""
    key = key or new_rsa_key()
    builder = certificate_builder(common_name, ark_name, key.public_key(), now=now)
    return Issuer(key, sign_pss(as_authority(builder, path_length=0), ark.key))


def der(tag: int, content: bytes) -> bytes:
    """One DER value with content of up to 255 bytes."""
    length = bytes([len(content)]) if len(content) < 0x80 else bytes([0x81, len(content)])
    return bytes([tag]) + length + content


def der_integer(value: int) -> bytes:
    """A non-negative DER INTEGER."""
    return der(0x02, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def der_ia5(text: str) -> bytes:
    """A DER IA5String."""
    return der(0x16, text.encode("ascii"))


def vek_extensions(
    product: str, tcb: Tcb, *, hwid: bytes | None = None, csp_id: str | None = None
) -> dict[str, bytes]:
    """AMD's extension values by OID (AMD 57230): a VCEK has a hardware id, a VLEK a cloud provider's name."""
    name = f"{product}-B0" if product == "Milan" and csp_id is None else product
    values = {
        ".1": der_integer(1 if product == "Turin" else 0),
        ".2": der_ia5(name),
        ".3.1": der_integer(tcb.bootloader),
        ".3.2": der_integer(tcb.tee),
        ".3.3": der_integer(tcb.snp),
        ".3.8": der_integer(tcb.microcode),
    }
    reserved = (".3.5", ".3.6", ".3.7") if product == "Turin" else (".3.4", ".3.5", ".3.6", ".3.7")
    values |= dict.fromkeys(reserved, der_integer(0))
    if tcb.fmc is not None:
        values[".3.9"] = der_integer(tcb.fmc)
    if hwid is not None:
        values[".4"] = hwid
    if csp_id is not None:
        values[".5"] = der_ia5(csp_id)
    return {_VEK_ARC + suffix: value for suffix, value in values.items()}


def forge_vek(
    issuer: Issuer,
    common_name: str,
    issuer_name: str,
    extensions: dict[str, bytes],
    *,
    now: datetime,
    curve: ec.EllipticCurve | None = None,
) -> Vek:
    """A VCEK or VLEK with exactly these extension values, signed by `issuer` under `issuer_name`."""
    key = ec.generate_private_key(curve or ec.SECP384R1())
    builder = certificate_builder(common_name, issuer_name, key.public_key(), now=now)
    for oid, value in extensions.items():
        extension = x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), value)
        builder = builder.add_extension(extension, critical=False)
    certificate: x509.Certificate = sign_pss(builder, issuer.key)
    return Vek(key, certificate.public_bytes(serialization.Encoding.DER))


def forge_crl(ark: Issuer, *, now: datetime) -> bytes:
    """The ARK's revocation list, DER: empty, good for as long as the certificates are."""
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(ark.certificate.subject)
        .last_update(now - _CLOCK_SKEW)
        .next_update(now + _LIFETIME)
    )
    signed: x509.CertificateRevocationList = sign_pss(builder, ark.key)
    return signed.public_bytes(serialization.Encoding.DER)


def encode_report(fields: ReportFields) -> bytes:
    """The 672 bytes that get signed. Fields that a version does not have are written as zeros."""
    f = fields
    cpuid = bytes(f.cpuid) if f.version >= 3 else bytes(3)
    mitigations = (f.launch_mit_vector, f.current_mit_vector) if f.version >= 5 else (0, 0)
    body = b"".join(
        (
            _little(4, f.version, f.guest_svn),
            _little(8, f.policy),
            f.family_id + f.image_id,
            _little(4, f.vmpl, f.signature_algo),
            f.current_tcb_raw,
            _little(8, f.platform_info),
            _little(4, f.flags, 0),
            f.report_data + f.measurement + f.host_data,
            f.id_key_digest + f.author_key_digest,
            f.report_id + f.report_id_ma + f.reported_tcb_raw,
            cpuid + bytes(21),
            f.chip_id + f.committed_tcb_raw,
            bytes((*reversed(f.current_version), 0, *reversed(f.committed_version), 0)),
            f.launch_tcb_raw,
            _little(8, *mitigations),
        )
    )
    return body + bytes(0x2A0 - len(body))


def _little(size: int, *values: int) -> bytes:
    return b"".join(value.to_bytes(size, "little") for value in values)


def sign_report(body: bytes, key: ec.EllipticCurvePrivateKey) -> bytes:
    """The whole report: body, then r and s little-endian in 72 bytes each, then zeros."""
    r, s = decode_dss_signature(key.sign(body, ec.ECDSA(hashes.SHA384())))
    return body + _little(72, r, s) + bytes(512 - 144)


@dataclass(frozen=True, slots=True)
class SimulatedTee:
    """An `enclave.tee.Tee` without hardware: Genoa, report version 5. Not one of its promises holds."""

    hierarchy: Hierarchy
    vek: Vek
    crl: bytes
    chip_id: bytes
    chip_secret: Secret

    @classmethod
    def forge(cls, *, now: datetime, chip_secret: bytes) -> SimulatedTee:
        """Make a new root (a few seconds). The same `chip_secret` keeps chip id and hardware keys."""
        hierarchy = forge_hierarchy(PRODUCT, now=now)
        chip_id = _derive(chip_secret, b"chip id", 64)
        extensions = vek_extensions(PRODUCT, TCB, hwid=chip_id)
        vek = forge_vek(hierarchy.ask, "SEV-VCEK", f"SEV-{PRODUCT}", extensions, now=now)
        return cls(hierarchy, vek, forge_crl(hierarchy.ark, now=now), chip_id, Secret(chip_secret))

    @property
    def platform(self) -> str:
        """What the reports claim to be."""
        return "sev-snp"

    @property
    def insecure(self) -> bool:
        """Always True."""
        return True

    @property
    def measurement(self) -> bytes:
        """MEASUREMENT of every report: fixed, 48 bytes, and a measurement of nothing."""
        return MEASUREMENT

    @property
    def root_spki_sha256(self) -> bytes:
        """The digest that a development policy names."""
        return self.hierarchy.ark.spki_sha256

    def report(self, report_data: bytes) -> bytes:
        """A fresh report, version 5, over exactly 64 bytes. Raises NoTee for any other length."""
        if len(report_data) != _REPORT_DATA_SIZE:
            raise NoTee(f"REPORT_DATA has {_REPORT_DATA_SIZE} bytes", hint="hash what you want to bind")
        fields = ReportFields(report_data, chip_id=self.chip_id, report_id=self.chip_id[:32])
        return sign_report(encode_report(fields), self.vek.key)

    def endorsements(self) -> SnpEvidence:
        """VCEK, ASK, ARK and the ARK's empty revocation list."""
        chain = (self.vek.certificate, self.hierarchy.ask.der, self.hierarchy.ark.der)
        return SnpEvidence(b"", chain, (self.crl,))

    def hardware_key(self, label: str) -> Secret:
        """32 bytes bound to chip secret, measurement and label, as MSG_KEY_REQ would bind them."""
        info = b"hardware key" + MEASUREMENT + label.encode()
        return Secret(_derive(self.chip_secret.reveal(), info, 32))


def _derive(secret: bytes, info: bytes, length: int) -> bytes:
    salt = b"casemate insecure development chip"
    return HKDF(hashes.SHA256(), length=length, salt=salt, info=info).derive(secret)
