"""Which devices and which unknown features a machine may have, and which product an ID block was made for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from attestation.appraise import appraise_hardware
from attestation.check import Check
from attestation.errors import PolicyInvalid
from attestation.policy.draft import draft_policy
from attestation.policy.toml import parse_policy
from attestation.snp.abi import platform_info
from attestation.snp.verify import SnpClaims
from enclave.tee.dev import MEASUREMENT
from tests.fakes.amd import NOW, World
from tests.fakes.claims import snp_claims

HEAD = f'format = "casemate/policy/1"\n[snp]\nmeasurements = ["{MEASUREMENT.hex()}"]\n'
GOOD_MACHINE = 0x24  # error correction, aliases checked
OURS, OTHER = "0f" * 16, "0e" * 16
KEY = "02" * 48
TRUSTING = f'id_key_digests = ["{KEY}"]\ntrust_id_key = true\n'


@pytest.fixture(scope="module")
def claims(genoa: World) -> SnpClaims:
    """A machine that the default policy accepts once its measurement is named."""
    return snp_claims(genoa.issue(measurement=MEASUREMENT, crls=(genoa.crl(),)))


def objections(claims: SnpClaims, toml: str = "") -> dict[str, Check]:
    """What did not pass, by id."""
    checks = appraise_hardware(claims, parse_policy((HEAD + toml).encode()), now=NOW)
    return {check.id: check for check in checks if check.outcome.value != "pass"}


def machine(claims: SnpClaims, bits: int) -> SnpClaims:
    """The claims of a machine with these further bits in PLATFORM_INFO."""
    return replace(claims, report=replace(claims.report, platform_info=platform_info(GOOD_MACHINE | bits)))


def block(claims: SnpClaims, family: str = OURS, image: str = OURS) -> SnpClaims:
    """The claims of a guest that an ID block launched."""
    ids: dict[str, Any] = {"family_id": bytes.fromhex(family), "image_id": bytes.fromhex(image)}
    key = bytes.fromhex(KEY)
    return replace(claims, report=replace(claims.report, id_key_digest=key, measurement=bytes(48), **ids))


def test_devices_inside_the_guests_trust_are_refused_unless_the_policy_allows_them(claims: SnpClaims) -> None:
    found = objections(machine(claims, 1 << 7))
    assert set(found) == {"snp.tio"}
    assert (found["snp.tio"].expected, found["snp.tio"].found) == ("off", "on")
    assert objections(machine(claims, 1 << 7), "allow_tio = true\n") == {}


def test_a_draft_states_that_devices_are_inside_only_where_they_are(claims: SnpClaims) -> None:
    assert "allow_tio = true" in draft_policy(machine(claims, 1 << 7))
    assert "allow_tio" not in draft_policy(claims)


@pytest.mark.parametrize("bit", [8, 20, 63])
def test_a_feature_of_the_machine_that_nobody_described_is_refused(claims: SnpClaims, bit: int) -> None:
    found = objections(machine(claims, 1 << bit), "allow_tio = true\n")
    assert set(found) == {"snp.platform.unknown"}
    assert found["snp.platform.unknown"].found == f"{1 << bit:#x}"


def test_bit_6_is_tolerated_because_real_machines_set_it(claims: SnpClaims) -> None:
    assert objections(machine(claims, 1 << 6)) == {}


@pytest.mark.parametrize("field", ["family_id", "image_id"])
def test_an_id_is_judged_only_where_the_policy_states_it(claims: SnpClaims, field: str) -> None:
    other: dict[str, Any] = {field: bytes.fromhex(OURS)}
    launched = replace(claims, report=replace(claims.report, **other))
    assert objections(launched) == {}
    assert objections(launched, f'{field}s = ["{OTHER}", "{OURS}"]\n') == {}
    refused = objections(launched, f'{field}s = ["{OTHER}"]\n')
    assert set(refused) == {f"snp.{field}"}
    assert (refused[f"snp.{field}"].expected, refused[f"snp.{field}"].found) == (OTHER, OURS)
    assert set(objections(launched, f"{field}s = []\n")) == {f"snp.{field}"}
    assert set(objections(claims, f'{field}s = ["{OURS}"]\n')) == {f"snp.{field}"}


def test_a_key_that_signed_several_products_vouches_only_for_the_one_that_the_policy_names(
    claims: SnpClaims,
) -> None:
    toml = f'{TRUSTING}family_ids = ["{OURS}"]\nimage_ids = ["{OURS}"]\n'
    assert objections(block(claims), toml) == {}
    assert set(objections(block(claims, family=OTHER), toml)) == {"snp.family_id"}
    assert set(objections(block(claims, image=OTHER), toml)) == {"snp.image_id"}


@pytest.mark.parametrize("stated", ["", f'family_ids = ["{OURS}"]\n', f'image_ids = ["{OURS}"]\n'])
@pytest.mark.parametrize("table", ["snp", "azure.snp"])
def test_whoever_trusts_a_key_says_for_which_product(stated: str, table: str) -> None:
    toml = f'format = "casemate/policy/1"\n[{table}]\n{TRUSTING}{stated}'
    with pytest.raises(PolicyInvalid, match=r"trust_id_key.*family_ids and image_ids"):
        parse_policy(toml.encode())


@pytest.mark.parametrize("field", ["family_ids", "image_ids"])
def test_an_id_has_32_hexadecimal_digits(field: str) -> None:
    with pytest.raises(PolicyInvalid, match=field):
        parse_policy((HEAD + f'{field} = ["{"0f" * 15}"]\n').encode())


CHECKS = {"snp.tio", "snp.platform.unknown", "snp.family_id", "snp.image_id"}


def test_every_report_is_judged_by_each_of_these_rules(claims: SnpClaims) -> None:
    made = [check.id for check in appraise_hardware(claims, parse_policy(HEAD.encode()), now=NOW)]
    assert [made.count(check_id) for check_id in CHECKS] == [1] * len(CHECKS)
