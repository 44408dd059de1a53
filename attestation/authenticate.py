"""Did genuine hardware sign this? One platform's evidence in; checks, claims and facts out.

Claims exist only if no check objects; facts are whatever could be read, for display. Vendor roots are pinned
here, once; beside them only the one development root that a policy names is known, and it is insecure.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from attestation.check import Check
from attestation.errors import MalformedEvidence
from attestation.hardware import Hardware, SnpEvidence, TrustClass
from attestation.model import Collateral, Facts
from attestation.snp.abi import parse_report
from attestation.snp.roots import AMD_ROOTS
from attestation.snp.verify import SnpClaims, authenticate_report

Claims: TypeAlias = SnpClaims


@dataclass(frozen=True, slots=True)
class Authenticated:
    """What came of one platform's evidence. `claims` is None if anything failed or could not be decided."""

    checks: tuple[Check, ...]
    claims: Claims | None
    facts: Facts


def authenticate(
    hardware: Hardware, collateral: Collateral, *, development_root: bytes | None, now: datetime
) -> Authenticated:
    """Judge one platform's evidence. Raises MalformedEvidence if its bytes cannot be read.

    `collateral` adds to what the evidence carries; `development_root` is the SPKI digest of the one simulated
    root that a policy names; `now` is an aware time.
    """
    if not isinstance(hardware, SnpEvidence):
        raise MalformedEvidence("no verifier for this platform yet")
    checks, claims, facts = authenticate_report(
        parse_report(hardware.report),
        hardware.certificates + collateral.certificates,
        hardware.crls + collateral.crls,
        roots=AMD_ROOTS,
        development_root=development_root,
        now=now,
    )
    return Authenticated(tuple(checks), claims, facts)


def signed_data(claims: Claims) -> bytes:
    """The bytes that hardware signed on the guest's behalf: 64, or on a virtual TPM what it was asked."""
    return claims.report.report_data


def trust_class(claims: Claims) -> TrustClass:
    """What the claims stand on: hardware that measured the guest, or a paravisor in its name."""
    return "direct-boot"


def is_debuggable(claims: Claims) -> bool:
    """Whether the host may look into the guest: then nothing else counts."""
    return claims.report.policy.debug
