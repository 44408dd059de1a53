"""From a quote and Intel's collateral to everything that the rules judge, parsed once and verified once.

Nothing here raises for bad bytes: what is missing or malformed is kept as such, and raises where it is asked
for, so that each rule that needs it says so, and no other.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from attestation.errors import CannotDecide, MalformedEvidence
from attestation.model import TdxCollateral
from attestation.tdx.abi import CERT_PCK_CHAIN, Quote, TdReport
from attestation.tdx.evaluation import Evaluation, evaluate_tcb
from attestation.tdx.pck import PckExtensions, pck_extensions
from attestation.tdx.qe_identity import QeIdentity, parse_qe_identity
from attestation.tdx.tcb_info import TcbInfo, parse_tcb_info
from attestation.x509 import (
    common_name,
    ecdsa_signature_problem,
    leaf_problem,
    load_certificate,
    load_crl,
    p256_key,
    spki_digest,
    validity_problem,
)

TCB_SIGNING_NAME = "Intel SGX TCB Signing"
_CHAIN = 3  # PCK, its CA, the root
_PEM = re.compile(
    rb"-----BEGIN CERTIFICATE-----\r?\n((?:[A-Za-z0-9+/=]{1,76}\r?\n)++)-----END CERTIFICATE-----(?:\r?\n)?"
)
_Certificates = tuple[x509.Certificate, ...]
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Lacking:
    """Why a thing is not there: not supplied (undecided), or supplied and not readable."""

    reason: str
    undecided: bool


def attempt(make: Callable[[], _T]) -> _T | Lacking:
    """What `make` returns, or why it could not."""
    try:
        return make()
    except (CannotDecide, MalformedEvidence) as error:
        return Lacking(str(error), isinstance(error, CannotDecide))


def present(found: _T | Lacking) -> _T:
    """What was found. Raises CannotDecide or MalformedEvidence if nothing was."""
    if isinstance(found, Lacking):
        raise (CannotDecide if found.undecided else MalformedEvidence)(found.reason)
    return found


@dataclass(frozen=True, slots=True)
class Case:
    """Everything that one quote is judged by.

    `chain` is PCK, CA, root, from the quote. `*_signers` and `crl_issuers` are the chains that came with
    collateral. `*_forged` is why Intel did not sign that collateral (None: it did). `further_crls` are those
    that can be read; nothing says yet whose they are.
    """

    quote: Quote
    chain: _Certificates | Lacking
    extension: PckExtensions | Lacking
    root_crl: x509.CertificateRevocationList | Lacking
    pck_crl: x509.CertificateRevocationList | Lacking
    crl_issuers: _Certificates | Lacking
    further_crls: tuple[x509.CertificateRevocationList, ...]
    tcb_info: TcbInfo | Lacking
    tcb_signers: _Certificates | Lacking
    tcb_info_forged: str | Lacking | None
    qe_identity: QeIdentity | Lacking
    qe_signers: _Certificates | Lacking
    qe_identity_forged: str | Lacking | None
    roots: frozenset[bytes]
    development_root: bytes | None
    now: datetime

    @property
    def pck(self) -> x509.Certificate:
        """The certificate of the platform's key."""
        return present(self.chain)[0]

    @property
    def authority(self) -> x509.Certificate:
        """The PCK's issuer: Platform CA or Processor CA."""
        return present(self.chain)[1]

    @property
    def root(self) -> x509.Certificate:
        """The last certificate of the quote's chain."""
        return present(self.chain)[2]

    @property
    def anchor(self) -> x509.Certificate:
        """The root, as what collateral is judged by: without one there is nothing to say about collateral."""
        return _anchor(self.chain)

    @property
    def is_development(self) -> bool:
        """Whether the chain ends in the one development root that a policy named, and in no pinned one."""
        digest = spki_digest(self.root)
        return digest not in self.roots and digest == self.development_root

    @property
    def body(self) -> TdReport:
        """The TD report. An SGX quote has none; that it is refused for."""
        if not isinstance(self.quote.body, TdReport):
            raise CannotDecide("this is no TD")
        return self.quote.body

    @property
    def usable_tcb_info(self) -> TcbInfo:
        """TCB info that Intel signed and that is current."""
        if isinstance(self.tcb_info, Lacking):
            raise CannotDecide(self.tcb_info.reason)
        if self.tcb_info_forged is not None:
            raise CannotDecide("no TCB info that Intel signed")
        if staleness(self.tcb_info, present(self.tcb_signers), self.now):
            raise CannotDecide("the TCB info is not current")
        return self.tcb_info

    @property
    def usable_qe_identity(self) -> QeIdentity:
        """A QE identity that Intel signed and that is current."""
        if isinstance(self.qe_identity, Lacking):
            raise CannotDecide(self.qe_identity.reason)
        if self.qe_identity_forged is not None:
            raise CannotDecide("no QE identity that Intel signed")
        if staleness(self.qe_identity, present(self.qe_signers), self.now):
            raise CannotDecide("the QE identity is not current")
        return self.qe_identity

    @property
    def evaluation_number(self) -> int:
        """Which of Intel's evaluations of all platforms the collateral is from: the older of the two."""
        return min(self.usable_tcb_info.evaluation_number, self.usable_qe_identity.evaluation_number)

    @property
    def evaluation(self) -> Evaluation:
        """How good Intel says that this platform is now."""
        return evaluate_tcb(
            self.usable_tcb_info,
            self.usable_qe_identity,
            present(self.extension),
            self.body,
            self.quote.signature.qe_report,
        )


