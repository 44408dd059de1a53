"""Rules for AMD platforms, on claims of a forged machine in which one field at a time is changed."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attestation.appraise import appraise_hardware
from attestation.model import Tcb
from attestation.policy.model import Policy
from attestation.policy.toml import parse_policy
from attestation.snp.abi import FirmwareVersion, guest_policy, platform_info
from attestation.snp.verify import SnpClaims
from enclave.tee.dev import MEASUREMENT
from tests.fakes.amd import CSP, NOW, World
from tests.fakes.claims import snp_claims

HEAD = f'format = "casemate/policy/1"\n[snp]\nmeasurements = ["{MEASUREMENT.hex()}"]\n'
ONE, SMT, CXL, SOCKET, XTS, RAPL, HIDING, NO_SWAP = (1 << bit for bit in (17, 16, 21, 20, 22, 23, 24, 25))
MIGRATE, DEBUG = 1 << 18, 1 << 19
TIO = 1 << 7
GOOD_MACHINE = 0x24  # error correction, aliases checked
TRUST = f'trust_id_key = true\nfamily_ids = ["{"00" * 16}"]\nimage_ids = ["{"00" * 16}"]\n'
LOW = Tcb(bootloader=10, tee=0, snp=22, microcode=84)


@pytest.fixture(scope="module")
def claims(genoa: World) -> SnpClaims:
    """A machine that the default policy accepts once its measurement is named."""
    return snp_claims(genoa.issue(measurement=MEASUREMENT, crls=(genoa.crl(),)))


def changed(claims: SnpClaims, wrong: dict[str, Any]) -> SnpClaims:
    """The claims with fields of the report (or, if it has none of that name, their own) replaced."""
    own = {name: value for name, value in wrong.items() if name in SnpClaims.__dataclass_fields__}
    report = {name: value for name, value in wrong.items() if name not in own}
    if "policy" in report:
        report["policy"] = guest_policy(ONE | report["policy"])
    if "platform_info" in report:
        report["platform_info"] = platform_info(report["platform_info"])
    return replace(claims, report=replace(claims.report, **report), **own)


def outcomes(claims: SnpClaims, toml: str = "", policy: Policy | None = None) -> dict[str, str]:
    """Outcome by check of what did not pass."""
    rules = parse_policy((HEAD + toml).encode()) if policy is None else policy
    checks = appraise_hardware(claims, rules, now=NOW)
    assert len({check.id for check in checks}) == len(checks)
    assert all(check.expected and check.found and check.reference for check in checks)
    return {check.id: check.outcome.value for check in checks if check.outcome.value != "pass"}


Case = tuple[str, dict[str, Any], str]

# check id, what is different about the machine, lines of [snp]
REFUSED: list[Case] = [
    ("snp.cxl", {"policy": CXL}, ""),
    ("snp.smt", {"policy": SMT}, "allow_smt = false\n"),
    ("snp.single_socket", {}, "require_single_socket = true\n"),
    ("snp.aes_256_xts", {}, "require_aes_256_xts = true\n"),
    ("snp.rapl", {}, "require_rapl_disabled = true\n"),
    ("snp.rapl", {"policy": RAPL}, "require_rapl_disabled = true\n"),
    ("snp.rapl", {"platform_info": GOOD_MACHINE | 8}, "require_rapl_disabled = true\n"),
    ("snp.ciphertext_hiding", {}, "require_ciphertext_hiding = true\n"),
    ("snp.ciphertext_hiding", {"policy": HIDING}, "require_ciphertext_hiding = true\n"),
    ("snp.ciphertext_hiding", {"platform_info": GOOD_MACHINE | 16}, "require_ciphertext_hiding = true\n"),
    ("snp.page_swap", {}, "require_page_swap_disabled = true\n"),
    ("snp.tsme", {}, "require_tsme = true\n"),
    ("snp.ecc", {"platform_info": 0x20}, ""),
    ("snp.abi", {"policy": 0x1F}, 'minimum_abi = "0.32"\n'),
    ("snp.abi", {"policy": 0x00FF}, 'minimum_abi = "1.0"\n'),
    ("snp.guest_svn", {"guest_svn": 4}, "minimum_guest_svn = 5\n"),
    ("snp.tcb.reported", {"reported_tcb": LOW}, ""),
    ("snp.tcb.launch", {"launch_tcb": LOW}, ""),
    ("snp.provisional", {"current_tcb": Tcb(10, 0, 26, 84)}, ""),
    ("snp.provisional", {"current_version": FirmwareVersion(1, 55, 99)}, ""),
    (
        "snp.mitigations",
        {"launch_mit_vector": None, "current_mit_vector": None},
        "required_mitigations = { Genoa = 1 }\n",
    ),
    (
        "snp.mitigations",
        {"launch_mit_vector": 1, "current_mit_vector": 3},
        "required_mitigations = { Genoa = 3 }\n",
    ),
    (
        "snp.mitigations",
        {"launch_mit_vector": 3, "current_mit_vector": 1},
        "required_mitigations = { Genoa = 3 }\n",
    ),
    ("snp.measurement", {"measurement": bytes(48)}, f'[snp.sets.a]\nmeasurement = "{"01" * 48}"\n'),
    ("snp.measurement", {"measurement": bytes(48)}, TRUST),
]

ACCEPTED: list[Case] = [
    ("snp.cxl", {"policy": CXL}, "allow_cxl = true\n"),
    ("snp.smt", {"policy": SMT}, ""),
    ("snp.single_socket", {"policy": SOCKET}, "require_single_socket = true\n"),
    ("snp.aes_256_xts", {"policy": XTS}, "require_aes_256_xts = true\n"),
    ("snp.rapl", {"policy": RAPL, "platform_info": GOOD_MACHINE | 8}, "require_rapl_disabled = true\n"),
    (
        "snp.ciphertext_hiding",
        {"policy": HIDING, "platform_info": GOOD_MACHINE | 16},
        "require_ciphertext_hiding = true\n",
    ),
    ("snp.page_swap", {"policy": NO_SWAP}, "require_page_swap_disabled = true\n"),
    ("snp.tsme", {"platform_info": GOOD_MACHINE | 2}, "require_tsme = true\n"),
    ("snp.ecc", {"platform_info": 0x20}, "require_ecc = false\n"),
    ("snp.abi", {"policy": 0x0120}, 'minimum_abi = "1.31"\n'),
    ("snp.abi", {"policy": 0x1F}, 'minimum_abi = "0.31"\n'),
    ("snp.guest_svn", {"guest_svn": 5}, "minimum_guest_svn = 5\n"),
    ("snp.provisional", {"current_tcb": Tcb(10, 0, 26, 84)}, "allow_provisional_firmware = true\n"),
    ("snp.mitigations", {"launch_mit_vector": 0, "current_mit_vector": 0}, ""),
    ("snp.mitigations", {}, "required_mitigations = { Turin = 2 }\n"),
    (
        "snp.mitigations",
        {"launch_mit_vector": 7, "current_mit_vector": 3},
        "required_mitigations = { Genoa = 3 }\n",
    ),
    ("snp.measurement", {"measurement": b"\x01" * 48}, f'[snp.sets.a]\nmeasurement = "{"01" * 48}"\n'),
    (
        "snp.measurement",
        {"measurement": bytes(48), "id_key_digest": b"\x02" * 48},
        f'{TRUST}id_key_digests = ["{"02" * 48}"]\n',
    ),
]


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case[0])
def test_refuses_by_exactly_this_rule(claims: SnpClaims, case: Case) -> None:
    check_id, wrong, toml = case
    assert outcomes(changed(claims, wrong), toml) == {check_id: "fail"}


@pytest.mark.parametrize("case", ACCEPTED, ids=lambda case: case[0])
def test_accepts_what_the_rule_allows(claims: SnpClaims, case: Case) -> None:
    _, wrong, toml = case
    assert outcomes(changed(claims, wrong), toml) == {}


@given(bits=st.integers(0, (1 << 26) - 1), machine=st.integers(0, 255), vmpl=st.integers(0, 4))
@settings(deadline=None, max_examples=300)
def test_the_default_accepts_exactly_the_bits_that_cost_a_well_run_machine_nothing(
    claims: SnpClaims, bits: int, machine: int, vmpl: int
) -> None:
    """All other bits of the guest's policy and of the machine may stand as they like."""
    harmful = bits & (MIGRATE | DEBUG | CXL)
    sound = machine & GOOD_MACHINE == GOOD_MACHINE and not machine & TIO
    found = outcomes(changed(claims, {"policy": bits, "platform_info": machine, "vmpl": vmpl}))
    assert (found == {}) is (not harmful and sound and vmpl == 0)


