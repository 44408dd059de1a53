"""What runs on which Intel platform, against `[tdx]` (or `[azure.tdx]`, for a paravisor).

Sources: Intel TDX module ABI (TDATTRIBUTES, TD_INFO), Intel PCS API version 4 (TCB status). Measurements
cover neither TDATTRIBUTES nor the owner's values: those are judged one by one.
"""

from __future__ import annotations

from datetime import datetime

from attestation.appraise.rules import (
    all_judged,
    hexes,
    listed,
    member_or_any,
    member_or_zeros,
    on_off,
    recent,
    reference_set,
    rule,
    switch,
)
from attestation.check import Check
from attestation.policy.model import TD_ATTRIBUTES, EvidencePolicy, TdxPolicy
from attestation.tdx.body import TdAttributes, TdReport
from attestation.tdx.verify import TdxClaims

_TDX = "docs/spec/policy.md#tdx"
_ATTRIBUTES = "Intel TDX module ABI, TDATTRIBUTES"
_TCB = "docs/spec/policy.md#tdx; Intel PCS API version 4"
_EITHER = (True, False)


def appraise_tdx(claims: TdxClaims, policy: TdxPolicy, age: EvidencePolicy, *, now: datetime) -> list[Check]:
    """What runs, how it was launched, and on which hardware, firmware and collateral. `now`: aware."""
    return [
        *appraise_body(claims.body, policy),
        *_platform(claims, policy),
        *_ages(claims, age, now),
    ]


def appraise_body(body: TdReport, policy: TdxPolicy) -> list[Check]:
    """The part that a TD report alone decides, whoever certified its signer."""
    return [
        *_launch(body, policy),
        *_attributes(body.td_attributes, policy),
        *_named_launch_data(body, policy),
    ]


def _launch(body: TdReport, policy: TdxPolicy) -> list[Check]:
    names = ("rtmr0", "rtmr1", "rtmr2", "rtmr3")
    measured = {"mrtd": body.mrtd} | dict(zip(names, body.rtmrs, strict=True))
    return [
        reference_set("tdx.measurement", policy.sets, measured, policy.unjudged_registers, _TDX),
        all_judged("tdx.unjudged", policy.unjudged_registers, _TDX),
        member_or_any("tdx.mrseam", body.mrseam, policy.mrseams, _TDX),
        member_or_any("tdx.xfam", body.xfam, policy.xfams, f"{_TDX}; Intel TDX module ABI, XFAM"),
    ]


def _attributes(found: TdAttributes, policy: TdxPolicy) -> list[Check]:
    """Debugging cannot be allowed; bits that nobody has described are not accepted either."""
    debug = found.debug or found.other_tud != 0
    on = {name for name in TD_ATTRIBUTES if getattr(found, name)}
    unknown = {f"reserved {found.reserved:#x}"} if found.reserved else set()
    return [
        switch("tdx.debug", debug, [False], _ATTRIBUTES),
        switch(
            "tdx.migration", found.migratable, _EITHER if policy.allow_migration else [False], _ATTRIBUTES
        ),
        switch(
            "tdx.sept_ve",
            found.sept_ve_disable,
            [True] if policy.require_sept_ve_disable else _EITHER,
            f"{_ATTRIBUTES}, SEPT_VE_DISABLE",
        ),
        rule(
            "tdx.attributes",
            not unknown and on <= policy.allow_attributes,
            f"at most {listed(policy.allow_attributes)}" if policy.allow_attributes else "none",
            listed(on | unknown) if on | unknown else "none",
            _ATTRIBUTES,
        ),
    ]


def _named_launch_data(body: TdReport, policy: TdxPolicy) -> list[Check]:
    """Launch data that no policy names has to be absent, which is all zeros."""
    return [
        member_or_zeros("tdx.config_id", body.mrconfigid, policy.mrconfigids, _TDX),
        member_or_zeros("tdx.owner", body.mrowner, policy.mrowners, _TDX),
        member_or_zeros("tdx.owner_config", body.mrownerconfig, policy.mrownerconfigs, _TDX),
        _service_td(body, policy.mrservicetds),
    ]


def _service_td(body: TdReport, allowed: frozenset[bytes]) -> Check:
    """Service TDs may move or change this one. 1.5 extended names three digests; 1.0 has no field for any."""
    digests = (body.mrservicetd, body.init_servicetd_hash, body.current_servicetd_hash)
    bound = {digest for digest in digests if digest is not None and any(digest)}
    holds = bound == set() if not allowed else bool(bound) and bound <= allowed
    return rule(
        "tdx.service_td",
        holds and not body.hides_service_td,
        hexes(allowed) if allowed else "none",
        service_td_left_out(body) or (hexes(bound) if bound else "none"),
        _TDX,
    )


def service_td_left_out(body: TdReport) -> str:
    """What a body without MRSERVICETD says of service TDs, in words; empty for one that has the field."""
    if body.mrservicetd is not None:
        return ""
    return (
        "not stated, and the TD is migratable" if body.hides_service_td else "not stated: cannot be migrated"
    )


def _platform(claims: TdxClaims, policy: TdxPolicy) -> list[Check]:
    unnamed = set(claims.advisory_ids) - policy.advisories
    number, minimum = claims.evaluation_number, policy.minimum_evaluation_number
    parts = f"platform {claims.platform_status}, module {claims.module_status or 'part of the platform'}, "
    smt = claims.pck.smt_enabled is not False
    return [
        rule(
            "tdx.tcb.status",
            claims.status in policy.statuses,
            listed(policy.statuses),
            f"{claims.status} ({parts}QE {claims.qe_status})",
            _TCB,
        ),
        rule(
            "tdx.tcb.advisories",
            not unnamed,
            "none but " + listed(policy.advisories) if policy.advisories else "none",
            listed(claims.advisory_ids) if claims.advisory_ids else "none",
            _TCB,
        ),
        rule("tdx.tcb.evaluation", number >= minimum, f"at least {minimum}", str(number), _TCB),
        rule(
            "tdx.smt",
            policy.allow_smt or not smt,
            "any" if policy.allow_smt else "off",
            "unknown" if claims.pck.smt_enabled is None else on_off(smt),
            "Intel SGX PCK certificate, SMT enabled",
        ),
    ]


def _ages(claims: TdxClaims, age: EvidencePolicy, now: datetime) -> list[Check]:
    """The root's list lives for a year; everything else that Intel publishes, for a month."""
    issued, listed_at = claims.collateral_issued, claims.root_crl_issued
    return [
        recent("tdx.collateral.age", issued, age.max_collateral_age_seconds, now),
        recent("tdx.crl.age", listed_at, age.max_crl_age_seconds, now),
    ]