def collateral_in_force(own: TdxCollateral, supplied: TdxCollateral | None) -> TdxCollateral:
    """What to judge by: the verifier's collateral, if there is any, in place of the evidence's own.

    The evidence's own revocation lists then go along as further ones, so that none of them is forgotten.
    """
    if supplied is None:
        return own
    known = {b"", supplied.pck_crl, supplied.root_crl, *supplied.further_crls}
    carried = dict.fromkeys((own.pck_crl, own.root_crl, *own.further_crls))
    further = tuple(der for der in carried if der not in known)
    return replace(supplied, further_crls=supplied.further_crls + further)


def build_case(
    quote: Quote,
    collateral: TdxCollateral,
    *,
    roots: frozenset[bytes],
    development_root: bytes | None,
    now: datetime,
) -> Case:
    """Parse what can be parsed and note what cannot. Raises nothing for bad bytes."""
    chain = attempt(lambda: _quote_chain(quote))
    tcb_info = attempt(lambda: parse_tcb_info(_supplied(collateral.tcb_info, "TCB info")))
    tcb_signers = attempt(lambda: _collateral_chain(collateral.tcb_info_chain, "TCB info"))
    qe_identity = attempt(lambda: parse_qe_identity(_supplied(collateral.qe_identity, "QE identity")))
    qe_signers = attempt(lambda: _collateral_chain(collateral.qe_identity_chain, "QE identity"))
    return Case(
        quote=quote,
        chain=chain,
        extension=attempt(lambda: pck_extensions(present(chain)[0])),
        root_crl=attempt(lambda: load_crl(_supplied(collateral.root_crl, "root CRL"))),
        pck_crl=attempt(lambda: load_crl(_supplied(collateral.pck_crl, "PCK CRL"))),
        crl_issuers=attempt(lambda: _certificates(collateral.pck_crl_chain)),
        further_crls=_readable(collateral.further_crls),
        tcb_info=tcb_info,
        tcb_signers=tcb_signers,
        tcb_info_forged=attempt(lambda: _forged(present(tcb_info), present(tcb_signers), _anchor(chain))),
        qe_identity=qe_identity,
        qe_signers=qe_signers,
        qe_identity_forged=attempt(
            lambda: _forged(present(qe_identity), present(qe_signers), _anchor(chain))
        ),
        roots=roots,
        development_root=development_root,
        now=now,
    )


def _readable(lists: Sequence[bytes]) -> tuple[x509.CertificateRevocationList, ...]:
    """What is no list is nobody's word, and is passed over as a forged one is."""
    found = (attempt(partial(load_crl, der)) for der in lists)
    return tuple(crl for crl in found if not isinstance(crl, Lacking))


def _anchor(chain: _Certificates | Lacking) -> x509.Certificate:
    if isinstance(chain, Lacking):
        raise CannotDecide("the quote has no chain whose root collateral could be judged by")
    return chain[2]