@pytest.mark.parametrize(
    ("days", "toml", "accepted"),
    [
        (400, "", True),
        (401, "", False),
        (401, "[evidence]\nmax_crl_age_seconds = 34646400\n", True),
        (32, "[evidence]\nmax_crl_age_seconds = 2764800\n", True),
        (33, "[evidence]\nmax_crl_age_seconds = 2764800\n", False),
    ],
)
def test_a_revocation_list_that_is_current_may_still_be_too_old(
    genoa: World, days: int, toml: str, accepted: bool
) -> None:
    """Lists live for a year, and who sends the evidence chooses among those in force."""
    crl = genoa.crl(made=NOW - timedelta(days=days))
    claims = snp_claims(genoa.issue(measurement=MEASUREMENT, crls=(crl,)))
    assert outcomes(claims, toml) == ({} if accepted else {"snp.crl.age": "fail"})


def test_the_newest_enforced_revocation_list_counts(genoa: World) -> None:
    lists = tuple(genoa.crl(made=NOW - timedelta(days=days)) for days in (401, 400, 402))
    assert outcomes(snp_claims(genoa.issue(measurement=MEASUREMENT, crls=lists))) == {}


def test_without_a_revocation_list_there_is_no_age_to_judge(claims: SnpClaims) -> None:
    """That it is missing is another check's to say."""
    without = replace(claims, crl_this_update=None)
    assert outcomes(without) == {"snp.crl.present": "undecided", "snp.crl.age": "noted"}
    assert outcomes(without, "require_crl = false\n") == {"snp.crl.age": "noted"}


