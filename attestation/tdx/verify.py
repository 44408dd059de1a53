"""Is this TDX quote authentic? One table of rules, each of which becomes a check; no policy here.

A quote is authentic if a key signed it that Intel's quoting enclave vouches for, whose report a platform key
signed that Intel certified under a root key that we pin, and if Intel's current collateral knows platform,
TDX module and quoting enclave and has revoked none of them. How good their patch levels are is in the claims,
for the policy. Sources: Intel TDX DCAP quoting library API, Intel SGX PCK certificate and CRL profile, Intel
PCS API version 4, RFC 5280.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509

from attestation.check import DECIDES_NOTHING_BAD, Check, Outcome, Stage
from attestation.errors import CannotDecide, MalformedEvidence
from attestation.model import Facts, TdxCollateral
from attestation.tdx.abi import (
    CERT_PCK_CHAIN,
    CERT_QE_REPORT,
    TEE_TDX,
    Quote,
    TdReport,
)
from attestation.tdx.chain import (
    Case,
    Lacking,
    attestation_key,
    build_case,
    collateral_chain_problem,
    present,
    raw_signature_verifies,
    staleness,
)
from attestation.tdx.facts import describe, status_of
from attestation.tdx.pck import PckExtensions
from attestation.tdx.qe_identity import QeIdentity, identity_problem, masked_equal
from attestation.tdx.tcb import NOT_SUPPORTED, REVOKED
from attestation.tdx.tcb_info import TcbInfo, module_identity, module_version
from attestation.x509 import (
    authority_problem,
    common_name,
    crl_is_current,
    crl_problem,
    ecdsa_signature_problem,
    leaf_problem,
    p256_key,
    revoked_by,
    spki_digest,
    validity_problem,
)

INTEL_QE_VENDOR = bytes.fromhex("939a7233f79c4ca9940a0db3957f0607")
PCK_NAME, ROOT_NAME = "Intel SGX PCK Certificate", "Intel SGX Root CA"
AUTHORITY_NAMES = ("Intel SGX PCK Platform CA", "Intel SGX PCK Processor CA")

_QUOTE, _COLLATERAL = "Intel TDX DCAP quoting library API", "Intel PCS API v4"
_PCK = "Intel SGX PCK certificate and CRL profile"

Finding = tuple[Outcome, str]


@dataclass(frozen=True, slots=True)
class TdxClaims:
    """What authentic hardware said. `insecure`: a development root signed it, so it proves nothing.

    `status` is the worst of platform, TDX module (None if it is too old to have an identity) and quoting
    enclave, in Intel's words; `advisory_ids` explain it. `evaluation_number` is the lower of TCB info and QE
    identity, `collateral_issued` the oldest issue of these two and the PCK CRL.
    """

    quote: Quote
    body: TdReport
    pck: PckExtensions
    status: str
    platform_status: str
    module_status: str | None
    qe_status: str
    advisory_ids: tuple[str, ...]
    evaluation_number: int
    collateral_issued: datetime
    root_spki_sha256: bytes
    insecure: bool


@dataclass(frozen=True, slots=True)
class Rule:
    """One thing that must hold. `judge` may raise CannotDecide (a thing is missing) or MalformedEvidence."""

    id: str
    expected: str
    reference: str
    judge: Callable[[Case], Finding]


def authenticate_quote(
    quote: Quote,
    collateral: TdxCollateral,
    *,
    roots: frozenset[bytes],
    development_root: bytes | None,
    now: datetime,
) -> tuple[list[Check], TdxClaims | None, Facts]:
    """Judge a quote by every rule; claims only if all of them pass.

    `roots` holds SHA-256 digests of root keys; `development_root` is the digest of the one simulated root
    that a policy named; `now` is an aware time. Missing or outdated collateral makes a check undecided, never
    passed. The facts are for display, whatever the outcome; names as in docs/spec/facts.md.
    """
    case = build_case(quote, collateral, roots=roots, development_root=development_root, now=now)
    checks = [_evaluate(rule, case) for rule in RULES]
    authentic = all(check.outcome in DECIDES_NOTHING_BAD for check in checks)
    return checks, _claims(case) if authentic else None, describe(case)


def _evaluate(rule: Rule, case: Case) -> Check:
    """Turn one rule into a check, whatever happens."""
    try:
        outcome, found = rule.judge(case)
    except CannotDecide as reason:
        outcome, found = Outcome.UNDECIDED, str(reason)
    except MalformedEvidence as reason:
        outcome, found = Outcome.FAIL, str(reason)
    return Check(rule.id, Stage.AUTHENTICATE, outcome, rule.expected, found, rule.reference)


def _claims(case: Case) -> TdxClaims:
    """Only called once every rule passes, so everything is present."""
    evaluation, info, identity = case.evaluation, case.usable_tcb_info, case.usable_qe_identity
    issued = min(info.issue_date, identity.issue_date, present(case.pck_crl).last_update_utc)
    return TdxClaims(
        quote=case.quote,
        body=case.body,
        pck=present(case.extension),
        status=evaluation.status,
        platform_status=status_of(evaluation.platform) or NOT_SUPPORTED,
        module_status=status_of(evaluation.module),
        qe_status=status_of(evaluation.qe) or NOT_SUPPORTED,
        advisory_ids=evaluation.advisory_ids,
        evaluation_number=case.evaluation_number,
        collateral_issued=issued,
        root_spki_sha256=spki_digest(case.root),
        insecure=case.is_development,
    )


def _holds(condition: bool, found: str) -> Finding:
    return (Outcome.PASS if condition else Outcome.FAIL), found


def _no_problem(problem: str | None, otherwise: str) -> Finding:
    return _holds(problem is None, problem or otherwise)


def _first_problem(problems: Sequence[tuple[str, str | None]], otherwise: str) -> Finding:
    """Fail with every problem named by whose it is, or pass with `otherwise`."""
    found = "; ".join(f"{whose}: {problem}" for whose, problem in problems if problem)
    return _holds(not found, found or otherwise)


def _tee(case: Case) -> Finding:
    is_td = case.quote.tee_type == TEE_TDX
    return _holds(is_td, f"{case.quote.tee_type:#x} ({'TDX' if is_td else 'SGX: an enclave, not a TD'})")


def _header(case: Case) -> Finding:
    quote, signature = case.quote, case.quote.signature
    types = signature.cert_type, signature.inner_cert_type
    vendor = quote.qe_vendor == INTEL_QE_VENDOR
    shown = f"version {quote.version}, {'Intel' if vendor else 'another vendor'}, certification types {types}"
    return _holds(quote.version in (4, 5) and vendor and types == (CERT_QE_REPORT, CERT_PCK_CHAIN), shown)


def _padding(case: Case) -> Finding:
    trailing = case.quote.trailing
    stray = any(trailing)
    return _holds(not stray, f"{len(trailing)} bytes{', not all zero' if stray else ''}")


def _quote_signature(case: Case) -> Finding:
    signature = case.quote.signature
    key = attestation_key(signature.attestation_key)
    verifies = raw_signature_verifies(key, signature.quote_signature, case.quote.signed)
    return _holds(verifies, "verifies" if verifies else "does not verify")


def _qe_binding(case: Case) -> Finding:
    signature = case.quote.signature
    digest = hashlib.sha256(signature.attestation_key + signature.qe_auth_data).digest()
    bound = signature.qe_report.report_data == digest.ljust(64, b"\0")
    return _holds(bound, "the enclave's report names the key" if bound else "the report names another key")


def _qe_signature(case: Case) -> Finding:
    key, signature = p256_key(case.pck), case.quote.signature
    if key is None:
        return Outcome.FAIL, "the PCK is not P-256"
    verifies = raw_signature_verifies(key, signature.qe_report_signature, signature.qe_report.raw)
    return _holds(verifies, "verifies" if verifies else "does not verify")


def _qe_identity(case: Case) -> Finding:
    report = case.quote.signature.qe_report
    problem = identity_problem(report, case.usable_qe_identity)
    return _no_problem(problem, f"product {report.isvprodid}, ISV SVN {report.isvsvn}")


def _root(case: Case) -> Finding:
    digest = spki_digest(case.root)
    if case.is_development:
        return Outcome.INSECURE, f"the development root {digest.hex()}: proves nothing about hardware"
    return _holds(digest in case.roots, digest.hex())


def _chain_signatures(case: Case) -> Finding:
    links = (
        ("PCK", case.pck, case.authority),
        ("CA", case.authority, case.root),
        ("root", case.root, case.root),
    )
    problems = [(whose, ecdsa_signature_problem(signed, issuer)) for whose, signed, issuer in links]
    return _first_problem(problems, "three signatures verify")


def _authorities(case: Case) -> Finding:
    problems = [
        ("root", authority_problem(case.root, authorities_below=1)),
        ("CA", authority_problem(case.authority, authorities_below=0)),
        ("PCK", leaf_problem(case.pck)),
    ]
    return _first_problem(problems, "as Intel issues them")


def _names(case: Case) -> Finding:
    pck, authority, root = (common_name(c.subject) for c in (case.pck, case.authority, case.root))
    shown = " < ".join(name or "(none)" for name in (pck, authority, root))
    return _holds(pck == PCK_NAME and authority in AUTHORITY_NAMES and root == ROOT_NAME, shown)


def _validity(case: Case) -> Finding:
    chain = (("PCK", case.pck), ("CA", case.authority), ("root", case.root))
    problems = [(whose, validity_problem(certificate, case.now)) for whose, certificate in chain]
    return _first_problem(problems, "all valid")


def _extension(case: Case) -> Finding:
    extension = present(case.extension)
    return Outcome.PASS, f"FMSPC {extension.fmspc.hex()}, PCEID {extension.pceid.hex()}"


def _root_crl(case: Case) -> Finding:
    """The root revokes its own: the PCK's CA, and who signed TCB info and QE identity."""
    crl = present(case.root_crl)
    issued = [case.anchor, case.authority]
    for signers in (case.tcb_signers, case.qe_signers, case.crl_issuers):
        issued += () if isinstance(signers, Lacking) else signers
    return _crl(case, crl, case.anchor, issued)


