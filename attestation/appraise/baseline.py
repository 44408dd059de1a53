"""The collection's own rule for real evidence, and nothing more: `casemate verify --baseline`.

Authentic hardware, no debugging, no migration agent (AMD) or service TD (Intel), and a TCB status that Intel
calls up to date or in need of software hardening only. It says nothing about what runs, so it accepts any
guest: a yardstick for verifiers, not a policy. Specification: docs/spec/policy.md#baseline.
"""

from __future__ import annotations

from dataclasses import dataclass

from attestation.appraise.rules import hexes, judged, listed, on_off, rule
from attestation.appraise.tdx import service_td_left_out
from attestation.azure.verify import VtpmClaims
from attestation.check import Check, Outcome
from attestation.snp.abi import Report
from attestation.snp.verify import SnpClaims
from attestation.tdx.body import TdReport
from attestation.tdx.verify import TdxClaims

STATUSES = frozenset({"UpToDate", "SWHardeningNeeded"})
_SPEC = "docs/spec/policy.md#baseline"
_NO_AGENT = b"\xff" * 32


@dataclass(frozen=True, slots=True)
class Baseline:
    """Stands where a policy would stand, and has to be written out: nothing falls back to it."""


def appraise_baseline(claims: SnpClaims | TdxClaims | VtpmClaims) -> list[Check]:
    """Judge authentic claims of any platform by the baseline rule; below a paravisor, the paravisor's."""
    if isinstance(claims, VtpmClaims):
        return [*appraise_baseline(claims.hardware), _paravisor(claims.hardware)]
    if isinstance(claims, SnpClaims):
        return baseline_of_report(claims.report)
    status = rule("baseline.tcb_status", claims.status in STATUSES, listed(STATUSES), claims.status, _SPEC)
    return [*baseline_of_body(claims.body), status]


def _paravisor(hardware: SnpClaims | TdxClaims) -> Check:
    """Only its measurement tells Microsoft's paravisor from a guest that plays one, and nothing is listed."""
    if isinstance(hardware, SnpClaims):
        found = f"MEASUREMENT {hardware.report.measurement.hex()}"
    else:
        found = f"MRTD {hardware.body.mrtd.hex()}"
    return judged(
        "baseline.paravisor",
        Outcome.NOTED,
        "Microsoft's paravisor, which only a policy can name",
        f"{found}, compared with nothing",
        _SPEC,
    )


def baseline_of_report(report: Report) -> list[Check]:
    """The part of the rule that an SNP report alone decides."""
    guest = report.policy
    moves = guest.migrate_ma or report.report_id_ma != _NO_AGENT
    found = "possible" if moves else "no migration agent"
    return [
        _debug(guest.debug),
        rule("baseline.migration", not moves, "no migration agent", found, _SPEC),
    ]


def baseline_of_body(body: TdReport) -> list[Check]:
    """The part of the rule that a TD report alone decides."""
    attributes, service_td = body.td_attributes, body.mrservicetd or b""
    return [
        _debug(attributes.debug or attributes.other_tud != 0),
        rule(
            "baseline.service_td",
            not any(service_td) and not body.hides_service_td,
            "MRSERVICETD is zero",
            service_td_left_out(body) or hexes([service_td]),
            _SPEC,
        ),
    ]


def _debug(on: bool) -> Check:
    return rule("baseline.debug", not on, "off", on_off(on), _SPEC)
