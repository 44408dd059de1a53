"""From a heap of certificates to the one chain that a report claims: VEK, ASK or ASVK, ARK."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from attestation.errors import CannotDecide, MalformedEvidence
from attestation.snp.abi import PRODUCTS, Report
from attestation.snp.kds import VekExtensions, vek_extensions
from attestation.x509 import (
    common_name,
    issuer_of,
    load_certificate,
    load_crl,
    spki_digest,
    validity_problem,
)

MAX_CERTIFICATES = 16
MAX_CRLS = 8
VEK_NAMES = {"vcek": "SEV-VCEK", "vlek": "SEV-VLEK"}


@dataclass(frozen=True, slots=True)
class Case:
    """Everything that one report is judged by. What is missing raises CannotDecide where it is asked for."""

    report: Report
    certificates: tuple[x509.Certificate, ...]
    crls: tuple[x509.CertificateRevocationList, ...]
    unreadable: tuple[str, ...]
    found_vek: x509.Certificate | None
    found_issuer: x509.Certificate | None
    found_root: x509.Certificate | None
    found_extensions: VekExtensions | MalformedEvidence | None
    roots: Mapping[str, frozenset[bytes]]
    development_root: bytes | None
    now: datetime

    @property
    def vek(self) -> x509.Certificate:
        """The certificate of the key that signed, or may have signed, the report."""
        return _present(self.found_vek, "no VCEK or VLEK certificate was supplied")

    @property
    def issuer(self) -> x509.Certificate:
        """The VEK's issuer: ASK for a VCEK, ASVK for a VLEK."""
        return _present(self.found_issuer, "the certificate of the VEK's issuer was not supplied")

    @property
    def root(self) -> x509.Certificate:
        """The issuer's issuer: the ARK."""
        return _present(self.found_root, "the root's certificate was not supplied")

    @property
    def extensions(self) -> VekExtensions:
        """AMD's extensions of the VEK's certificate. Raises MalformedEvidence too."""
        if isinstance(self.found_extensions, VekExtensions):
            return self.found_extensions
        raise self.found_extensions or CannotDecide("no VCEK or VLEK certificate was supplied")

    @property
    def is_development(self) -> bool:
        """Whether the chain ends in the one development root that a policy named, and in no pinned one."""
        return self.pinned_product is None and spki_digest(self.root) == self.development_root

    @property
    def pinned_product(self) -> str | None:
        """The product whose pins contain the root's key."""
        digest = spki_digest(self.root)
        return next((product for product, pins in self.roots.items() if digest in pins), None)

    @property
    def product(self) -> str:
        """The product that the trusted root stands for; never taken from anything unsigned.

        A development root has no pin that would tell, so its own name does.
        """
        pinned = self.pinned_product
        if pinned is not None:
            return pinned
        product = (common_name(self.root.subject) or "").removeprefix("ARK-")
        if self.is_development and product in PRODUCTS:
            return product
        raise CannotDecide("no trusted root says which product this is")


def _present(certificate: x509.Certificate | None, otherwise: str) -> x509.Certificate:
    if certificate is None:
        raise CannotDecide(otherwise)
    return certificate


def build_case(
    report: Report,
    certificates: Sequence[bytes],
    crls: Sequence[bytes],
    *,
    roots: Mapping[str, frozenset[bytes]],
    development_root: bytes | None,
    now: datetime,
) -> Case:
    """Parse what can be parsed, note what cannot, and pick the chain. Raises nothing for bad bytes."""
    loaded, loaded_crls, unreadable = _load_all(certificates, crls)
    vek = _choose_vek(report, loaded, now)
    issuer = issuer_of(vek, loaded) if vek else None
    root = issuer_of(issuer, loaded) if issuer else None
    return Case(
        report=report,
        certificates=loaded,
        crls=loaded_crls,
        unreadable=unreadable,
        found_vek=vek,
        found_issuer=issuer,
        found_root=root,
        found_extensions=_read_extensions(vek),
        roots=roots,
        development_root=development_root,
        now=now,
    )


def _load_all(
    certificates: Sequence[bytes], crls: Sequence[bytes]
) -> tuple[tuple[x509.Certificate, ...], tuple[x509.CertificateRevocationList, ...], tuple[str, ...]]:
    """Load certificates (each once) and CRLs; the third value lists what was wrong with the rest."""
    loaded, loaded_crls, unreadable = [], [], []
    distinct, distinct_crls = list(dict.fromkeys(certificates)), list(dict.fromkeys(crls))
    if len(distinct) > MAX_CERTIFICATES or len(distinct_crls) > MAX_CRLS:
        unreadable.append(f"more than {MAX_CERTIFICATES} certificates or {MAX_CRLS} CRLs")
    for der in distinct[:MAX_CERTIFICATES]:
        try:
            loaded.append(load_certificate(der))
        except MalformedEvidence as error:
            unreadable.append(str(error))
    for der in distinct_crls[:MAX_CRLS]:
        try:
            loaded_crls.append(load_crl(der))
        except MalformedEvidence as error:
            unreadable.append(str(error))
    return tuple(loaded), tuple(loaded_crls), tuple(unreadable)


def _read_extensions(vek: x509.Certificate | None) -> VekExtensions | MalformedEvidence | None:
    """Read once, since half a dozen rules ask."""
    if vek is None:
        return None
    try:
        return vek_extensions(vek)
    except MalformedEvidence as error:
        return error


def _choose_vek(
    report: Report, certificates: Sequence[x509.Certificate], now: datetime
) -> x509.Certificate | None:
    """The one of the kind that the report names; of several, one that verifies it, then one still valid.

    KDS reissues a VCEK with the same key and other dates, so several may verify one report.
    """
    named = [c for c in certificates if common_name(c.subject) in VEK_NAMES.values()]
    if len(named) == 1:
        return named[0]  # the usual case: no signature needs to be checked to choose

    def merit(certificate: x509.Certificate) -> tuple[bool, bool, bool]:
        kind = common_name(certificate.subject) == VEK_NAMES.get(report.signing_key)
        current = validity_problem(certificate, now) is None
        return kind, signature_verifies(report, certificate), current

    return max(named, key=merit, default=None)


def signature_verifies(report: Report, vek: x509.Certificate) -> bool:
    """ECDSA P-384 with SHA-384 over the first 672 bytes (AMD 56860, SIGNATURE). False for any other key."""
    key = vek.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP384R1):
        return False
    signature = encode_dss_signature(report.signature_r, report.signature_s)
    try:
        key.verify(signature, report.signed, ec.ECDSA(hashes.SHA384()))
    except InvalidSignature:
        return False
    return True