def _pck_crl(case: Case) -> Finding:
    """Which CA's list it is, its signature tells; a chain that came with it has to say the same."""
    crl, authority = present(case.pck_crl), case.authority
    problem = None
    if issuers := present(case.crl_issuers):
        problem = collateral_chain_problem(issuers, case.anchor)
        if spki_digest(issuers[0]) != spki_digest(authority):
            problem = "its chain is not that of the PCK's CA"
    return (Outcome.FAIL, problem) if problem else _crl(case, crl, authority, [case.pck])


def _crl(
    case: Case,
    crl: x509.CertificateRevocationList,
    issuer: x509.Certificate,
    issued: Sequence[x509.Certificate],
) -> Finding:
    problem = crl_problem(crl, issuer, signed_by=ecdsa_signature_problem)
    revoked = sorted(set(revoked_by(crl, issued)))
    if problem or revoked:
        return Outcome.FAIL, problem or f"revoked: {', '.join(revoked)}"
    if not crl_is_current(crl, case.now):
        return Outcome.UNDECIDED, "the CRL is not current"
    return Outcome.PASS, f"revokes {len(crl)}, none of ours"


def _tcb_info_signature(case: Case) -> Finding:
    return _no_problem(present(case.tcb_info_forged), "verifies")


def _qe_identity_signature(case: Case) -> Finding:
    return _no_problem(present(case.qe_identity_forged), "verifies")


