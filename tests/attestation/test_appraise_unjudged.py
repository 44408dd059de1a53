"""Registers that a policy leaves out: accepted, because it says so, but noted and never passed over."""

from __future__ import annotations

import pytest

from attestation.appraise import appraise_hardware
from attestation.policy.toml import parse_policy
from attestation.tdx.verify import TdxClaims
from tests.fakes.amd import NOW
from tests.fakes.claims import AnyClaims, tdx_claims, vtpm_claims
from tests.fakes.intel import IntelWorld
from tests.fakes.tpm import PCRS, TpmWorld, azure_tdx

ALLOWED = 'tees = ["tdx", "azure-tdx"]\ntrust_classes = ["direct-boot", "paravisor-vtpm"]\n'
SET = f'mrtd = "{"4d" * 48}"\nrtmr0 = "{"a0" * 48}"\nrtmr1 = "{"a1" * 48}"\nrtmr2 = "{"a2" * 48}"\n'
GUEST = "[azure.sets.guest]\n" + "".join(f'pcr{index} = "{PCRS[index].hex()}"\n' for index in range(16))
ALL = "every register judged"


def found(claims: AnyClaims, toml: str) -> dict[str, tuple[str, str, str]]:
    """Outcome, expected and found of what did not pass, and of what says which registers were left out."""
    policy = parse_policy(f'format = "casemate/policy/1"\n{ALLOWED}{toml}'.encode())
    checks = appraise_hardware(claims, policy, now=NOW)
    told = [c for c in checks if c.outcome.value != "pass" or c.id.endswith(".unjudged")]
    return {check.id: (check.outcome.value, check.expected, check.found) for check in told}


@pytest.fixture(scope="module")
def claims(intel: IntelWorld) -> TdxClaims:
    """A guest that booted something that no set knows."""
    return tdx_claims(intel.issue(rtmrs=(b"\xa0" * 48, b"\xa1" * 48, b"\xa2" * 48, b"\x01" * 48)))


def test_a_register_that_nobody_judges_is_noted_by_name(claims: TdxClaims) -> None:
    left_out = f'[tdx]\nunjudged_registers = ["rtmr3", "rtmr0"]\n[tdx.sets.small]\n{SET}'
    assert found(claims, left_out) == {"tdx.unjudged": ("noted", ALL, "not judged: rtmr0, rtmr3")}


def test_a_policy_that_judges_every_register_passes(intel: IntelWorld) -> None:
    small = f"[tdx.sets.small]\n{SET}"
    assert found(tdx_claims(intel.issue()), small) == {"tdx.unjudged": ("pass", ALL, ALL)}


def test_guest_and_paravisor_are_told_apart(intel: IntelWorld, tpm: TpmWorld) -> None:
    guest = '[azure]\nunjudged_registers = ["pcr7", "pcr12"]\n'
    below = '[azure.tdx]\nunjudged_registers = ["rtmr1"]\n'
    sets = f"[azure.tdx.sets.paravisor]\n{SET}{GUEST}"
    claims = vtpm_claims(azure_tdx(intel, tpm))
    judged, unsupplied = ("pass", ALL, ALL), ("noted", "not asked for", "none supplied")
    noted_guest, noted_below = ("noted", ALL, "not judged: pcr12, pcr7"), ("noted", ALL, "not judged: rtmr1")
    maa = {"azure.maa.present": unsupplied}
    assert found(claims, sets) == maa | {"azure.unjudged": judged, "tdx.unjudged": judged}
    assert found(claims, guest + sets) == maa | {"azure.unjudged": noted_guest, "tdx.unjudged": judged}
    assert found(claims, below + sets) == maa | {"azure.unjudged": judged, "tdx.unjudged": noted_below}
