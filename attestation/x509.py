"""Certificates and CRLs as AMD and Intel issue them: what one certificate is, and whether another signed it.

Each vendor has one way to sign, and nothing else counts as its signature. AMD: RSASSA-PSS with SHA-384,
MGF1-SHA-384 and a salt of 48 bytes over an RSA-4096 key (AMD 57230). Intel: ECDSA with SHA-256 over P-256
(Intel SGX PCK certificate specification). Trust in a root is by the digest of its key. Time is an argument.
Functions that judge return what is wrong as text, or None.
"""

from __future__ import annotations

import hashlib
import re
import threading
import warnings
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509.oid import ExtensionOID, NameOID, SignatureAlgorithmOID

from attestation.errors import MalformedEvidence

MAX_DER = 64 * 1024
MAX_CRL = 1024 * 1024  # a vendor's list grows with every revocation; a certificate does not
_RSA_BITS = 4096
_SALT = 48
_AUTHORITY_CRITICAL = frozenset({ExtensionOID.BASIC_CONSTRAINTS, ExtensionOID.KEY_USAGE})
_WARNINGS = threading.Lock()
_THIS_MODULE = re.escape(__name__) + r"\Z"

_Loaded = TypeVar("_Loaded", x509.Certificate, x509.CertificateRevocationList)
_Signed = x509.Certificate | x509.CertificateRevocationList
SignatureJudge = Callable[[_Signed, x509.Certificate], str | None]


def load_certificate(der: bytes) -> x509.Certificate:
    """Parse one DER certificate whole. Raises MalformedEvidence."""
    return _load(der, _certificate, "certificate", MAX_DER)


def load_crl(der: bytes) -> x509.CertificateRevocationList:
    """Parse one DER certificate revocation list whole. Raises MalformedEvidence."""
    return _load(der, _crl, "CRL", MAX_CRL)


def _load(der: bytes, loader: Callable[[bytes], _Loaded], what: str, limit: int) -> _Loaded:
    """Bound the size, and give every complaint of the parser one type, warnings included.

    Every VCEK has the serial number 0, which `cryptography` warns about: only that one says nothing here.
    Warning filters belong to the whole process, hence the lock, and hence filters for this module alone:
    other threads may warn meanwhile, and must not be stopped by it.
    """
    if len(der) > limit:
        raise MalformedEvidence(f"a {what} of more than {limit} bytes")
    try:
        with _WARNINGS, warnings.catch_warnings():
            warnings.filterwarnings("error", module=_THIS_MODULE)
            warnings.filterwarnings("ignore", category=CryptographyDeprecationWarning, module=_THIS_MODULE)
            loaded = loader(bytes(der))
    except Exception as error:  # the library promises no list of what bytes make its parsers raise
        raise MalformedEvidence(f"not a DER {what} that we can read") from error
    if not _frames_what_was_signed(bytes(der), loaded):
        raise MalformedEvidence(f"a {what} that names another algorithm than was signed, or has unused bits")
    return loaded


def _frames_what_was_signed(der: bytes, loaded: _Signed) -> bool:
    """Whether the algorithm beside the signed part is the one in it, and the signature has no unused bits.

    Nobody signs these bytes, and the library passes over some of them (RFC 5280 section 4.1.1.2 wants both
    algorithms equal), so one certificate would have many spellings.
    """
    body, bits = _signed_bytes(loaded), len(loaded.signature) + 1
    tag_and_length = 2 + (bits > 0x7F) + (bits > 0xFF)
    algorithm = der[der.index(body) + len(body) : len(der) - bits - tag_and_length]
    return algorithm in body and not der[len(der) - bits]


def _certificate(der: bytes) -> x509.Certificate:
    """Touch every part that is decoded lazily, so that nothing can raise later."""
    loaded = x509.load_der_x509_certificate(der)
    _ = (loaded.subject, loaded.issuer, loaded.extensions, loaded.public_key())
    _ = (loaded.signature_algorithm_parameters, loaded.signature_hash_algorithm)
    _ = (loaded.not_valid_before_utc, loaded.not_valid_after_utc)
    return loaded


