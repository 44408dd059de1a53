"""The corpus's own rule for real evidence, and nothing more: `casemate verify --baseline`.

Authentic hardware, no debugging, no migration agent (AMD) or service TD (Intel), and a TCB status that Intel
calls up to date or in need of software hardening only. It says nothing about what runs, so it accepts any
guest: a yardstick for verifiers, not a policy. Specification: docs/spec/policy.md#baseline.
"""

from __future__ import annotations

from dataclasses import dataclass

from attestation.appraise.rules import on_off, rule
from attestation.check import Check
from attestation.snp.verify import SnpClaims

_SPEC = "docs/spec/policy.md#baseline"
_NO_AGENT = b"\xff" * 32


@dataclass(frozen=True, slots=True)
class Baseline:
    """Stands where a policy would stand, and has to be written out: nothing falls back to it."""


def appraise_baseline(claims: SnpClaims) -> list[Check]:
    """Judge authentic claims of any platform by the baseline rule."""
    return _snp(claims)


def _snp(claims: SnpClaims) -> list[Check]:
    guest = claims.report.policy
    moves = guest.migrate_ma or claims.report.report_id_ma != _NO_AGENT
    return [
        rule("baseline.debug", not guest.debug, "off", on_off(guest.debug), _SPEC),
        rule(
            "baseline.migration", not moves, "no migration agent", "possible" if moves else "no agent", _SPEC
        ),
    ]
