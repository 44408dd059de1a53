"""What a policy lives with is still shown: an attestation result affirms no known weakness, and no gap."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from attestation import authenticate
from attestation.appraise.baseline import Baseline
from attestation.hardware import Hardware
from attestation.model import Appraisal, Collateral, Facts, Tcb, Verdict
from attestation.policy.model import (
    SHIPPED_TCB_FLOORS,
    AzurePolicy,
    EvidencePolicy,
    Policy,
    ReferenceSet,
    SnpPolicy,
    TdxPolicy,
)
from attestation.report.ear import build_ear, trust_vector
from attestation.report.html import render_html
from attestation.report.text import render_json, render_text
from attestation.report.weaknesses import WORDS, weaknesses
from attestation.snp.abi import encode_tcb, parse_report
from attestation.snp.facts import report_facts
from attestation.verify import verify_hardware
from tests.fakes.amd import NOW, World
from tests.fakes.intel import IntelWorld
from tests.fakes.intel_layout import TdFields
from tests.fakes.tpm import PCRS, TpmWorld, azure_snp, azure_tdx

MEASUREMENT = b"\x31" * 48
TD = TdFields()
TD_VALUES = {"mrtd": TD.mrtd} | {f"rtmr{i}": TD.rtmrs[i] for i in range(4)}
PCR_SET = ReferenceSet("guest", {f"pcr{i}": PCRS[i] for i in range(16)})
SNP = SnpPolicy(measurements=frozenset({MEASUREMENT}))
TDX = TdxPolicy(sets=(ReferenceSet("forged", TD_VALUES),))
POLICY = Policy(
    tees=frozenset({"sev-snp", "tdx", "azure-snp", "azure-tdx"}),
    trust_classes=frozenset({"direct-boot", "paravisor-vtpm"}),
    snp=SNP,
    tdx=TDX,
    azure=AzurePolicy(sets=(PCR_SET,), snp=SNP, tdx=TDX),
    evidence=EvidencePolicy(accept_without_nonce=True),
)


@pytest.fixture(autouse=True)
def pinned(genoa: World, intel: IntelWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pins are the vendors': only a replaced table lets a forgery pass for theirs."""
    monkeypatch.setattr(authenticate, "AMD_ROOTS", genoa.roots)
    monkeypatch.setattr(authenticate, "INTEL_ROOTS", intel.roots)


def judge(hardware: Hardware, rules: Policy | Baseline = POLICY) -> Appraisal:
    """An appraisal that has to be an acceptance: only then may anything be affirmed."""
    judged = verify_hardware(hardware, Collateral(), rules, now=NOW)
    assert judged.verdict is Verdict.ACCEPTED, judged.failed
    return judged


def status(judged: Appraisal) -> str:
    """The EAR's overall status."""
    made = build_ear(judged, nonce=None, now=NOW, developer="d", build="b")
    return str(made["ear_status"])


def test_a_quote_of_which_only_the_firmware_was_compared_affirms_no_software(intel: IntelWorld) -> None:
    firmware = ReferenceSet("firmware", {"mrtd": TD.mrtd})
    every = frozenset({"rtmr0", "rtmr1", "rtmr2", "rtmr3"})
    policy = replace(POLICY, tdx=TdxPolicy(sets=(firmware,), unjudged_registers=every))
    judged = judge(intel.issue(rtmrs=(b"\x66" * 48,) * 4).evidence, policy)
    assert trust_vector(judged)["executables"] == 0
    assert trust_vector(judge(intel.issue().evidence))["executables"] == 3


@pytest.mark.parametrize("gap", ["azure", "paravisor"])
def test_a_gap_on_either_side_of_a_paravisor_affirms_no_software(
    intel: IntelWorld, tpm: TpmWorld, gap: str
) -> None:
    guest = frozenset({"pcr5"} if gap == "azure" else ())
    below = frozenset({"rtmr3"} if gap == "paravisor" else ())
    azure = replace(POLICY.azure, unjudged_registers=guest, tdx=replace(TDX, unjudged_registers=below))
    evidence = azure_tdx(intel, tpm).evidence
    assert trust_vector(judge(evidence, replace(POLICY, azure=azure)))["executables"] == 0
    assert trust_vector(judge(evidence))["executables"] == 3


def machine(world: World, /, **changes: Any) -> Hardware:
    """A machine without any weakness, but for `changes`."""
    return world.issue(**{"measurement": MEASUREMENT, "crls": (world.crl(),)} | changes).evidence


