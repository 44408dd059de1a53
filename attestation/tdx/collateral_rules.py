"""Rules about Intel's collateral and what it says of this platform: CRLs, TCB info, QE identity, TCB level.

Missing or outdated collateral leaves a rule undecided: newer collateral would decide it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from cryptography import x509

from attestation.check import Outcome
from attestation.rule import Finding, Rule, holds, no_problem
from attestation.tdx.chain import Case, Lacking, collateral_chain_problem, present, staleness
from attestation.tdx.facts import status_of
from attestation.tdx.qe_identity import QeIdentity, identity_problem, masked_equal
from attestation.tdx.tcb import NOT_SUPPORTED, REVOKED
from attestation.tdx.tcb_info import TcbInfo, module_identity, module_version
from attestation.x509 import crl_is_current, crl_problem, ecdsa_signature_problem, revoked_by, spki_digest

_COLLATERAL = "Intel PCS API v4"


def _root_crl(case: Case) -> Finding:
    """The root revokes its own: the PCK's CA, and who signed TCB info and QE identity."""
    issued = [case.anchor, case.authority]
    for signers in (case.tcb_signers, case.qe_signers, case.crl_issuers):
        issued += () if isinstance(signers, Lacking) else signers
    return _crl(case, case.root_crl, case.anchor, issued)


def _pck_crl(case: Case) -> Finding:
    """Which CA's list it is, its signature tells; a chain that came with it has to say the same."""
    crl, authority = case.pck_crl, case.authority
    problem = None
    if not isinstance(crl, Lacking) and (issuers := present(case.crl_issuers)):
        problem = collateral_chain_problem(issuers, case.anchor)
        if spki_digest(issuers[0]) != spki_digest(authority):
            problem = "its chain is not that of the PCK's CA"
    return (Outcome.FAIL, problem) if problem else _crl(case, crl, authority, [case.pck])


def _crl(
    case: Case,
    supplied: x509.CertificateRevocationList | Lacking,
    issuer: x509.Certificate,
    issued: Sequence[x509.Certificate],
) -> Finding:
    """What any genuine list of this issuer revokes is revoked, whatever its dates; one has to be current.

    Intel does not keep to "newest knows most": of two lists of one day the later lacked 72 of the earlier.
    """
    further = [crl for crl in case.further_crls if not _crl_problem(crl, issuer)]
    if named := sorted({name for crl in further for name in revoked_by(crl, issued)}):
        return Outcome.FAIL, f"revoked: {', '.join(named)}, by a further list"
    crl = present(supplied)
    problem = _crl_problem(crl, issuer)
    revoked = sorted(set(revoked_by(crl, issued)))
    if problem or revoked:
        return Outcome.FAIL, problem or f"revoked: {', '.join(revoked)}"
    if not crl_is_current(crl, case.now):
        return Outcome.UNDECIDED, "the CRL is not current"
    also = f"; nor do {len(further)} further" if further else ""
    return Outcome.PASS, f"revokes {len(crl)}, none of ours{also}"


def _crl_problem(crl: x509.CertificateRevocationList, issuer: x509.Certificate) -> str | None:
    return crl_problem(crl, issuer, signed_by=ecdsa_signature_problem)


def _qe_identity(case: Case) -> Finding:
    report = case.quote.signature.qe_report
    problem = identity_problem(report, case.usable_qe_identity)
    return no_problem(problem, f"product {report.isvprodid}, ISV SVN {report.isvsvn}")


def _tcb_info_signature(case: Case) -> Finding:
    return no_problem(present(case.tcb_info_forged), "verifies")


def _qe_identity_signature(case: Case) -> Finding:
    return no_problem(present(case.qe_identity_forged), "verifies")


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
    return holds(same, f"for FMSPC {info.fmspc.hex()}, PCEID {info.pceid.hex()}")


def _module(case: Case) -> Finding:
    """MRSIGNERSEAM (zeros: Intel) and SEAMATTRIBUTES, by the entry for the module's version."""
    body = case.body
    identity = module_identity(case.usable_tcb_info, body)
    if identity is None:
        return Outcome.FAIL, f"TCB info knows no module of version {module_version(body)}"
    signer = body.mrsignerseam == identity.mrsigner
    attributes = masked_equal(body.seam_attributes, identity.attributes_mask, identity.attributes)
    shown = f"{identity.id or 'before identities'}, SVN {body.tee_tcb_svn[0]}"
    return holds(
        signer and attributes, shown if signer and attributes else f"{shown}: another signer or mode"
    )


def _level(case: Case) -> Finding:
    evaluation = case.evaluation
    parts = [("platform", evaluation.platform), ("QE", evaluation.qe)]
    if evaluation.module_id:
        parts.append((evaluation.module_id, evaluation.module))
    shown = ", ".join(f"{part} {status_of(rating) or 'without level'}" for part, rating in parts)
    return holds(evaluation.status not in (NOT_SUPPORTED, REVOKED), f"{evaluation.status} ({shown})")


_CRL, _TCB_INFO, _QE_IDENTITY = (
    "RFC 5280 section 5",
    f"{_COLLATERAL}, TCB info",
    f"{_COLLATERAL}, QE identity",
)
_SIGNED_JSON = "signed by Intel SGX TCB Signing, below the quote's root"
_CURRENT = "issueDate <= now <= nextUpdate, signer's chain valid now"

COLLATERAL_RULES: tuple[Rule[Case], ...] = (
    Rule("tdx.qe.identity", "Intel's TD quoting enclave", _QE_IDENTITY, _qe_identity),
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