def _tcb_info_current(case: Case) -> Finding:
    return _current(present(case.tcb_info), present(case.tcb_signers), case.now)


def _qe_identity_current(case: Case) -> Finding:
    return _current(present(case.qe_identity), present(case.qe_signers), case.now)


def _current(statement: TcbInfo | QeIdentity, signers: Sequence[x509.Certificate], now: datetime) -> Finding:
    if problem := staleness(statement, signers, now):
        return Outcome.UNDECIDED, problem
    return Outcome.PASS, f"evaluation {statement.evaluation_number}, until {statement.next_update:%Y-%m-%d}"


def _tcb_info_platform(case: Case) -> Finding:
    info, extension = present(case.tcb_info), present(case.extension)
    same = (info.fmspc, info.pceid) == (extension.fmspc, extension.pceid)
    return _holds(same, f"for FMSPC {info.fmspc.hex()}, PCEID {info.pceid.hex()}")


def _module(case: Case) -> Finding:
    """MRSIGNERSEAM (zeros: Intel) and SEAMATTRIBUTES, by the entry for the module's version."""
    body = case.body
    identity = module_identity(case.usable_tcb_info, body)
    if identity is None:
        return Outcome.FAIL, f"TCB info knows no module of version {module_version(body)}"
    signer = body.mrsignerseam == identity.mrsigner
    attributes = masked_equal(body.seam_attributes, identity.attributes_mask, identity.attributes)
    shown = f"{identity.id or 'before identities'}, SVN {body.tee_tcb_svn[0]}"
    return _holds(
        signer and attributes, shown if signer and attributes else f"{shown}: another signer or mode"
    )


