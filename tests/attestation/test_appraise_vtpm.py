"""Rules for guests below Azure's paravisor: two platforms in one, and a token that can only refuse."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from attestation.appraise import appraise_hardware
from attestation.azure.verify import VtpmClaims
from attestation.pins import write_pin
from attestation.policy.toml import parse_policy
from tests.fakes.amd import NOW, World
from tests.fakes.claims import vtpm_claims
from tests.fakes.intel import IntelWorld
from tests.fakes.maa import MaaWorld
from tests.fakes.tpm import PCRS, AzureSigned, TpmWorld, azure_snp, azure_tdx

ALLOWED = 'tees = ["azure-snp", "azure-tdx"]\ntrust_classes = ["paravisor-vtpm"]\n'
PARAVISOR = b"\x70" * 48
SNP = f'[azure.snp]\nmeasurements = ["{PARAVISOR.hex()}"]\n'
TDX = f"""[azure.tdx.sets.paravisor]
mrtd = "{"4d" * 48}"
rtmr0 = "{"a0" * 48}"
rtmr1 = "{"a1" * 48}"
rtmr2 = "{"a2" * 48}"
"""
GUEST = "[azure.sets.guest]\n" + "".join(f'pcr{index} = "{PCRS[index].hex()}"\n' for index in range(16))


def outcomes(claims: VtpmClaims, *toml: str) -> dict[str, str]:
    """Outcome by check of what did not pass."""
    policy = parse_policy(f'format = "casemate/policy/1"\n{"".join(toml)}'.encode())
    checks = appraise_hardware(claims, policy, now=NOW)
    assert len({check.id for check in checks}) == len(checks)
    assert all(check.expected and check.found and check.reference for check in checks)
    return {check.id: check.outcome.value for check in checks if check.outcome.value != "pass"}


@pytest.fixture(scope="module")
def signed(genoa: World, tpm: TpmWorld) -> AzureSigned:
    """An Azure guest on SEV-SNP in which everything is right."""
    return azure_snp(genoa, tpm, measurement=PARAVISOR, crls=(genoa.crl(),))


@pytest.fixture(scope="module")
def claims(signed: AzureSigned) -> VtpmClaims:
    """Its claims."""
    return vtpm_claims(signed)


NOTED = {"azure.maa.present": "noted"}


def test_accepts_a_guest_whose_paravisor_and_pcrs_are_named(claims: VtpmClaims) -> None:
    assert outcomes(claims, ALLOWED, SNP, GUEST) == NOTED


def test_accepts_the_same_on_intel(intel: IntelWorld, tpm: TpmWorld) -> None:
    assert outcomes(vtpm_claims(azure_tdx(intel, tpm)), ALLOWED, TDX, GUEST) == NOTED


def test_is_never_taken_for_a_guest_that_hardware_measured(claims: VtpmClaims) -> None:
    """Naming the platform is not enough: the weaker trust class has to be named as well."""
    assert outcomes(claims, SNP, GUEST) == NOTED | {"platform.tee": "fail", "platform.trust_class": "fail"}
    assert outcomes(claims, 'tees = ["azure-snp"]\n', SNP, GUEST) == NOTED | {"platform.trust_class": "fail"}
    assert outcomes(claims, 'tees = ["azure-tdx"]\ntrust_classes = ["paravisor-vtpm"]\n', SNP, GUEST) == (
        NOTED | {"platform.tee": "fail"}
    )


def test_what_a_policy_says_of_direct_guests_does_not_hold_for_a_paravisor(claims: VtpmClaims) -> None:
    assert outcomes(claims, ALLOWED, SNP.replace("azure.", ""), GUEST) == NOTED | {"snp.measurement": "fail"}


def test_the_paravisors_hardware_is_judged_by_its_own_table(
    claims: VtpmClaims, intel: IntelWorld, tpm: TpmWorld
) -> None:
    assert outcomes(claims, ALLOWED, SNP + "require_tsme = true\n", GUEST) == NOTED | {"snp.tsme": "fail"}
    old = vtpm_claims(azure_tdx(intel, tpm, module_status="OutOfDate"))
    assert outcomes(old, ALLOWED, TDX, GUEST) == NOTED | {"tdx.tcb.status": "fail"}
    late = "[evidence]\nmax_collateral_age_seconds = 60\n"
    fresh = vtpm_claims(azure_tdx(intel, tpm))
    assert outcomes(fresh, ALLOWED, TDX, late, GUEST) == NOTED | {"tdx.collateral.age": "fail"}
    listed = "[evidence]\nmax_crl_age_seconds = 60\n"
    assert outcomes(fresh, ALLOWED, TDX, listed, GUEST) == NOTED | {"tdx.crl.age": "fail"}
    assert outcomes(claims, ALLOWED, SNP, listed, GUEST) == NOTED | {"snp.crl.age": "fail"}


def test_operators_name_the_hardware_below_the_paravisor(claims: VtpmClaims) -> None:
    chip = claims.hardware.report.chip_id.hex()  # type: ignore[union-attr]
    assert outcomes(claims, ALLOWED, f'[operators.a]\nchip_ids = ["{chip}"]\n', SNP, GUEST) == NOTED
    other = f'[operators.a]\nchip_ids = ["{"00" * 64}"]\n'
    assert outcomes(claims, ALLOWED, other, SNP, GUEST) == NOTED | {"platform.operator": "fail"}


def with_pcrs(claims: VtpmClaims, **changes: bytes) -> VtpmClaims:
    """The claims with some PCRs replaced."""
    values = dict(claims.pcrs or {}) | {int(name[3:]): value for name, value in changes.items()}
    return replace(claims, pcrs=values)


@pytest.mark.parametrize("index", range(16))
def test_every_pcr_up_to_15_counts(claims: VtpmClaims, index: int) -> None:
    other = with_pcrs(claims, **{f"pcr{index}": b"\x09" * 32})
    assert outcomes(other, ALLOWED, SNP, GUEST) == NOTED | {"azure.measurement": "fail"}
    ignoring = f'[azure]\nunjudged_registers = ["pcr{index}"]\n'
    assert outcomes(other, ALLOWED, ignoring, SNP, GUEST) == NOTED | {"azure.unjudged": "noted"}


def test_a_pcr_that_a_set_does_not_state_has_to_be_zero(claims: VtpmClaims) -> None:
    fewer = GUEST.replace(f'pcr8 = "{PCRS[8].hex()}"\n', "")
    assert outcomes(claims, ALLOWED, SNP, fewer) == NOTED | {"azure.measurement": "fail"}
    assert outcomes(with_pcrs(claims, pcr8=bytes(32)), ALLOWED, SNP, fewer) == NOTED


def test_pcrs_from_16_on_are_not_judged(claims: VtpmClaims) -> None:
    assert outcomes(with_pcrs(claims, pcr16=b"\x01" * 32, pcr23=b"\x02" * 32), ALLOWED, SNP, GUEST) == NOTED


def test_without_pcr_values_it_cannot_be_decided(claims: VtpmClaims) -> None:
    assert outcomes(replace(claims, pcrs=None), ALLOWED, SNP, GUEST) == (
        NOTED | {"azure.measurement": "undecided"}
    )
    partly = {index: value for index, value in (claims.pcrs or {}).items() if index != 7}
    assert outcomes(replace(claims, pcrs=partly), ALLOWED, SNP, GUEST) == (
        NOTED | {"azure.measurement": "undecided"}
    )


@pytest.mark.parametrize(
    ("check_id", "changes", "refusing", "allowing"),
    [
        ("azure.secure_boot", {"secure_boot": False}, "", "require_secure_boot = false\n"),
        ("azure.console", {"console_enabled": True}, "require_console_disabled = true\n", ""),
    ],
)
def test_the_machines_configuration_is_judged(
    claims: VtpmClaims, check_id: str, changes: dict[str, Any], refusing: str, allowing: str
) -> None:
    other = replace(claims, **changes)
    assert outcomes(other, ALLOWED, f"[azure]\n{refusing}", SNP, GUEST) == NOTED | {check_id: "fail"}
    assert outcomes(other, ALLOWED, f"[azure]\n{allowing}", SNP, GUEST) == NOTED


def maa_table(maa: MaaWorld, extra: str = "") -> str:
    """A policy's table that pins the forged issuer."""
    (issuer, pins), *_ = maa.issuers.items()
    listed = ", ".join(f'"{write_pin(pin)}"' for pin in sorted(pins))
    return f'[azure.maa]\nissuers = {{ "{issuer}" = [{listed}] }}\n{extra}'


