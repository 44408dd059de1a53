"""Did genuine hardware sign this? One platform's evidence in; checks, claims and facts out.

Claims exist only if no check objects; facts are whatever could be read, for display. Vendor roots are pinned
here, once; beside them only the one development root that a policy names is known, and it is insecure.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from attestation.azure.verify import VtpmClaims, authenticate_vtpm
from attestation.check import DECIDES_NOTHING_BAD, Check
from attestation.eventlog.replay import check_event_logs
from attestation.hardware import Hardware, SnpEvidence, TdxEvidence, TrustClass
from attestation.model import Collateral, Facts
from attestation.snp.abi import parse_report
from attestation.snp.roots import AMD_ROOTS
from attestation.snp.verify import SnpClaims, authenticate_report
from attestation.tdx.abi import parse_quote
from attestation.tdx.body import TdReport
from attestation.tdx.chain import collateral_in_force
from attestation.tdx.roots import INTEL_ROOTS
from attestation.tdx.verify import TdxClaims, authenticate_quote

Claims: TypeAlias = SnpClaims | TdxClaims | VtpmClaims


@dataclass(frozen=True, slots=True)
class Authenticated:
    """What came of one platform's evidence. `claims` is None if anything failed or could not be decided."""

    checks: list[Check]
    claims: Claims | None
    facts: Facts


def authenticate(
    hardware: Hardware, collateral: Collateral, *, development_root: bytes | None, now: datetime
) -> Authenticated:
    """Judge one platform's evidence. Raises MalformedEvidence if its bytes cannot be read.

    `collateral` adds to what the evidence carries; `development_root` is the SPKI digest of the one simulated
    root that a policy names; `now` is an aware time.
    """
    if isinstance(hardware, SnpEvidence):
        return Authenticated(
            *authenticate_report(
                parse_report(hardware.report),
                hardware.certificates + collateral.certificates,
                hardware.crls + collateral.crls,
                roots=AMD_ROOTS,
                development_root=development_root,
                now=now,
            )
        )
    if isinstance(hardware, TdxEvidence):
        return _tdx(hardware, collateral, development_root, now)
    return Authenticated(
        *authenticate_vtpm(
            hardware,
            collateral=collateral,
            amd_roots=AMD_ROOTS,
            intel_roots=INTEL_ROOTS,
            development_root=development_root,
            now=now,
        )
    )


def _tdx(
    hardware: TdxEvidence, collateral: Collateral, development_root: bytes | None, now: datetime
) -> Authenticated:
    """The quote, and the logs beside it, which have to lead to the registers that it states.

    That is looked at also if the quote is not authentic, or not known to be: a log that contradicts it cannot
    be mended by collateral, and readers want to see what it says.
    """
    quote = parse_quote(hardware.quote)
    checks, claims, facts = authenticate_quote(
        quote,
        collateral_in_force(hardware.collateral, collateral.tdx),
        roots=INTEL_ROOTS,
        development_root=development_root,
        now=now,
    )
    if not isinstance(quote.body, TdReport):
        return Authenticated(checks, None, facts)
    replayed, _, log_facts = check_event_logs(hardware.ccel, hardware.dstack_log, quote.body.rtmrs)
    holds = all(check.outcome in DECIDES_NOTHING_BAD for check in replayed)
    return Authenticated([*checks, *replayed], claims if holds else None, {**facts, **log_facts})


def signed_data(claims: Claims) -> bytes:
    """What was signed on the guest's behalf: 64 bytes of report data, or what a virtual TPM was asked."""
    if isinstance(claims, SnpClaims):
        return claims.report.report_data
    return claims.body.report_data if isinstance(claims, TdxClaims) else claims.extra_data


def trust_class(claims: Claims) -> TrustClass:
    """What the claims stand on: hardware that measured the guest, or a paravisor in its name."""
    return "paravisor-vtpm" if isinstance(claims, VtpmClaims) else "direct-boot"


def is_debuggable(claims: Claims) -> bool:
    """Whether the host may look into the guest: then nothing else counts."""
    if isinstance(claims, SnpClaims):
        return claims.report.policy.debug
    return (
        claims.body.td_attributes.debug if isinstance(claims, TdxClaims) else is_debuggable(claims.hardware)
    )