def test_nothing_is_accepted_without_a_measurement(claims: SnpClaims) -> None:
    assert outcomes(claims, policy=Policy()) == {"snp.measurement": "fail"}


@pytest.mark.parametrize(("count", "more"), [(32, ""), (33, ", 1 more"), (300, ", 268 more")])
def test_a_check_shows_no_more_values_than_somebody_would_read(
    claims: SnpClaims, count: int, more: str
) -> None:
    listed = ", ".join(f'"{number:096x}"' for number in range(count))
    policy = parse_policy(f'format = "casemate/policy/1"\n[snp]\nmeasurements = [{listed}]\n'.encode())
    checks = appraise_hardware(claims, policy, now=NOW)
    expected = next(check.expected for check in checks if check.id == "snp.measurement")
    assert expected.count("listed ") == min(count, 32)
    assert expected.endswith(more or f"{31:096x}")


def test_an_id_key_that_is_not_listed_vouches_for_no_measurement(claims: SnpClaims) -> None:
    other = changed(claims, {"measurement": bytes(48), "id_key_digest": b"\x03" * 48})
    toml = f'{TRUST}id_key_digests = ["{"02" * 48}"]\n'
    assert outcomes(other, toml) == {"snp.measurement": "fail", "snp.id_key": "fail"}


def test_a_product_without_a_floor_is_refused(claims: SnpClaims) -> None:
    policy = parse_policy(HEAD.encode())
    without = replace(policy, snp=replace(policy.snp, minimum_tcb={}))
    assert set(outcomes(claims, policy=without)) == {
        "snp.tcb.reported",
        "snp.tcb.committed",
        "snp.tcb.launch",
    }


@pytest.mark.parametrize(
    ("toml", "expected"),
    [
        ("", {"platform.operator": "fail"}),
        ('[operators.other]\ncsp_ids = ["CN=another"]\n', {"platform.operator": "fail"}),
        (f'[operators.chips]\nchip_ids = ["{"00" * 64}"]\n', {"platform.operator": "fail"}),
        (f'[operators.other]\nppids = ["{"00" * 16}"]\n[operators.aws]\ncsp_ids = ["{CSP}"]\n', {}),
    ],
)
def test_a_vlek_vouches_for_no_chip_so_its_provider_has_to_be_named(
    genoa: World, toml: str, expected: dict[str, str]
) -> None:
    claims = snp_claims(genoa.issue_vlek(measurement=MEASUREMENT, crls=(genoa.crl(),)))
    assert outcomes(claims, 'signing_keys = ["vlek"]\n' + toml) == expected


def test_a_chip_of_a_named_operator_is_shown_with_the_operators_name(claims: SnpClaims) -> None:
    toml = f'[operators."Rack 7"]\nchip_ids = ["{claims.report.chip_id.hex()}"]\n'
    checks = appraise_hardware(claims, parse_policy((HEAD + toml).encode()), now=NOW)
    found = next(check for check in checks if check.id == "platform.operator")
    assert found.found.startswith("Rack 7: chip 0102")
    assert found.expected == "Rack 7"
