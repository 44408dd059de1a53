"""What no missing material could mend: reasons to refuse evidence that is not even known to be genuine.

If nothing disproves a signature but a certificate or current collateral is missing, the values in it are
either genuine or forged. A guest that calls itself debuggable is refused in both cases, so the answer is "no"
and not "try again with more". Only failures count here: what would pass proves nothing yet.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from attestation.appraise.baseline import Baseline, appraise_baseline, baseline_of_body, baseline_of_report
from attestation.appraise.hardware import appraise_direct
from attestation.appraise.snp import appraise_report
from attestation.appraise.tdx import appraise_body
from attestation.authenticate import authenticate
from attestation.azure.hcl import REPORT_SNP, parse_hcl
from attestation.azure.tpm import parse_attest
from attestation.check import Check, Outcome
from attestation.errors import MalformedEvidence
from attestation.hardware import Hardware, SnpEvidence, TdxEvidence, VtpmEvidence
from attestation.model import Collateral
from attestation.policy.model import Policy
from attestation.snp.abi import parse_report
from attestation.snp.verify import SnpClaims
from attestation.tdx.abi import parse_quote
from attestation.tdx.body import TdReport
from attestation.tdx.verify import TdxClaims


def definite_failures(
    hardware: Hardware,
    collateral: Collateral,
    rules: Policy | Baseline,
    *,
    now: datetime,
    bound: Sequence[Check] = (),
) -> list[Check]:
    """Failed checks of evidence whose authenticity is undecided. Raises MalformedEvidence as parsers do.

    `bound`: the checks of binding that were made over `claimed_data`; what fails there fails for good.

    Below a paravisor the hardware may be authentic although the virtual TPM's quote is missing: then all that
    is asked of the hardware counts. Otherwise only what the report itself says.
    """
    return _failed([*bound, *_about_hardware(hardware, collateral, rules, now=now)])


def claimed_data(hardware: Hardware) -> bytes | None:
    """What the evidence claims was signed for the guest; None if that part is missing or unreadable."""
    if isinstance(hardware, SnpEvidence):
        return parse_report(hardware.report).report_data
    if isinstance(hardware, TdxEvidence):
        return parse_quote(hardware.quote).body.report_data
    try:
        return parse_attest(hardware.tpm_quote).extra_data
    except MalformedEvidence:
        return None


def _about_hardware(
    hardware: Hardware, collateral: Collateral, rules: Policy | Baseline, *, now: datetime
) -> list[Check]:
    if not isinstance(hardware, VtpmEvidence):
        return _claimed(hardware, rules, below=False)
    inner = _inner(hardware)
    if inner is None:
        return []
    root = rules.insecure_development_root if isinstance(rules, Policy) else None
    claims = authenticate(inner, collateral, development_root=root, now=now).claims
    if not isinstance(claims, SnpClaims | TdxClaims):
        return _claimed(inner, rules, below=True)
    if isinstance(rules, Baseline):
        return appraise_baseline(claims)
    return appraise_direct(claims, rules.azure.snp, rules.azure.tdx, rules, now=now)


def _inner(hardware: VtpmEvidence) -> SnpEvidence | TdxEvidence | None:
    """The evidence of the processor below a paravisor; a TDREPORT alone is none."""
    hcl = parse_hcl(hardware.hcl_report)
    if hcl.report_type == REPORT_SNP:
        return SnpEvidence(hcl.hardware_report, hardware.certificates, hardware.crls)
    return TdxEvidence(hardware.td_quote, hardware.collateral) if hardware.td_quote else None


def _claimed(hardware: SnpEvidence | TdxEvidence, rules: Policy | Baseline, *, below: bool) -> list[Check]:
    """Judge what the report says of itself."""
    if isinstance(hardware, SnpEvidence):
        report = parse_report(hardware.report)
        if isinstance(rules, Baseline):
            return baseline_of_report(report)
        return appraise_report(report, rules.azure.snp if below else rules.snp)
    body = parse_quote(hardware.quote).body
    if not isinstance(body, TdReport):
        return []
    if isinstance(rules, Baseline):
        return baseline_of_body(body)
    return appraise_body(body, rules.azure.tdx if below else rules.tdx)


def _failed(checks: list[Check]) -> list[Check]:
    return [check for check in checks if check.outcome is Outcome.FAIL]
