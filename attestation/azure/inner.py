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
from attestation.errors import MalformedEvidence
from attestation.hardware import VtpmEvidence
from attestation.model import Collateral, Facts
from attestation.snp.abi import parse_report
from attestation.snp.verify import SnpClaims, authenticate_report


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

    `report_data` is what the report in the HCL report carries; `vmpl` is an SNP report's.
    """

    checks: tuple[Check, ...]
    claims: SnpClaims | None
    report_data: bytes
    vmpl: int = 0
    join_facts: Facts = field(default_factory=dict)
    facts: Facts = field(default_factory=dict)


def authenticate_inner(hcl: HclReport, evidence: VtpmEvidence, trust: Trust) -> Inner:
    """Judge what the HCL report holds. Raises MalformedEvidence if it, or the TD quote, cannot be read."""
    if hcl.report_type != REPORT_SNP:
        raise MalformedEvidence("HCL report: one with a TDREPORT is not read yet")
    return _snp(hcl, evidence, trust)


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
