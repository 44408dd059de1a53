"""What runs on which AMD platform, against `[snp]` (or `[azure.snp]`, for a paravisor).

Source: AMD 56860 (SNP firmware ABI), POLICY and ATTESTATION_REPORT. A bit of the guest's POLICY is enforced
by firmware for the guest's whole life; a bit of PLATFORM_INFO says how the machine was when it signed. Where
both exist, a requirement wants both.
"""

from __future__ import annotations

from datetime import datetime

from attestation.appraise.rules import (
    EVIDENCE,
    judged,
    listed,
    member_or_any,
    member_or_zeros,
    recent,
    rule,
    switch,
)
from attestation.check import Check, Outcome
from attestation.model import Tcb
from attestation.policy.model import EvidencePolicy, SnpPolicy
from attestation.snp.abi import Report
from attestation.snp.verify import SnpClaims

_SNP = "docs/spec/policy.md#snp"
_ABI = "AMD 56860, POLICY"
_MACHINE = "AMD 56860, ATTESTATION_REPORT, PLATFORM_INFO"
_NO_AGENT = b"\xff" * 32
_EITHER = (True, False)


def appraise_snp(claims: SnpClaims, policy: SnpPolicy, age: EvidencePolicy, *, now: datetime) -> list[Check]:
    """What runs, how it was launched, and on which hardware, firmware and collateral. `now`: aware."""
    return [
        *appraise_report(claims.report, policy),
        *_firmware(claims, policy),
        *_platform(claims, policy),
        *_revocation(claims, policy, age, now),
    ]


def appraise_report(report: Report, policy: SnpPolicy) -> list[Check]:
    """The part that a report alone decides, whoever certified its signer."""
    return [*_launch(report, policy), *_demands(report, policy), *_named_launch_data(report, policy)]


def _launch(report: Report, policy: SnpPolicy) -> list[Check]:
    guest = report.policy
    moves = guest.migrate_ma or report.report_id_ma != _NO_AGENT
    return [
        switch("snp.debug", guest.debug, [False], _SNP),
        _measurement(report, policy),
        rule("snp.vmpl", report.vmpl == policy.vmpl, str(policy.vmpl), str(report.vmpl), _SNP),
        rule(
            "snp.migration",
            policy.allow_migration or not moves,
            "any" if policy.allow_migration else "off, no migration agent",
            "possible" if moves else "off, no migration agent",
            _SNP,
        ),
    ]


def _measurement(report: Report, policy: SnpPolicy) -> Check:
    """A listed digest, one of a named set, or, if the policy says so, whatever a listed ID key signed."""
    named = [("listed", value) for value in sorted(policy.measurements)]
    named += [(one.name, one.values["measurement"]) for one in policy.sets]
    matches = [f"{name} " for name, value in named if value == report.measurement]
    wanted = [f"{name} {value.hex()}" for name, value in named]
    if policy.trust_id_key:
        wanted.append("any that a listed ID key signed")
        matches += ["by its ID key "] if report.id_key_digest in policy.id_key_digests else []
    how = matches[0] if matches else ""
    return rule("snp.measurement", bool(matches), listed(wanted), f"{how}{report.measurement.hex()}", _SNP)


def _demands(report: Report, policy: SnpPolicy) -> list[Check]:
    """What the guest's owner demanded of firmware at launch, and what the machine says of itself."""
    guest, machine = report.policy, report.platform_info
    abi = (guest.abi_major, guest.abi_minor)
    return [
        switch("snp.smt", guest.smt, _EITHER if policy.allow_smt else [False], _ABI),
        switch("snp.cxl", guest.cxl_allow, _EITHER if policy.allow_cxl else [False], _ABI),
        _required("snp.single_socket", guest.single_socket, policy.require_single_socket),
        _required("snp.aes_256_xts", guest.mem_aes_256_xts, policy.require_aes_256_xts),
        _required("snp.rapl", guest.rapl_dis and machine.rapl_dis, policy.require_rapl_disabled),
        _required(
            "snp.ciphertext_hiding",
            guest.ciphertext_hiding and machine.ciphertext_hiding_dram_en,
            policy.require_ciphertext_hiding,
        ),
        _required("snp.page_swap", guest.page_swap_disable, policy.require_page_swap_disabled),
        _required("snp.tsme", machine.tsme_en, policy.require_tsme),
        _required("snp.ecc", machine.ecc_en, policy.require_ecc),
        switch("snp.tio", machine.tio_en, _EITHER if policy.allow_tio else [False], _MACHINE),
        rule("snp.platform.unknown", not machine.unknown, "0x0", hex(machine.unknown), _MACHINE),
        rule(
            "snp.abi",
            abi >= policy.minimum_abi,
            f"at least {_dotted(policy.minimum_abi)}",
            _dotted(abi),
            _ABI,
        ),
    ]


