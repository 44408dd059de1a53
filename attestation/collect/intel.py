"""What Intel publishes about one TDX quote: TCB info, quoting enclave identity, both revocation lists.

From Intel's Provisioning Certification Service (PCS API version 4), or from a caching service (PCCS) that
serves the same under its own name. Which platform it is stands in the quote's PCK certificate, of which
nothing is believed here: a wrong one merely asks for what will not fit.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Literal
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from attestation.collect.formats import crl_der, header_chain, pem_chain
from attestation.collect.http import Answer
from attestation.collect.source import Attempts, Gathered, Item, Source, Standing, require
from attestation.collect.store import Kept
from attestation.errors import MalformedEvidence
from attestation.model import Collateral, TdxCollateral
from attestation.tdx.abi import CERT_PCK_CHAIN, TEE_TDX, parse_quote
from attestation.tdx.pck import pck_extensions
from attestation.tdx.qe_identity import QeIdentity, parse_qe_identity
from attestation.tdx.tcb_info import TcbInfo, parse_tcb_info
from attestation.x509 import (
    common_name,
    crl_problem,
    ecdsa_signature_problem,
    load_certificate,
    load_crl,
    p256_key,
    spki_digest,
)

Authority = Literal["platform", "processor"]

PCS_HOST, CERTIFICATES_HOST = "api.trustedservices.intel.com", "certificates.trustedservices.intel.com"
TCB_SIGNING = "Intel SGX TCB Signing"
_AUTHORITIES: dict[str | None, Authority] = {
    "Intel SGX PCK Platform CA": "platform",
    "Intel SGX PCK Processor CA": "processor",
}
_DAY = timedelta(days=1)
_VISIBLE = re.compile(r"[!-~]+")
_API = re.compile(r"/(?:sgx|tdx)/certification/v4/?\Z")


@dataclass(frozen=True, slots=True)
class Service:
    """Where to ask: `base` precedes `/tdx/certification/v4`, `root_crl` is a whole URL."""

    hosts: tuple[str, ...]
    base: str
    root_crl: str


INTEL = Service(
    (PCS_HOST, CERTIFICATES_HOST), f"https://{PCS_HOST}", f"https://{CERTIFICATES_HOST}/IntelSGXRootCA.der"
)


def service_at(pccs: str | None) -> Service:
    """Intel's own service, or the PCCS at an https URL, with or without `/sgx/certification/v4/` at its end.

    Raises ValueError for any other URL.
    """
    if pccs is None:
        return INTEL
    parts = urlsplit(pccs)
    if not _VISIBLE.fullmatch(pccs) or parts.scheme != "https" or not parts.hostname or parts.port == 0:
        raise ValueError("a PCCS is named with an https:// URL")
    if parts.username is not None or "?" in pccs or "#" in pccs:
        raise ValueError("a PCCS's URL has no user name, query or fragment")
    host = parts.netloc.lower()
    base = f"https://{host}{_API.sub('', parts.path).rstrip('/')}"
    return Service((host,), base, f"{base}/sgx/certification/v4/rootcacrl")


@dataclass(frozen=True, slots=True)
class _Platform:
    """What a quote's certificates say about where to look."""

    fmspc: bytes
    authority: Authority
    chain: tuple[bytes, ...]


def fetch_intel(
    raw: bytes, given: TdxCollateral, source: Source, roots: frozenset[bytes], service: Service = INTEL
) -> Gathered:
    """Fetch the collateral for a TDX quote that `given` lacks, or has but not valid at the time in question.

    Raises MalformedEvidence for bytes that are no TDX quote with its PCK chain. What could not be had is in
    `problems`, and stays as `given` has it, unless the source hands over only what is valid. Lists that were
    passed over for newer ones go along as further ones: what they revoke stays revoked.
    """
    platform = _platform(raw)
    attempts = Attempts(source)
    tcb = attempts.obtain(_tcb_item(platform, service, roots), Kept(given.tcb_info, given.tcb_info_chain))
    qe = attempts.obtain(_qe_item(service, roots), Kept(given.qe_identity, given.qe_identity_chain))
    pck_crls = attempts.gather(
        _pck_crl_item(platform, service, roots), Kept(given.pck_crl, given.pck_crl_chain)
    )
    known = [kept.chain for kept in (tcb, qe, *pck_crls[:1]) if kept]
    root = _pinned((*platform.chain, *(der for chain in known for der in chain)), roots)
    if root is None:
        attempts.note("the root's revocation list: no certificate of the root is at hand to check it with")
        root_crls = tuple[Kept, ...]()
    else:
        root_crls = attempts.gather(_root_crl_item(root, service, roots), Kept(given.root_crl, (root,)))
    rest = TdxCollateral() if source.only_valid else given
    tcb = tcb or Kept(rest.tcb_info, rest.tcb_info_chain)
    qe = qe or Kept(rest.qe_identity, rest.qe_identity_chain)
    pck_crl = pck_crls[0] if pck_crls else Kept(rest.pck_crl, rest.pck_crl_chain)
    root_crl = root_crls[0].body if root_crls else rest.root_crl
    passed_over = () if source.only_valid else (*pck_crls[1:], *root_crls[1:])
    further = (*rest.further_crls, *(kept.body for kept in passed_over))
    found = TdxCollateral(
        tcb_info=tcb.body,
        tcb_info_chain=tcb.chain,
        qe_identity=qe.body,
        qe_identity_chain=qe.chain,
        pck_crl=pck_crl.body,
        pck_crl_chain=pck_crl.chain,
        root_crl=root_crl,
        further_crls=tuple(der for der in dict.fromkeys(further) if der not in (pck_crl.body, root_crl)),
    )
    return Gathered(Collateral(tdx=found), attempts.problems)