def _level(case: Case) -> Finding:
    evaluation = case.evaluation
    parts = (("platform", evaluation.platform), ("module", evaluation.module), ("QE", evaluation.qe))
    shown = ", ".join(f"{part} {status_of(rating) or 'without level'}" for part, rating in parts)
    return _holds(evaluation.status not in (NOT_SUPPORTED, REVOKED), f"{evaluation.status} ({shown})")


_BINDING = "the QE's REPORTDATA is SHA-256 of attestation key and QE authentication data, then zeros"
_TYPES = "version 4 or 5, Intel's quoting enclave, certification data 6 around 5"
_CHAIN_SIGNATURES = "PCK, CA and root signed with ECDSA P-256, SHA-256, by their issuers' keys"
_CRL, _TCB_INFO, _QE_IDENTITY = (
    "RFC 5280 section 5",
    f"{_COLLATERAL}, TCB info",
    f"{_COLLATERAL}, QE identity",
)
_SIGNED_JSON = "signed by Intel SGX TCB Signing, below the quote's root"
_CURRENT = "issueDate <= now <= nextUpdate, signer's chain valid now"

RULES: tuple[Rule, ...] = (
    Rule("tdx.quote.tee", "0x81 (TDX)", f"{_QUOTE}, header", _tee),
    Rule("tdx.quote.header", _TYPES, f"{_QUOTE}, header", _header),
    Rule("tdx.quote.padding", "nothing, or zeros, after the signature data", _QUOTE, _padding),
    Rule("tdx.quote.signature", "the attestation key signed header and body", _QUOTE, _quote_signature),
    Rule("tdx.qe.binding", _BINDING, f"{_QUOTE}, QE report", _qe_binding),
    Rule(
        "tdx.qe.signature", "the platform's PCK signed the QE report", f"{_QUOTE}, QE report", _qe_signature
    ),
    Rule("tdx.qe.identity", "Intel's TD quoting enclave", _QE_IDENTITY, _qe_identity),
    Rule("tdx.pck.root", "a root key that is pinned", _PCK, _root),
    Rule("tdx.pck.signatures", _CHAIN_SIGNATURES, _PCK, _chain_signatures),
    Rule("tdx.pck.authorities", "root and CA may issue, PCK may not", "RFC 5280 section 4.2", _authorities),
    Rule("tdx.pck.names", "PCK Certificate < PCK Platform or Processor CA < SGX Root CA", _PCK, _names),
    Rule("tdx.pck.validity", "every certificate valid now", "RFC 5280 section 4.1.2.5", _validity),
    Rule("tdx.pck.extension", "Intel's SGX extension, well formed", _PCK, _extension),
    Rule("tdx.crl.root", "the root's CRL, current, revokes no CA and no collateral signer", _CRL, _root_crl),
    Rule("tdx.crl.pck", "the CRL of the PCK's CA, current, does not revoke the PCK", _CRL, _pck_crl),
    Rule("tdx.tcb_info.signature", _SIGNED_JSON, _TCB_INFO, _tcb_info_signature),
    Rule("tdx.tcb_info.current", _CURRENT, _TCB_INFO, _tcb_info_current),
    Rule("tdx.tcb_info.platform", "for the PCK's FMSPC and PCEID", _TCB_INFO, _tcb_info_platform),
    Rule("tdx.qe_identity.signature", _SIGNED_JSON, _QE_IDENTITY, _qe_identity_signature),
    Rule("tdx.qe_identity.current", _CURRENT, _QE_IDENTITY, _qe_identity_current),
    Rule("tdx.module.identity", "a TDX module that Intel signed, of a known version", _TCB_INFO, _module),
    Rule("tdx.tcb.level", "a level for platform, module and QE, none revoked", _TCB_INFO, _level),
)