def levels(bootloader: int = 10, snp: int = 25, microcode: int = 84) -> bytes:
    """Raw patch levels of a Genoa; its floor is 10, 0, 23, 84."""
    return encode_tcb(Tcb(bootloader=bootloader, tee=0, snp=snp, microcode=microcode), "Genoa")


NO_FLOOR = {"minimum_tcb": {"Genoa": Tcb(0, 0, 0, 0)}}
OLD = Tcb(bootloader=10, tee=0, snp=22, microcode=84)

Lived = tuple[
    str, dict[str, Any], dict[str, Any]
]  # weakness, what the machine is like, what the policy takes

LIVED_WITH: list[Lived] = [
    ("firmware", {"committed_tcb_raw": levels(snp=22), "current_tcb_raw": levels(snp=22)}, NO_FLOOR),
    ("firmware", {"launch_tcb_raw": levels(bootloader=9)}, NO_FLOOR),
    ("aliases", {"platform_info": 0x04}, {"require_alias_check": False}),
    ("ecc", {"platform_info": 0x20}, {"require_ecc": False}),
    ("revocation", {"crls": ()}, {"require_crl": False}),
    ("provisional", {"current_version": (1, 55, 41)}, {"allow_provisional_firmware": True}),
    ("provisional", {"current_tcb_raw": levels(snp=26)}, {"allow_provisional_firmware": True}),
    ("migration", {"policy": 1 << 17 | 1 << 18}, {"allow_migration": True}),
    ("migration", {"report_id_ma": bytes(32)}, {"allow_migration": True}),
]


@pytest.mark.parametrize(("name", "changes", "taken"), LIVED_WITH, ids=[name for name, *_ in LIVED_WITH])
def test_a_weakness_of_amds_that_a_policy_takes_is_a_warning(
    genoa: World, name: str, changes: dict[str, Any], taken: dict[str, Any]
) -> None:
    judged = judge(machine(genoa, **changes), replace(POLICY, snp=replace(SNP, **taken)))
    assert weaknesses(judged) == [name]
    assert trust_vector(judged)["hardware"] == 32
    assert status(judged) == "warning"


def test_firmware_below_the_floor_that_the_report_vouches_for_is_a_warning(genoa: World) -> None:
    """Reported levels are the certified ones, so that the machine needs another certificate."""
    raw = encode_tcb(OLD, "Genoa")
    hardware = machine(genoa, vek=genoa.vcek(tcb=OLD), reported_tcb_raw=raw)
    judged = judge(hardware, replace(POLICY, snp=replace(SNP, **NO_FLOOR)))
    assert (weaknesses(judged), trust_vector(judged)["hardware"]) == (["firmware"], 32)


def test_a_machine_at_exactly_the_floor_shows_no_weakness(genoa: World) -> None:
    floor = SHIPPED_TCB_FLOORS["Genoa"]
    raw = dict.fromkeys(
        ("current_tcb_raw", "reported_tcb_raw", "committed_tcb_raw", "launch_tcb_raw"),
        encode_tcb(floor, "Genoa"),
    )
    judged = judge(machine(genoa, vek=genoa.vcek(tcb=floor), **raw))
    assert (weaknesses(judged), trust_vector(judged)["hardware"]) == ([], 2)
    assert status(judged) == "affirming"


def test_the_baseline_takes_a_machine_without_a_revocation_list_and_affirms_nothing(genoa: World) -> None:
    assert trust_vector(judge(machine(genoa), Baseline()))["hardware"] == 2
    assert trust_vector(judge(machine(genoa, crls=()), Baseline()))["hardware"] == 32


def test_a_list_of_another_authority_is_none(worlds: dict[str, World]) -> None:
    judged = judge(machine(worlds["Genoa"], crls=(worlds["Milan"].crl(),)), Baseline())
    assert (weaknesses(judged), trust_vector(judged)["hardware"]) == (["revocation"], 32)


def test_the_paravisors_machine_counts_below_a_guest(genoa: World, tpm: TpmWorld) -> None:
    made = {"measurement": MEASUREMENT, "crls": (genoa.crl(),)}
    assert weaknesses(judge(azure_snp(genoa, tpm, **made).evidence)) == []
    policy = replace(POLICY, azure=replace(POLICY.azure, snp=replace(SNP, require_alias_check=False)))
    judged = judge(azure_snp(genoa, tpm, platform_info=0x04, **made).evidence, policy)
    assert (weaknesses(judged), trust_vector(judged)["hardware"]) == (["aliases"], 32)


