"""Rules for Intel platforms, on quotes and collateral of a forged Intel in which one thing is changed."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attestation.appraise import appraise_hardware
from attestation.policy.toml import parse_policy
from attestation.tdx.body import TdAttributes, parse_td_attributes
from attestation.tdx.verify import TdxClaims
from tests.fakes.amd import NOW
from tests.fakes.claims import tdx_claims
from tests.fakes.intel import IntelWorld

SET = f"""[tdx.sets.small]
mrtd = "{"4d" * 48}"
rtmr0 = "{"a0" * 48}"
rtmr1 = "{"a1" * 48}"
rtmr2 = "{"a2" * 48}"
"""
OTHER_SET = f'[tdx.sets.large]\nmrtd = "{"4d" * 48}"\nrtmr0 = "{"b0" * 48}"\nrtmr1 = "{"b1" * 48}"\n'
NO_EXCEPTION = 1 << 28
ONES, DIGEST = b"\x01" * 48, "01" * 48
EXTENDED = {"version": 5, "body_type": 4}


CLAIMS = tdx_claims(IntelWorld.forge().issue())


def attributes(value: int) -> TdAttributes:
    """TDATTRIBUTES of one value."""
    return parse_td_attributes(value.to_bytes(8, "little"))


def objections(claims: TdxClaims) -> list[str]:
    """Ids of what did not pass under the default with one named set."""
    policy = parse_policy(f'format = "casemate/policy/1"\n{SET}'.encode())
    checks = appraise_hardware(claims, policy, now=NOW)
    return [check.id for check in checks if check.outcome.value != "pass"]


def outcomes(intel: IntelWorld, changes: dict[str, Any], toml: str = "", sets: str = SET) -> dict[str, str]:
    """Outcome by check of what did not pass."""
    claims = tdx_claims(intel.issue(**changes))
    policy = parse_policy(f'format = "casemate/policy/1"\n{toml}\n{sets}'.encode())
    checks = appraise_hardware(claims, policy, now=NOW)
    assert len({check.id for check in checks}) == len(checks)
    assert all(check.expected and check.found and check.reference for check in checks)
    return {check.id: check.outcome.value for check in checks if check.outcome.value != "pass"}


Case = tuple[str, dict[str, Any], str]

# check id, what is different about the machine, tables of the policy
REFUSED: list[Case] = [
    ("platform.tee", {}, 'tees = ["sev-snp"]'),
    ("platform.trust_class", {}, 'trust_classes = ["paravisor-vtpm"]'),
    ("platform.operator", {}, f'[operators.a]\nppids = ["{"98" * 16}"]'),
    ("platform.operator", {}, f'[operators.a]\nchip_ids = ["{"99" * 64}"]'),
    (
        "platform.operator",
        {"platform_instance_id": None},
        f'[operators.a]\nplatform_instance_ids = ["{"1f" * 16}"]',
    ),
    ("tdx.measurement", {"mrtd": ONES}, ""),
    ("tdx.measurement", {"rtmrs": (b"\xa0" * 48, b"\xa1" * 48, b"\xa2" * 48, ONES)}, ""),
    ("tdx.measurement", {"rtmrs": (b"\xa0" * 48, b"\xa1" * 48, bytes(48), bytes(48))}, ""),
    ("tdx.mrseam", {}, f'[tdx]\nmrseams = ["{DIGEST}"]'),
    ("tdx.debug", {"td_attributes": NO_EXCEPTION | 1}, ""),
    ("tdx.debug", {"td_attributes": NO_EXCEPTION | 2}, ""),
    ("tdx.debug", {"td_attributes": NO_EXCEPTION | 0x80}, ""),
    ("tdx.migration", {"version": 5, "td_attributes": NO_EXCEPTION | 1 << 29}, ""),
    ("tdx.sept_ve", {"td_attributes": 0}, ""),
    ("tdx.attributes", {"td_attributes": NO_EXCEPTION | 1 << 63}, ""),
    ("tdx.attributes", {"td_attributes": NO_EXCEPTION | 1 << 63}, '[tdx]\nallow_attributes = ["pks", "kl"]'),
    ("tdx.attributes", {"td_attributes": NO_EXCEPTION | 1 << 27}, ""),
    ("tdx.attributes", {"td_attributes": NO_EXCEPTION | 1 << 30}, ""),
    ("tdx.attributes", {"td_attributes": NO_EXCEPTION | 1 << 31}, ""),
    ("tdx.attributes", {"td_attributes": NO_EXCEPTION | 1 << 40}, '[tdx]\nallow_attributes = ["pks"]'),
    ("tdx.config_id", {"mrconfigid": ONES}, ""),
    ("tdx.config_id", {}, f'[tdx]\nmrconfigids = ["{DIGEST}"]'),
    ("tdx.owner", {"mrowner": ONES}, ""),
    ("tdx.owner_config", {"mrownerconfig": ONES}, ""),
    ("tdx.service_td", {"version": 5, "mrservicetd": ONES}, ""),
    ("tdx.service_td", EXTENDED | {"servtd_hash": ONES}, ""),
    ("tdx.service_td", EXTENDED | {"initial_servtd_hash": ONES}, ""),
    ("tdx.service_td", {}, f'[tdx]\nmrservicetds = ["{DIGEST}"]'),
    ("tdx.service_td", {"td_attributes": NO_EXCEPTION | 1 << 29}, "[tdx]\nallow_migration = true"),
    (
        "tdx.service_td",
        {"version": 5, "body_type": 2, "td_attributes": NO_EXCEPTION | 1 << 29},
        f'[tdx]\nallow_migration = true\nmrservicetds = ["{DIGEST}"]',
    ),
    (
        "tdx.service_td",
        EXTENDED | {"mrservicetd": ONES, "servtd_hash": b"\x02" * 48},
        f'[tdx]\nmrservicetds = ["{DIGEST}"]',
    ),
    ("tdx.tcb.status", {"platform_status": "SWHardeningNeeded"}, ""),
    ("tdx.tcb.status", {"platform_status": "ConfigurationNeeded"}, '[tdx]\nstatuses = ["SWHardeningNeeded"]'),
    ("tdx.tcb.status", {"module_status": "OutOfDate"}, ""),
    ("tdx.tcb.status", {"qe_status": "OutOfDate"}, ""),
    ("tdx.tcb.status", {}, "[tdx]\nstatuses = []"),
    ("tdx.tcb.advisories", {"platform_advisories": ("INTEL-SA-1",)}, ""),
    (
        "tdx.tcb.advisories",
        {"platform_advisories": ("INTEL-SA-1",), "module_advisories": ("INTEL-SA-2",)},
        '[tdx]\nadvisories = ["INTEL-SA-1"]',
    ),
    ("tdx.tcb.evaluation", {"tcb_evaluation_number": 17}, ""),
    ("tdx.tcb.evaluation", {"qe_evaluation_number": 17}, ""),
    ("tdx.tcb.evaluation", {}, "[tdx]\nminimum_evaluation_number = 21"),
    ("tdx.smt", {}, "[tdx]\nallow_smt = false"),
    ("tdx.smt", {"configuration": None}, "[tdx]\nallow_smt = false"),
    ("tdx.collateral.age", {}, "[evidence]\nmax_collateral_age_seconds = 86399"),
    ("tdx.collateral.age", {"issued": NOW - timedelta(days=33)}, ""),
    ("tdx.crl.age", {}, "[evidence]\nmax_crl_age_seconds = 86399"),
    ("tdx.crl.age", {"root_crl_issued": NOW - timedelta(days=401)}, ""),
]

ACCEPTED: list[Case] = [
    ("platform.tee", {}, 'tees = ["tdx"]'),
    ("platform.operator", {}, f'[operators.a]\nppids = ["{"99" * 16}"]'),
    ("platform.operator", {}, f'[operators.a]\nplatform_instance_ids = ["{"1f" * 16}"]'),
    ("tdx.measurement", {"rtmrs": (b"\xb0" * 48, b"\xb1" * 48, bytes(48), bytes(48))}, OTHER_SET),
    ("tdx.mrseam", {"mrseam": ONES}, f'[tdx]\nmrseams = ["{DIGEST}"]'),
    (
        "tdx.migration",
        {"version": 5, "td_attributes": NO_EXCEPTION | 1 << 29},
        "[tdx]\nallow_migration = true",
    ),
    ("tdx.sept_ve", {"td_attributes": 0}, "[tdx]\nrequire_sept_ve_disable = false"),
    (
        "tdx.attributes",
        {"td_attributes": NO_EXCEPTION | 1 << 63 | 1 << 27},
        '[tdx]\nallow_attributes = ["perfmon", "lass"]',
    ),
    ("tdx.config_id", {"mrconfigid": ONES}, f'[tdx]\nmrconfigids = ["{DIGEST}"]'),
    ("tdx.owner", {"mrowner": ONES}, f'[tdx]\nmrowners = ["{DIGEST}"]'),
    ("tdx.owner_config", {"mrownerconfig": ONES}, f'[tdx]\nmrownerconfigs = ["{DIGEST}"]'),
    ("tdx.service_td", {"version": 5, "mrservicetd": ONES}, f'[tdx]\nmrservicetds = ["{DIGEST}"]'),
    ("tdx.service_td", EXTENDED, ""),
    (
        "tdx.tcb.status",
        {"platform_status": "SWHardeningNeeded"},
        '[tdx]\nstatuses = ["UpToDate", "SWHardeningNeeded"]',
    ),
    (
        "tdx.tcb.advisories",
        {"platform_advisories": ("INTEL-SA-1",)},
        '[tdx]\nadvisories = ["INTEL-SA-1", "INTEL-SA-2"]',
    ),
    ("tdx.tcb.evaluation", {"tcb_evaluation_number": 18}, ""),
    ("tdx.tcb.evaluation", {"tcb_evaluation_number": 3}, "[tdx]\nminimum_evaluation_number = 3"),
    ("tdx.smt", {"configuration": (True, True, False)}, "[tdx]\nallow_smt = false"),
    ("tdx.collateral.age", {}, "[evidence]\nmax_collateral_age_seconds = 86400"),
    ("tdx.crl.age", {}, "[evidence]\nmax_crl_age_seconds = 86400"),
    ("tdx.crl.age", {"root_crl_issued": NOW - timedelta(days=400)}, ""),
]


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case[0])
def test_refuses_by_exactly_this_rule(intel: IntelWorld, case: Case) -> None:
    check_id, changes, toml = case
    until = {"until": NOW + timedelta(days=29)} if "issued" in changes else {}
    assert outcomes(intel, changes | until, toml) == {check_id: "fail"}


@pytest.mark.parametrize("case", ACCEPTED, ids=lambda case: case[0])
def test_accepts_what_the_rule_allows(intel: IntelWorld, case: Case) -> None:
    _, changes, toml = case
    assert outcomes(intel, changes, toml) == {}


@given(bits=st.integers(0, (1 << 64) - 1) | st.sampled_from([1 << bit for bit in range(64)]))
@settings(deadline=None, max_examples=300)
def test_the_default_accepts_exactly_one_value_of_the_attributes(bits: int) -> None:
    """A TD that cannot be interrupted through its page tables, and nothing else."""
    for value in (bits, bits | NO_EXCEPTION):
        claims = replace(CLAIMS, body=replace(CLAIMS.body, td_attributes=attributes(value)))
        assert (objections(claims) == []) is (value == NO_EXCEPTION)


def test_the_default_accepts_that_one_value() -> None:
    assert objections(CLAIMS) == []


def test_nothing_is_accepted_without_a_set(intel: IntelWorld) -> None:
    assert outcomes(intel, {}, sets="") == {"tdx.measurement": "fail"}


def test_registers_of_two_sets_do_not_add_up_to_one(intel: IntelWorld) -> None:
    """A firmware of one shape with a kernel of another is a machine that nobody has measured."""
    mixed = {"rtmrs": (b"\xb0" * 48, b"\xa1" * 48, b"\xa2" * 48, bytes(48))}
    assert outcomes(intel, mixed, OTHER_SET) == {"tdx.measurement": "fail"}


def test_a_refusal_names_the_closest_set_and_the_registers_that_differ(intel: IntelWorld) -> None:
    claims = tdx_claims(intel.issue())
    rtmrs = (*claims.body.rtmrs[:3], ONES)
    changed = replace(claims, body=replace(claims.body, rtmrs=rtmrs))
    policy = parse_policy(f'format = "casemate/policy/1"\n{OTHER_SET}{SET}'.encode())
    check = next(c for c in appraise_hardware(changed, policy, now=NOW) if c.id == "tdx.measurement")
    assert check.found.startswith(f"small differs in rtmr3: mrtd {'4d' * 48}")
    assert check.expected.startswith("small (mrtd")
    assert "; large (mrtd" in check.expected


def test_a_check_shows_no_more_sets_than_somebody_would_read(intel: IntelWorld) -> None:
    sets = "".join(f'[tdx.sets.s{number}]\nmrtd = "{number:096x}"\n' for number in range(300))
    policy = parse_policy(f'format = "casemate/policy/1"\n{sets}{SET}'.encode())
    checks = appraise_hardware(tdx_claims(intel.issue()), policy, now=NOW)
    check = next(c for c in checks if c.id == "tdx.measurement")
    assert check.outcome.value == "pass"
    assert check.expected.startswith("small (")
    assert check.expected.endswith("; 297 more")
    assert len(check.expected) < 2000


def test_registers_that_nobody_judges_are_named_in_the_check(intel: IntelWorld) -> None:
    claims = tdx_claims(intel.issue())
    toml = f'format = "casemate/policy/1"\n[tdx]\nunjudged_registers = ["rtmr3"]\n{SET}'
    check = next(
        c
        for c in appraise_hardware(claims, parse_policy(toml.encode()), now=NOW)
        if c.id == "tdx.measurement"
    )
    assert "not judged: rtmr3" in check.expected
    assert check.found.startswith("as in small: ")