def _required(check_id: str, on: bool, required: bool) -> Check:
    return switch(check_id, on, [True] if required else _EITHER, _ABI)


def _named_launch_data(report: Report, policy: SnpPolicy) -> list[Check]:
    """Launch data that no policy names has to be absent, which is all zeros."""
    minimum = policy.minimum_guest_svn
    return [
        member_or_zeros("snp.id_key", report.id_key_digest, policy.id_key_digests, _SNP),
        member_or_zeros("snp.author_key", report.author_key_digest, policy.author_key_digests, _SNP),
        member_or_zeros("snp.host_data", report.host_data, policy.host_data, _SNP),
        member_or_any("snp.family_id", report.family_id, policy.family_ids, _SNP),
        member_or_any("snp.image_id", report.image_id, policy.image_ids, _SNP),
        rule(
            "snp.guest_svn", report.guest_svn >= minimum, f"at least {minimum}", str(report.guest_svn), _SNP
        ),
    ]


def _firmware(claims: SnpClaims, policy: SnpPolicy) -> list[Check]:
    """Floors stand on three levels: what the key is bound to, what firmware can be rolled back to, and what
    ran when the guest was launched."""
    floor = policy.minimum_tcb.get(claims.product)
    return [
        _tcb("snp.tcb.reported", claims.reported_tcb, floor),
        _tcb("snp.tcb.committed", claims.committed_tcb, floor),
        _tcb("snp.tcb.launch", claims.launch_tcb, floor),
        _provisional(claims, policy),
        _mitigations(claims, policy),
    ]


def _tcb(check_id: str, found: Tcb, floor: Tcb | None) -> Check:
    """A product without a floor is refused: there is no level that nobody thought about."""
    holds = floor is not None and found.at_least(floor)
    return rule(check_id, holds, "no floor known" if floor is None else _levels(floor), _levels(found), _SNP)


def _provisional(claims: SnpClaims, policy: SnpPolicy) -> Check:
    """Firmware that is not committed can be exchanged for the committed one while guests run."""
    report = claims.report
    committed = report.current_version == report.committed_version and (
        claims.current_tcb == claims.committed_tcb
    )
    return rule(
        "snp.provisional",
        committed or policy.allow_provisional_firmware,
        "any" if policy.allow_provisional_firmware else "current firmware is committed",
        f"current {report.current_version} ({_levels(claims.current_tcb)}), "
        f"committed {report.committed_version} ({_levels(claims.committed_tcb)})",
        _SNP,
    )


def _mitigations(claims: SnpClaims, policy: SnpPolicy) -> Check:
    """Bits both at launch and now; reports before version 5 have no vectors, which is none."""
    mask = policy.required_mitigations.get(claims.product, 0)
    launch, current = claims.report.launch_mit_vector, claims.report.current_mit_vector
    shown = "no vectors" if launch is None or current is None else f"launch {launch:#x}, current {current:#x}"
    in_force = (launch or 0) & (current or 0)
    expected = f"{mask:#x} in both vectors" if mask else "any"
    return rule("snp.mitigations", in_force & mask == mask, expected, shown, _SNP)


def _platform(claims: SnpClaims, policy: SnpPolicy) -> list[Check]:
    key = claims.signing_key
    aliased = claims.report.platform_info.alias_check_complete
    return [
        rule(
            "snp.product.allowed",
            claims.product in policy.products,
            listed(policy.products),
            claims.product,
            _SNP,
        ),
        rule("snp.signing_key", key in policy.signing_keys, listed(policy.signing_keys), key, _SNP),
        rule(
            "snp.alias_check",
            aliased or not policy.require_alias_check,
            "complete" if policy.require_alias_check else "any",
            "complete" if aliased else "not done",
            f"{_SNP}; AMD-SB-3015",
        ),
    ]


def _revocation(claims: SnpClaims, policy: SnpPolicy, age: EvidencePolicy, now: datetime) -> list[Check]:
    """Whether a list was enforced is one question; how old the newest of them may be is another."""
    made, limit = claims.crl_this_update, age.max_crl_age_seconds
    wanted = "enforced" if policy.require_crl else "any"
    if made is None:
        missing = Outcome.UNDECIDED if policy.require_crl else Outcome.PASS
        no_age = f"issued at most {limit} s ago"
        return [
            judged("snp.crl.present", missing, wanted, "none supplied", _SNP),
            judged("snp.crl.age", Outcome.NOTED, no_age, "none enforced", EVIDENCE),
        ]
    return [
        judged("snp.crl.present", Outcome.PASS, wanted, f"made {made.isoformat()}", _SNP),
        recent("snp.crl.age", made, limit, now),
    ]


def _levels(tcb: Tcb) -> str:
    levels = f"bootloader {tcb.bootloader}, tee {tcb.tee}, snp {tcb.snp}, microcode {tcb.microcode}"
    return levels if tcb.fmc is None else f"fmc {tcb.fmc}, {levels}"


def _dotted(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"
