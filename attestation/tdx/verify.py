"""Is this TDX quote authentic? One table of rules, each of which becomes a check; no policy here.

A quote is authentic if a key signed it that Intel's quoting enclave vouches for, whose report a platform key
signed that Intel certified under a root key that we pin, and if Intel's current collateral knows platform,
TDX module and quoting enclave and has revoked none of them. How good their patch levels are is in the claims,
for the policy. Sources: Intel TDX DCAP quoting library API, Intel SGX PCK certificate and CRL profile, Intel
PCS API version 4, RFC 5280.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from attestation.check import DECIDES_NOTHING_BAD, Check
from attestation.model import Facts, TdxCollateral
from attestation.rule import Rule, evaluate
from attestation.tdx.abi import Quote, TdReport
from attestation.tdx.chain import Case, build_case, present
from attestation.tdx.collateral_rules import COLLATERAL_RULES
from attestation.tdx.facts import describe, status_of
from attestation.tdx.pck import PckExtensions
from attestation.tdx.quote_rules import QUOTE_RULES
from attestation.tdx.tcb import NOT_SUPPORTED
from attestation.x509 import spki_digest

RULES: tuple[Rule[Case], ...] = QUOTE_RULES + COLLATERAL_RULES


@dataclass(frozen=True, slots=True)
class TdxClaims:
    """What authentic hardware said. `insecure`: a development root signed it, so it proves nothing.

    `status` is the worst of platform, TDX module (None if it is too old to have an identity) and quoting
    enclave, in Intel's words; `advisory_ids` explain it. `evaluation_number` is the lower of TCB info and QE
    identity, `collateral_issued` the oldest issue of these two and the PCK CRL, `root_crl_issued` that of the
    root's CRL, which lives for a year.
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
    root_crl_issued: datetime
    root_spki_sha256: bytes
    insecure: bool


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
    checks = [evaluate(rule, case) for rule in RULES]
    authentic = all(check.outcome in DECIDES_NOTHING_BAD for check in checks)
    return checks, _claims(case) if authentic else None, describe(case)


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
        root_crl_issued=present(case.root_crl).last_update_utc,
        root_spki_sha256=spki_digest(case.root),
        insecure=case.is_development,
    )