def _crl(der: bytes) -> x509.CertificateRevocationList:
    """As `_certificate`, but for the entries, of which a list may have thousands.

    Loading has already parsed each entry's serial number and date strictly (a test damages one and sees the
    list refused). What stays undecoded is an entry's own extensions: reasons, which change nothing, since a
    revoked certificate is refused for whatever reason. Only an indirect list could redirect an entry to
    another issuer, and it says so in a critical extension, for which `crl_problem` refuses it.
    """
    loaded = x509.load_der_x509_crl(der)
    _ = (loaded.issuer, loaded.extensions, loaded.last_update_utc, loaded.next_update_utc)
    _ = (loaded.signature_algorithm_parameters, loaded.signature_hash_algorithm)
    return loaded


def spki_digest(certificate: x509.Certificate) -> bytes:
    """SHA-256 over the DER SubjectPublicKeyInfo: what pins compare."""
    encoding, form = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    return hashlib.sha256(certificate.public_key().public_bytes(encoding, form)).digest()


def common_name(name: x509.Name) -> str | None:
    """The one CN of a name; None if it has none, or several."""
    values = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    if len(values) != 1 or not isinstance(values[0].value, str):
        return None
    return values[0].value


def display_name(name: x509.Name) -> str:
    """The CN as it may reach a terminal or a report: printable ASCII, and not long."""
    value = common_name(name)
    if value is None:
        return "(none)"
    return value if len(value) <= 64 and value.isascii() and value.isprintable() else "(unprintable)"


def signature_problem(signed: _Signed, issuer: x509.Certificate) -> str | None:
    """Why `issuer`'s key did not sign this in AMD's way; None if it did."""
    if signed.issuer != issuer.subject:
        return "the issuer's name is another"
    key = issuer.public_key()
    if not isinstance(key, rsa.RSAPublicKey) or key.key_size != _RSA_BITS:
        return "the issuer's key is not RSA-4096"
    if not _is_pss_sha384(signed.signature_algorithm_parameters, signed.signature_hash_algorithm):
        return "not RSASSA-PSS with SHA-384, MGF1-SHA-384 and salt 48"
    try:
        key.verify(signed.signature, _signed_bytes(signed), _pss(), hashes.SHA384())
    except InvalidSignature:
        return "the signature does not verify"
    return None


