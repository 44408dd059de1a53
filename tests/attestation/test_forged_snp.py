"""What no collected AMD report shows: revoked keys, VLEKs of every product, ciphertext hiding that is on."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography import x509

from attestation.appraise.baseline import appraise_baseline
from attestation.appraise.hardware import appraise_hardware
from attestation.check import DECIDES_NOTHING_BAD, Check
from attestation.policy.model import Operator, Policy, SnpPolicy
from attestation.snp.verify import SnpClaims
from enclave.tee.dev import MEASUREMENT
from tests.fakes.amd import CSP, NOW, Signed, World

HIDING_POLICY, HIDING_MACHINE = 1 << 24, 1 << 4
MEASURED = SnpPolicy(measurements=frozenset({MEASUREMENT}), require_crl=False)


def claims_of(signed: Signed) -> SnpClaims:
    """The claims of a report that is authentic."""
    _, claims = signed.authenticate()
    assert claims is not None
    return claims


def refusals(claims: SnpClaims, policy: Policy) -> set[str]:
    """Ids of the policy's checks that object."""
    return _bad(appraise_hardware(claims, policy, now=NOW))


def _bad(checks: list[Check]) -> set[str]:
    return {check.id for check in checks if check.outcome not in DECIDES_NOTHING_BAD}


# --- revocation -------------------------------------------------------------------------------------------


def _revoked(world: World, *, crl_sign: bool, until: timedelta = timedelta(days=30)) -> Signed:
    """A report whose VCEK is on a list of the ASK that issued it."""
    ask = world.intermediate(crl_sign=crl_sign)
    vek = world.vcek()
    certificate = x509.load_der_x509_certificate(vek.certificate)
    crl = world.crl(certificate, issuer=ask, made=NOW - timedelta(days=9), until=NOW + until)
    return world.issue(vek, issuer=ask, crls=[crl])


@pytest.mark.parametrize("until", [timedelta(days=30), timedelta(days=-1)])
def test_refuses_a_revoked_vcek_even_by_a_list_that_has_expired(genoa: World, until: timedelta) -> None:
    signed = _revoked(genoa, crl_sign=True, until=until)
    assert signed.outcomes() == {"snp.crl": "fail"}
    checks, _ = signed.authenticate()
    assert "SEV-VCEK" in next(check.found for check in checks if check.id == "snp.crl")


def test_a_list_of_the_intermediate_that_names_another_chip_harms_nobody(genoa: World) -> None:
    signed = _revoked(genoa, crl_sign=True)
    other = genoa.vcek()
    chain = (other.certificate, *signed.certificates[1:])
    fitting = replace(genoa.issue(other, issuer=genoa.intermediate(crl_sign=True)), crls=signed.crls)
    assert replace(fitting, certificates=chain).outcomes() == {}


def test_a_list_of_an_intermediate_that_may_not_sign_lists_is_not_ignored(genoa: World) -> None:
    """AMD's own intermediates may not: whoever supplies such a list supplies a wrong one."""
    assert _revoked(genoa, crl_sign=False).outcomes() == {"snp.crl": "fail"}


def test_a_list_in_the_intermediates_name_by_another_key_is_refused(genoa: World) -> None:
    ask = genoa.intermediate(crl_sign=True)
    forged = genoa.crl(issuer=ask, signer=genoa.asvk)
    assert genoa.issue(issuer=ask, crls=[forged]).outcomes() == {"snp.crl": "fail"}


def test_the_intermediates_list_does_not_stand_for_the_roots(genoa: World) -> None:
    """What a policy demands with require_crl is the root's list, the one that AMD publishes."""
    ask = genoa.intermediate(crl_sign=True)
    claims = claims_of(genoa.issue(issuer=ask, crls=[genoa.crl(issuer=ask)]))
    assert claims.crl_this_update is None
    demanding = Policy(snp=replace(MEASURED, require_crl=True))
    assert refusals(claims, demanding) == {"snp.crl.present"}


@pytest.mark.parametrize("product", ["Milan", "Genoa", "Turin"])
def test_refuses_a_vlek_whose_authority_is_revoked(worlds: dict[str, World], product: str) -> None:
    world = worlds[product]
    crl = world.crl(world.asvk.certificate)
    assert world.issue_vlek(crls=[crl]).outcomes() == {"snp.crl": "fail"}
    assert world.issue(crls=[crl]).outcomes() == {}


# --- VLEK on Genoa and Turin ------------------------------------------------------------------------------


