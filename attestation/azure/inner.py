"""The hardware below Azure's paravisor: the report inside the HCL report, judged as any other one is.

For TDX the HCL report holds a TDREPORT, which only its own machine could check; the TD quote beside it is
what gets judged, and the check `azure.tdreport` joins the two.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from attestation.azure.hcl import REPORT_SNP, HclReport
from attestation.check import Check
from attestation.hardware import VtpmEvidence
from attestation.model import Collateral, Facts
from attestation.snp.abi import parse_report
from attestation.snp.verify import SnpClaims, authenticate_report
from attestation.tdx.abi import Quote, parse_quote
from attestation.tdx.body import TdReport, parse_tdreport
from attestation.tdx.chain import collateral_in_force
from attestation.tdx.verify import TdxClaims, authenticate_quote


@dataclass(frozen=True, slots=True)
class Trust:
    """What the inner hardware is judged by: pins of vendors' roots, further collateral, and the time.

    `amd_roots` maps a product to SPKI SHA-256 digests, `intel_roots` is a set of them; `development_root` is
    the one simulated root that a policy named, of either vendor.
    """

    amd_roots: Mapping[str, frozenset[bytes]]
    intel_roots: frozenset[bytes]
    development_root: bytes | None
    collateral: Collateral
    now: datetime


@dataclass(frozen=True, slots=True)
class Inner:
    """The inner hardware's own checks, claims (None unless authentic) and facts.

    `report_data` is what the report in the HCL report carries. `vmpl` is an SNP report's; `tdreport` and
    `td_quote` are TDX's, the latter None if none was supplied.
    """

    checks: tuple[Check, ...]
    claims: SnpClaims | TdxClaims | None
    report_data: bytes
    vmpl: int = 0
    tdreport: TdReport | None = None
    td_quote: Quote | None = None
    facts: Facts = field(default_factory=dict)


def authenticate_inner(hcl: HclReport, evidence: VtpmEvidence, trust: Trust) -> Inner:
    """Judge what the HCL report holds. Raises MalformedEvidence if it, or the TD quote, cannot be read."""
    if hcl.report_type == REPORT_SNP:
        return _snp(hcl, evidence, trust)
    return _tdx(hcl, evidence, trust)


def _snp(hcl: HclReport, evidence: VtpmEvidence, trust: Trust) -> Inner:
    report = parse_report(hcl.hardware_report)
    checks, claims, facts = authenticate_report(
        report,
        evidence.certificates + trust.collateral.certificates,
        evidence.crls + trust.collateral.crls,
        roots=trust.amd_roots,
        development_root=trust.development_root,
        now=trust.now,
    )
    return Inner(tuple(checks), claims, report.report_data, vmpl=report.vmpl, facts=facts)


def _tdx(hcl: HclReport, evidence: VtpmEvidence, trust: Trust) -> Inner:
    """A TDREPORT alone proves nothing: without a quote there is nothing to judge, and no claim."""
    tdreport = parse_tdreport(hcl.hardware_report)
    if not evidence.td_quote:
        return Inner((), None, tdreport.report_data, tdreport=tdreport)
    quote = parse_quote(evidence.td_quote)
    checks, claims, facts = authenticate_quote(
        quote,
        collateral_in_force(evidence.collateral, trust.collateral.tdx),
        roots=trust.intel_roots,
        development_root=trust.development_root,
        now=trust.now,
    )
    return Inner(tuple(checks), claims, tdreport.report_data, tdreport=tdreport, td_quote=quote, facts=facts)