def _platform(raw: bytes) -> _Platform:
    quote = parse_quote(raw)
    if quote.tee_type != TEE_TDX:
        raise MalformedEvidence("an SGX quote: collateral is fetched for TDX only")
    if quote.signature.inner_cert_type != CERT_PCK_CHAIN:
        raise MalformedEvidence("the quote carries no PCK certificate, so nothing says which platform it is")
    chain = pem_chain(quote.signature.cert_data)
    leaf = load_certificate(chain[0])
    authority = _AUTHORITIES.get(common_name(leaf.issuer))
    if authority is None:
        raise MalformedEvidence("the PCK certificate's issuer is neither Intel's platform nor processor CA")
    return _Platform(pck_extensions(leaf).fmspc, authority, chain)


def _pinned(chain: Sequence[bytes], roots: frozenset[bytes]) -> bytes | None:
    """The first certificate of a pinned key."""
    for der in chain:
        try:
            if spki_digest(load_certificate(der)) in roots:
                return der
        except MalformedEvidence:
            continue
    return None


def _tcb_item(platform: _Platform, service: Service, roots: frozenset[bytes]) -> Item:
    fmspc = platform.fmspc.hex()

    def judge(kept: Kept) -> Standing:
        parsed = parse_tcb_info(kept.body)
        require(parsed.fmspc == platform.fmspc, "the TCB info of another platform")
        return _signed(kept, parsed, roots)

    url = f"{service.base}/tdx/certification/v4/tcb?fmspc={fmspc}&update=standard"
    read = partial(_json_answer, ("TCB-Info-Issuer-Chain", "SGX-TCB-Info-Issuer-Chain"))
    return Item(f"intel-tdx-tcb-{fmspc}", "TCB info", url, read, judge, _DAY)


def _qe_item(service: Service, roots: frozenset[bytes]) -> Item:
    def judge(kept: Kept) -> Standing:
        return _signed(kept, parse_qe_identity(kept.body), roots)

    url = f"{service.base}/tdx/certification/v4/qe/identity?update=standard"
    read = partial(_json_answer, ("SGX-Enclave-Identity-Issuer-Chain",))
    return Item("intel-tdx-qe-identity", "QE identity", url, read, judge, _DAY)


def _pck_crl_item(platform: _Platform, service: Service, roots: frozenset[bytes]) -> Item:
    def judge(kept: Kept) -> Standing:
        issuer = _issuer(kept.chain, roots)
        require(_AUTHORITIES.get(common_name(issuer.subject)) == platform.authority, "the list of another CA")
        return _crl_standing(kept.body, issuer)

    def read(answer: Answer) -> Kept:
        return Kept(crl_der(answer.body), header_chain(answer, "SGX-PCK-CRL-Issuer-Chain"))

    url = f"{service.base}/sgx/certification/v4/pckcrl?ca={platform.authority}&encoding=der"
    name = f"intel-pck-crl-{platform.authority}"
    return Item(name, "the revocation list of PCK certificates", url, read, judge, _DAY)


def _root_crl_item(root: bytes, service: Service, roots: frozenset[bytes]) -> Item:
    def judge(kept: Kept) -> Standing:
        require(_pinned(kept.chain, roots) == kept.chain[0], "its root is none that we pin")
        return _crl_standing(kept.body, load_certificate(kept.chain[0]))

    def read(answer: Answer) -> Kept:
        return Kept(crl_der(answer.body), (root,))

    return Item("intel-root-crl", "the root's revocation list", service.root_crl, read, judge, _DAY)


def _json_answer(headers: tuple[str, ...], answer: Answer) -> Kept:
    return Kept(answer.body, header_chain(answer, *headers))


def _signed(kept: Kept, parsed: TcbInfo | QeIdentity, roots: frozenset[bytes]) -> Standing:
    """Dates and number of what Intel's TCB signing key signed, byte for byte."""
    signer = _issuer(kept.chain, roots)
    require(common_name(signer.subject) == TCB_SIGNING, "not signed by Intel's TCB signing certificate")
    key = p256_key(signer)
    if key is None:
        raise MalformedEvidence("the signing key is not P-256")
    r, s = (int.from_bytes(half, "big") for half in (parsed.signature[:32], parsed.signature[32:]))
    try:
        key.verify(encode_dss_signature(r, s), parsed.signed, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature as error:
        raise MalformedEvidence("its signature does not hold") from error
    order = parsed.evaluation_number, parsed.issue_date
    return Standing(order, parsed.issue_date, parsed.next_update)


def _issuer(chain: Sequence[bytes], roots: frozenset[bytes]) -> x509.Certificate:
    """The first of two certificates, the second of which is a pinned root that signed it."""
    if len(chain) != 2:
        raise MalformedEvidence("not two certificates")
    issuer, root = map(load_certificate, chain)
    require(spki_digest(root) in roots, "its root is none that we pin")
    require(ecdsa_signature_problem(issuer, root) is None, "its issuer is none that the root signed")
    return issuer


def _crl_standing(der: bytes, issuer: x509.Certificate) -> Standing:
    crl = load_crl(der)
    problem = crl_problem(crl, issuer, signed_by=ecdsa_signature_problem)
    require(problem is None, "not a list that its issuer signed")
    made = crl.last_update_utc
    return Standing((0, made), made, crl.next_update_utc or made)