@pytest.mark.parametrize("product", ["Genoa", "Turin"])
def test_a_vlek_is_accepted_from_the_provider_that_a_policy_names_and_from_no_other(
    worlds: dict[str, World], product: str
) -> None:
    claims = claims_of(worlds[product].issue_vlek())
    snp = replace(MEASURED, signing_keys=frozenset({"vlek"}))
    named = Policy(snp=snp, operators=(Operator("cloud", csp_ids=frozenset({CSP})),))
    assert refusals(claims, named) == set()
    assert refusals(claims, Policy(snp=snp)) == {"platform.operator"}
    other = Policy(snp=snp, operators=(Operator("other", csp_ids=frozenset({"CN=other"})),))
    assert refusals(claims, other) == {"platform.operator"}
    assert refusals(claims, replace(named, snp=MEASURED)) == {"snp.signing_key"}
    assert _bad(appraise_baseline(claims)) == set()


def test_a_provider_named_for_its_vleks_does_not_vouch_for_a_chip(genoa: World) -> None:
    named = Policy(snp=MEASURED, operators=(Operator("cloud", csp_ids=frozenset({CSP})),))
    assert refusals(claims_of(genoa.issue()), named) == {"platform.operator"}


def test_a_turin_vlek_is_bound_to_turins_own_patch_levels(worlds: dict[str, World]) -> None:
    turin = worlds["Turin"]
    raw = bytearray(turin.fields().reported_tcb_raw)
    raw[0] ^= 1  # FMC, which no other product has
    assert turin.issue_vlek(reported_tcb_raw=bytes(raw)).outcomes() == {"snp.vek.tcb": "fail"}


def test_a_vlek_of_one_product_does_not_verify_another_products_report(worlds: dict[str, World]) -> None:
    genoa, turin = worlds["Genoa"], worlds["Turin"]
    crossed = replace(genoa.issue_vlek(), certificates=turin.issue_vlek().certificates)
    assert crossed.outcomes()["snp.signature"] == "fail"
    assert crossed.outcomes()["snp.chain.root"] == "fail"


# --- ciphertext hiding ------------------------------------------------------------------------------------


def test_ciphertext_hiding_is_read_from_guest_and_machine_and_may_be_demanded(
    worlds: dict[str, World],
) -> None:
    turin = worlds["Turin"]
    demanding = Policy(snp=replace(MEASURED, require_ciphertext_hiding=True))
    both = {"policy": 1 << 17 | HIDING_POLICY, "platform_info": 0x24 | HIDING_MACHINE}
    assert refusals(claims_of(turin.issue(**both)), demanding) == set()
    for missing in ({"policy": 1 << 17}, {"platform_info": 0x24}):
        claims = claims_of(turin.issue(**both | missing))
        assert refusals(claims, demanding) == {"snp.ciphertext_hiding"}
        assert refusals(claims, Policy(snp=MEASURED)) == set()


@pytest.mark.parametrize("bit", range(18, 26))
def test_every_policy_bit_that_amd_defines_is_authentic_and_told(genoa: World, bit: int) -> None:
    claims = claims_of(genoa.issue(policy=1 << 17 | 1 << bit))
    told = claims.report.policy
    flags = {
        18: told.migrate_ma,
        19: told.debug,
        20: told.single_socket,
        21: told.cxl_allow,
        22: told.mem_aes_256_xts,
        23: told.rapl_dis,
        24: told.ciphertext_hiding,
        25: told.page_swap_disable,
    }
    assert {place for place, on in flags.items() if on} == {bit}


# --- bytes of certificates that nobody signs --------------------------------------------------------------


@pytest.mark.parametrize("index", [0, 1, 2])
def test_refuses_a_certificate_whose_signature_claims_unused_bits(genoa: World, index: int) -> None:
    signed = genoa.issue()
    chain = [bytearray(der) for der in signed.certificates]
    signature = x509.load_der_x509_certificate(signed.certificates[index]).signature
    chain[index][-len(signature) - 1] = 1
    changed = replace(signed, certificates=tuple(bytes(der) for der in chain))
    assert changed.outcomes()["snp.certificates"] == "fail"


def test_refuses_an_intermediate_with_a_negative_serial_number(genoa: World) -> None:
    """No list could name it, and libraries raise where they are asked to look."""
    signed = genoa.issue(crls=[genoa.crl()])
    der = bytearray(signed.certificates[1])
    serial = der.index(b"\xa0\x03\x02\x01\x02\x02") + 7  # behind the version: tag and length, then the number
    der[serial] = 0x80
    changed = replace(signed, certificates=(signed.certificates[0], bytes(der), signed.certificates[2]))
    assert changed.outcomes()["snp.crl"] == "fail"
    assert changed.outcomes()["snp.chain.signatures"] == "fail"