def _supplied(raw: bytes, what: str) -> bytes:
    if not raw:
        raise CannotDecide(f"no {what} was supplied")
    return raw


def _quote_chain(quote: Quote) -> _Certificates:
    if quote.signature.inner_cert_type != CERT_PCK_CHAIN:
        raise MalformedEvidence("the quote carries no PCK certificate chain")
    return tuple(load_certificate(der) for der in parse_pem_chain(quote.signature.cert_data))


def parse_pem_chain(raw: bytes) -> list[bytes]:
    """The three certificates of a quote, as DER: PEM blocks one after another, then at most zero bytes.

    Nothing stands between or after them that could carry anything. Raises MalformedEvidence.
    """
    found, end = list[bytes](), 0
    while (match := _PEM.match(raw, end)) is not None and len(found) < _CHAIN:
        found.append(_der(match[1].replace(b"\r", b"").replace(b"\n", b"")))
        end = match.end()
    if len(found) != _CHAIN or raw[end:].strip(b"\0"):
        raise MalformedEvidence("the quote's certificates are not three PEM blocks")
    return found


def _der(text: bytes) -> bytes:
    try:
        der = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise MalformedEvidence("a certificate of the quote is not Base64") from error
    if base64.b64encode(der) != text:
        raise MalformedEvidence("a certificate of the quote is Base64 with stray bits")
    return der


def _collateral_chain(chain: Sequence[bytes], what: str) -> _Certificates:
    if not chain:
        raise CannotDecide(f"the {what} was supplied without its signer's certificate")
    return _certificates(chain)


def _certificates(chain: Sequence[bytes]) -> _Certificates:
    if len(chain) >= _CHAIN:
        raise MalformedEvidence("collateral comes with a chain of two certificates, a signer and the root")
    return tuple(load_certificate(der) for der in chain)


def collateral_chain_problem(chain: _Certificates, root: x509.Certificate) -> str | None:
    """Why this chain does not lead to `root`, which has to sign its first and share the key of its last."""
    for last in chain[1:]:
        if spki_digest(last) != spki_digest(root):
            return "the chain ends in another root than the quote's"
        if problem := ecdsa_signature_problem(last, last):
            return f"root: {problem}"
    return ecdsa_signature_problem(chain[0], root)


def _forged(statement: TcbInfo | QeIdentity, signers: _Certificates, root: x509.Certificate) -> str | None:
    """Why `statement` was not signed by Intel's TCB signing key below `root`; None if it was.

    The name matters: a PCK, of which every platform's owner has one, leads to the same root.
    """
    signer = signers[0]
    if common_name(signer.subject) != TCB_SIGNING_NAME:
        return f"the signer is not {TCB_SIGNING_NAME}"
    problem = collateral_chain_problem(signers, root) or leaf_problem(signer)
    if problem:
        return problem
    key = p256_key(signer)
    if key is None or not raw_signature_verifies(key, statement.signature, statement.signed):
        return "the signature does not verify"
    return None


def staleness(
    statement: TcbInfo | QeIdentity, signers: Sequence[x509.Certificate], now: datetime
) -> str | None:
    """Why this is not what Intel says at `now`; None if it is. Both ends of each period are inclusive."""
    if now < statement.issue_date:
        return f"issued {statement.issue_date:%Y-%m-%dT%H:%M:%SZ}"
    if now > statement.next_update:
        return f"replaced {statement.next_update:%Y-%m-%dT%H:%M:%SZ}"
    problems = (validity_problem(certificate, now) for certificate in signers)
    return next((f"its signer's chain: {problem}" for problem in problems if problem), None)


def attestation_key(raw: bytes) -> ec.EllipticCurvePublicKey:
    """The key with which the quote says it is signed (x and y). Raises MalformedEvidence off the curve."""
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), b"\x04" + raw)
    except ValueError as error:
        raise MalformedEvidence("the attestation key is no point of P-256") from error


def raw_signature_verifies(key: ec.EllipticCurvePublicKey, signature: bytes, signed: bytes) -> bool:
    """ECDSA with SHA-256; `signature` is r and s, 32 bytes each, big-endian."""
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    try:
        key.verify(encode_dss_signature(r, s), signed, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True