def test_a_token_that_agrees_changes_nothing(signed: AzureSigned, claims: VtpmClaims, maa: MaaWorld) -> None:
    with_token = replace(claims, maa_token=maa.token(signed), maa_keys=maa.keys)
    assert outcomes(with_token, ALLOWED, SNP, GUEST, maa_table(maa)) == {}


def test_a_token_that_disagrees_refuses(signed: AzureSigned, claims: VtpmClaims, maa: MaaWorld) -> None:
    lying = maa.token(signed, hardware={"x-ms-sevsnpvm-launchmeasurement": "00" * 48})
    with_token = replace(claims, maa_token=lying, maa_keys=maa.keys)
    assert outcomes(with_token, ALLOWED, SNP, GUEST, maa_table(maa)) == {"azure.maa.agreement": "fail"}


def test_a_token_whose_issuer_nobody_named_is_only_noted(
    signed: AzureSigned, claims: VtpmClaims, maa: MaaWorld
) -> None:
    with_token = replace(claims, maa_token=maa.token(signed), maa_keys=maa.keys)
    assert outcomes(with_token, ALLOWED, SNP, GUEST) == NOTED


def test_a_token_that_is_required_and_missing_leaves_it_undecided(claims: VtpmClaims, maa: MaaWorld) -> None:
    assert outcomes(claims, ALLOWED, SNP, GUEST, maa_table(maa)) == NOTED
    required = maa_table(maa, "required = true\n")
    assert outcomes(claims, ALLOWED, SNP, GUEST, required) == {"azure.maa.present": "undecided"}