@pytest.mark.parametrize(
    ("expected", "changes", "taken"),
    [
        ([], {}, {}),
        (["advisories"], {"platform_advisories": ("INTEL-SA-1",)}, {"advisories": frozenset({"INTEL-SA-1"})}),
        (
            ["status"],
            {"platform_status": "SWHardeningNeeded"},
            {"statuses": frozenset({"UpToDate", "SWHardeningNeeded"})},
        ),
        (["migration"], {"version": 5, "td_attributes": 1 << 28 | 1 << 29}, {"allow_migration": True}),
    ],
)
def test_a_weakness_of_intels_that_a_policy_takes_is_a_warning(
    intel: IntelWorld, expected: list[str], changes: dict[str, Any], taken: dict[str, Any]
) -> None:
    judged = judge(intel.issue(**changes).evidence, replace(POLICY, tdx=replace(TDX, **taken)))
    assert weaknesses(judged) == expected
    assert trust_vector(judged)["hardware"] == (32 if expected else 2)
    assert status(judged) == ("warning" if expected else "affirming")


def bare(facts: Facts) -> list[str]:
    """What facts alone show."""
    return weaknesses(Appraisal(Verdict.ACCEPTED, (), facts=facts))


def test_what_the_facts_leave_out_counts_as_a_weakness(genoa: World) -> None:
    """Fails closed: whoever renames a fact turns results into warnings, and never warnings into results."""
    facts = report_facts(parse_report(genoa.issue().report))
    assert bare(facts) == []
    lost = {
        "firmware": ("reported_tcb", "committed_tcb", "launch_tcb"),
        "aliases": ("platform_info",),
        "ecc": ("platform_info",),
        "provisional": ("current_version", "committed_version", "current_tcb", "committed_tcb"),
        "migration": ("policy", "report_id_ma"),
    }
    for weakness, names in lost.items():
        for name in names:
            assert weakness in bare({key: value for key, value in facts.items() if key != name}), name
    assert "firmware" in bare(dict(facts) | {"product": "Venice"})
    assert "firmware" in bare(dict(facts) | {"reported_tcb": {"bl": "10", "tee": 0, "snp": 25, "ucode": 84}})


def test_a_milan_is_weak_whatever_its_levels_are_and_no_facts_show_nothing() -> None:
    assert "milan" in bare({"product": "Milan"})
    assert bare({}) == []


def test_every_form_for_people_and_programs_names_the_weaknesses(genoa: World) -> None:
    hardware = genoa.issue(measurement=MEASUREMENT, platform_info=0x1).evidence
    judged = judge(hardware, Baseline())
    names = weaknesses(judged)
    assert {"revocation", "aliases", "ecc"} <= set(names) <= set(WORDS)
    assert json.loads(render_json(judged))["weaknesses"] == names
    text, page = render_text(judged), render_html(judged, subject="x")
    for name in names:
        assert f"  - {WORDS[name]}" in text
        assert f"{WORDS[name][1:]}.</li>" in page
    claimed = replace(judged, authentic=False)
    assert json.loads(render_json(claimed))["weaknesses"] == []
    assert "Known weaknesses" not in render_text(claimed) + render_html(claimed, subject="x")


def test_what_nobody_demanded_is_not_called_passed(genoa: World) -> None:
    judged = judge(genoa.issue(measurement=MEASUREMENT, crls=(genoa.crl(),)).evidence)
    lines = {line.split()[1]: line.split()[0] for line in render_text(judged).splitlines() if " snp." in line}
    assert (lines["snp.tsme"], lines["snp.smt"], lines["snp.debug"]) == ("any", "any", "pass")
    page = render_html(judged, subject="x")
    assert page.count("Not demanded") == sum(check.expected == "any" for check in judged.checks)


def test_a_paravisor_that_nobody_compared_is_a_weakness_and_a_reason_in_the_ear(
    genoa: World, tpm: TpmWorld
) -> None:
    hardware = azure_snp(genoa, tpm, measurement=MEASUREMENT, crls=(genoa.crl(),)).evidence
    by_baseline, by_policy = judge(hardware, Baseline()), judge(hardware)
    assert "paravisor" in weaknesses(by_baseline)
    assert "paravisor" not in weaknesses(by_policy)
    ear = build_ear(by_baseline, nonce=None, now=NOW, developer="https://example.com", build="1")
    (record,) = ear["submods"].values()
    assert record["ear_verifier_claims"]["weaknesses"] == weaknesses(by_baseline)