def ecdsa_signature_problem(signed: _Signed, issuer: x509.Certificate) -> str | None:
    """Why `issuer`'s key did not sign this in Intel's way; None if it did."""
    if signed.issuer != issuer.subject:
        return "the issuer's name is another"
    key = p256_key(issuer)
    if key is None:
        return "the issuer's key is not P-256"
    if signed.signature_algorithm_oid != SignatureAlgorithmOID.ECDSA_WITH_SHA256:
        return "not ECDSA with SHA-256"
    try:
        key.verify(signed.signature, _signed_bytes(signed), ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return "the signature does not verify"
    return None


def p256_key(certificate: x509.Certificate) -> ec.EllipticCurvePublicKey | None:
    """The certificate's key, if it is one on the curve P-256."""
    key = certificate.public_key()
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
        return key
    return None


def _signed_bytes(signed: _Signed) -> bytes:
    """The part of a certificate or CRL that its signature covers."""
    return signed.tbs_certificate_bytes if isinstance(signed, x509.Certificate) else signed.tbs_certlist_bytes


def _pss() -> padding.PSS:
    return padding.PSS(padding.MGF1(hashes.SHA384()), _SALT)


def _is_pss_sha384(parameters: object, digest: hashes.HashAlgorithm | None) -> bool:
    """Check the parameters that the signer declared, not merely that our own choice of them verifies."""
    if not isinstance(parameters, padding.PSS) or not isinstance(digest, hashes.SHA384):
        return False
    mask_digest = parameters.mgf._algorithm
    return isinstance(mask_digest, hashes.SHA384) and parameters._salt_length == _SALT


def authority_problem(
    certificate: x509.Certificate, *, authorities_below: int, crl_sign: bool = False
) -> str | None:
    """Why this certificate may not issue what it issued (basicConstraints, keyUsage, critical extensions)."""
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return "basicConstraints or keyUsage is missing"
    if not (constraints.critical and constraints.value.ca):
        return "basicConstraints does not say CA"
    limit = constraints.value.path_length
    if limit is not None and limit < authorities_below:
        return "pathLenConstraint is exceeded"
    if not usage.key_cert_sign or (crl_sign and not usage.crl_sign):
        return "keyUsage does not allow signing"
    return _critical_problem(certificate, _AUTHORITY_CRITICAL)


def leaf_problem(certificate: x509.Certificate) -> str | None:
    """Why this certificate is not an end entity without surprises."""
    try:
        if certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca:
            return "the signing key's certificate is an authority"
    except x509.ExtensionNotFound:
        pass  # AMD's VCEK and VLEK carry none, which means: not an authority
    return _critical_problem(certificate, _AUTHORITY_CRITICAL)


def _critical_problem(signed: _Signed, known: frozenset[x509.ObjectIdentifier]) -> str | None:
    unknown = any(extension.critical and extension.oid not in known for extension in signed.extensions)
    return "an unknown critical extension" if unknown else None


def validity_problem(certificate: x509.Certificate, now: datetime) -> str | None:
    """Why this certificate is not valid at `now` (aware); both ends are inclusive (RFC 5280, 4.1.2.5)."""
    if now < certificate.not_valid_before_utc:
        return f"not valid before {certificate.not_valid_before_utc:%Y-%m-%d}"
    if now > certificate.not_valid_after_utc:
        return f"expired {certificate.not_valid_after_utc:%Y-%m-%d}"
    return None


def issuer_of(certificate: x509.Certificate, pool: Iterable[x509.Certificate]) -> x509.Certificate | None:
    """The certificate in `pool` that signed this one; failing that, one that has its issuer's name.

    Vendors reissue an authority under one name, so a name alone does not settle which was meant.
    """
    named = [candidate for candidate in pool if candidate.subject == certificate.issuer]
    proven = [candidate for candidate in named if signature_problem(certificate, candidate) is None]
    return next(iter(proven + named), None)


def crl_problem(
    crl: x509.CertificateRevocationList,
    issuer: x509.Certificate,
    *,
    signed_by: SignatureJudge = signature_problem,
) -> str | None:
    """Why this CRL is not one that `issuer` signed, in its vendor's way, and that we understand whole."""
    problem = signed_by(crl, issuer) or authority_problem(issuer, authorities_below=0, crl_sign=True)
    return problem or _critical_problem(crl, frozenset())


def crl_is_current(crl: x509.CertificateRevocationList, now: datetime) -> bool:
    """Whether `now` (aware) lies between thisUpdate and nextUpdate; a CRL without nextUpdate never is."""
    return crl.next_update_utc is not None and crl.last_update_utc <= now <= crl.next_update_utc


def revoked_by(crl: x509.CertificateRevocationList, certificates: Sequence[x509.Certificate]) -> list[str]:
    """Displayed names of those among `certificates`, all issued by the CRL's issuer, that it revokes.

    Raises MalformedEvidence for a serial number that no list could name.
    """
    return [
        display_name(certificate.subject)
        for certificate in certificates
        if certificate.issuer == crl.issuer
        and crl.get_revoked_certificate_by_serial_number(_serial_number(certificate)) is not None
    ]


def _serial_number(certificate: x509.Certificate) -> int:
    """The serial number, without the warning that zero (every VCEK's) brings; below, MalformedEvidence."""
    with _WARNINGS, warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=CryptographyDeprecationWarning, module=_THIS_MODULE)
        number = certificate.serial_number
    if number < 0:
        raise MalformedEvidence("a certificate's serial number is negative")
    return number
