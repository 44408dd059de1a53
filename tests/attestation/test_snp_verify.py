"""Forged hierarchies: what is accepted, and for every rule something that only this rule refuses."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from attestation.check import Outcome, Stage
from attestation.model import Tcb
from attestation.snp.verify import RULES
from enclave.tee import dev
from tests.fakes.amd import CSP, NOW, VLEK_FLAGS, Signed, World

N = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFC7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973
YEAR = timedelta(days=366)
OID = "1.3.6.1.4.1.3704.1"


@pytest.mark.parametrize("product", ["Milan", "Genoa", "Turin"])
@pytest.mark.parametrize("version", [2, 3, 4, 5])
@pytest.mark.parametrize("key", ["vcek", "vlek"])
def test_accepts_every_product_report_version_and_signing_key(
    worlds: dict[str, World], product: str, version: int, key: str
) -> None:
    world = worlds[product]
    signed = world.issue(version=version) if key == "vcek" else world.issue_vlek(version=version)
    checks, claims = signed.authenticate()
    noted = [check.id for check in checks if check.outcome is Outcome.NOTED]
    assert noted == ["snp.crl"]
    assert {check.outcome for check in checks} == {Outcome.PASS, Outcome.NOTED}
    assert claims is not None
    assert (claims.product, claims.signing_key, claims.insecure) == (product, key, False)
    assert claims.reported_tcb == claims.committed_tcb == claims.launch_tcb == world.tcb
    assert (claims.hwid, claims.csp_id) == ((world.hwid, None) if key == "vcek" else (None, CSP))


def test_every_rule_becomes_one_check_of_its_own_even_when_nothing_was_supplied(genoa: World) -> None:
    bare = replace(genoa.issue(), certificates=())
    checks, claims = bare.authenticate()
    assert claims is None
    assert [check.id for check in checks] == [rule.id for rule in RULES]
    assert len({check.id for check in checks}) == len(checks)
    assert all(check.stage is Stage.AUTHENTICATE and check.expected and check.reference for check in checks)


def test_certificates_may_come_in_any_order_and_more_than_once(genoa: World) -> None:
    signed = genoa.issue()
    jumbled = replace(signed, certificates=signed.certificates[::-1] + signed.certificates)
    assert jumbled.outcomes() == {}


@pytest.mark.parametrize("missing", [0, 1, 2])
def test_a_missing_certificate_is_undecided_and_never_authentic(genoa: World, missing: int) -> None:
    signed = genoa.issue()
    rest = tuple(der for index, der in enumerate(signed.certificates) if index != missing)
    checks, claims = replace(signed, certificates=rest).authenticate()
    assert claims is None
    outcomes = {check.id: check.outcome for check in checks}
    assert outcomes["snp.chain.root"] is Outcome.UNDECIDED
    assert outcomes["snp.chain.signatures"] is Outcome.UNDECIDED


# --- the report itself ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "offset"),
    [
        *((2, 0x188), (2, 0x18A), (2, 0x1F8), (3, 0x1F8), (4, 0x207), (5, 0x04C)),
        *((5, 0x18B), (5, 0x19F), (5, 0x1EB), (5, 0x1EF), (5, 0x208), (5, 0x29F)),
    ],
)
def test_refuses_a_reserved_byte_that_is_not_zero(genoa: World, version: int, offset: int) -> None:
    body = bytearray(dev.encode_report(genoa.fields(version=version)))
    body[offset] = 1
    vek = genoa.vcek()
    signed = replace(genoa.issue(vek), report=dev.sign_report(bytes(body), vek.key))
    assert signed.outcomes() == {"snp.report.reserved": "fail"}


@pytest.mark.parametrize("policy", [0, 1 << 17 | 1 << 26, 1 << 17 | 1 << 63])
def test_refuses_policy_bits_that_nobody_has_defined(genoa: World, policy: int) -> None:
    assert genoa.issue(policy=policy).outcomes() == {"snp.report.reserved": "fail"}


def test_refuses_flags_that_nobody_has_defined(genoa: World) -> None:
    assert genoa.issue(flags=1 << 5).outcomes() == {"snp.report.reserved": "fail"}


def test_accepts_the_platform_bit_that_is_reserved_on_paper_but_set_in_the_field(genoa: World) -> None:
    assert genoa.issue(platform_info=0x65).outcomes() == {}


@pytest.mark.parametrize("algorithm", [0, 2])
def test_refuses_another_signature_algorithm(genoa: World, algorithm: int) -> None:
    assert genoa.issue(signature_algo=algorithm).outcomes() == {"snp.report.algorithm": "fail"}


def test_refuses_a_masked_chip_key(genoa: World) -> None:
    assert genoa.issue(flags=1 << 1).outcomes() == {"snp.report.mask_chip_key": "fail"}


def test_refuses_a_report_that_says_no_key_signed_it(genoa: World) -> None:
    assert genoa.issue(flags=7 << 2).outcomes() == {"snp.vek.kind": "fail"}


@pytest.mark.parametrize("offset", [0x2A0 + 48, 0x2A0 + 71, 0x2A0 + 72 + 48, 0x2A0 + 143, 0x2A0 + 144, 1183])
def test_refuses_unsigned_bytes_that_are_not_zero(genoa: World, offset: int) -> None:
    assert genoa.issue().with_byte(offset).outcomes() == {"snp.signature.encoding": "fail"}


@pytest.mark.parametrize("offset", [0x050, 0x090, 0x1A0, 0x29F, 0x2A0, 0x2A0 + 72])
def test_refuses_any_change_to_signed_bytes_or_signature(genoa: World, offset: int) -> None:
    assert genoa.issue().with_byte(offset).outcomes()["snp.signature"] == "fail"


@pytest.mark.parametrize("r_and_s", [(0, 0), (1, 1), (N, 1), (1, N), (2**384 - 1, 2**384 - 1)])
def test_refuses_degenerate_signatures(genoa: World, r_and_s: tuple[int, int]) -> None:
    signed = genoa.issue()
    halves = b"".join(value.to_bytes(72, "little") for value in r_and_s)
    assert replace(signed, report=signed.report[:0x2A0] + halves + bytes(368)).outcomes() == {
        "snp.signature": "fail"
    }


# --- the signing key's certificate ------------------------------------------------------------------------


def test_refuses_a_report_signed_by_another_key_than_the_certified_one(genoa: World) -> None:
    other = ec.generate_private_key(ec.SECP384R1())
    assert genoa.issue(signer=other).outcomes() == {"snp.signature": "fail"}


def test_refuses_a_signing_key_on_another_curve(genoa: World) -> None:
    vek = genoa.vcek(curve=ec.SECP256R1())
    assert genoa.issue(vek).outcomes() == {"snp.vek.key": "fail", "snp.signature": "fail"}


@pytest.mark.parametrize("component", ["bootloader", "tee", "snp", "microcode"])
@pytest.mark.parametrize("step", [-1, 1])
@pytest.mark.parametrize("product", ["Milan", "Turin"])
def test_refuses_a_key_certified_for_another_tcb_in_any_component_and_direction(
    worlds: dict[str, World], product: str, component: str, step: int
) -> None:
    world = worlds[product]
    level = getattr(world.tcb, component)
    certified = replace(world.tcb, **{component: level + step if level + step >= 0 else level + 2})
    assert world.issue(world.vcek(tcb=certified)).outcomes() == {"snp.vek.tcb": "fail"}


def test_refuses_a_turin_key_certified_for_another_fmc(worlds: dict[str, World]) -> None:
    world = worlds["Turin"]
    vek = world.vcek(tcb=replace(world.tcb, fmc=0))
    assert world.issue(vek).outcomes() == {"snp.vek.tcb": "fail"}


@pytest.mark.parametrize("byte", [2, 3, 4, 5])
def test_refuses_a_reserved_byte_in_the_reported_tcb(genoa: World, byte: int) -> None:
    raw = bytearray(genoa.fields().reported_tcb_raw)
    raw[byte] = 1
    assert genoa.issue(reported_tcb_raw=bytes(raw)).outcomes() == {"snp.vek.tcb": "fail"}


def test_only_the_reported_tcb_is_bound_to_the_certificate(genoa: World) -> None:
    older = bytes([9, 0, 0, 0, 0, 0, 20, 80])
    signed = genoa.issue(current_tcb_raw=older, committed_tcb_raw=older, launch_tcb_raw=older)
    _, claims = signed.authenticate()
    assert claims is not None
    assert claims.committed_tcb == Tcb(9, 0, 20, 80)
    assert claims.reported_tcb == genoa.tcb


@pytest.mark.parametrize("product", ["Milan", "Genoa", "Turin"])
@pytest.mark.parametrize("position", [0, 7, 8, 63])
def test_refuses_another_chip_than_the_certified_one(
    worlds: dict[str, World], product: str, position: int
) -> None:
    world = worlds[product]
    chip = bytearray(world.chip_id)
    chip[position] ^= 0x80
    assert world.issue(chip_id=bytes(chip)).outcomes() == {"snp.vek.chip": "fail"}


def test_refuses_a_masked_chip_id_under_a_vcek(genoa: World) -> None:
    assert genoa.issue(chip_id=bytes(64)).outcomes() == {"snp.vek.chip": "fail"}


def test_refuses_a_vcek_without_a_hardware_id(genoa: World) -> None:
    assert genoa.issue(genoa.vcek(hwid=None)).outcomes() == {"snp.vek.chip": "fail"}


def test_refuses_a_vcek_that_names_a_provider(genoa: World) -> None:
    extensions = dev.vek_extensions("Genoa", genoa.tcb, hwid=genoa.hwid, csp_id=CSP)
    assert genoa.issue(genoa.vcek(extensions=extensions)).outcomes() == {"snp.vek.chip": "fail"}


def test_refuses_a_vlek_that_names_no_provider_or_names_a_chip(genoa: World) -> None:
    assert genoa.issue_vlek(genoa.vlek(csp_id=None)).outcomes() == {"snp.vek.chip": "fail"}
    assert genoa.issue_vlek(genoa.vlek(hwid=bytes(64))).outcomes() == {"snp.vek.chip": "fail"}


def test_refuses_a_vcek_where_the_report_says_vlek_and_the_reverse(genoa: World) -> None:
    assert genoa.issue(flags=VLEK_FLAGS).outcomes() == {"snp.vek.kind": "fail"}
    assert genoa.issue_vlek(flags=0).outcomes() == {"snp.vek.kind": "fail"}


def test_refuses_a_vcek_issued_under_the_vlek_authority(genoa: World) -> None:
    vek = genoa.vcek(issuer=genoa.asvk, issuer_name="SEV-VLEK-Genoa")
    assert genoa.issue(vek, issuer=genoa.asvk).outcomes() == {"snp.chain.names": "fail"}


@pytest.mark.parametrize("suffix", [".1", ".2", ".3.1", ".3.2", ".3.3", ".3.8"])
def test_refuses_a_certificate_without_one_of_amds_extensions(genoa: World, suffix: str) -> None:
    extensions = dev.vek_extensions("Genoa", genoa.tcb, hwid=genoa.hwid)
    del extensions[OID + suffix]
    outcomes = genoa.issue(genoa.vcek(extensions=extensions)).outcomes()
    assert outcomes["snp.vek.extensions"] == "fail"
    assert outcomes["snp.vek.tcb"] == "fail"


def test_refuses_a_reserved_patch_level_that_is_not_zero(genoa: World) -> None:
    extensions = dev.vek_extensions("Genoa", genoa.tcb, hwid=genoa.hwid)
    extensions[OID + ".3.5"] = dev.der_integer(1)
    outcomes = genoa.issue(genoa.vcek(extensions=extensions)).outcomes()
    assert outcomes["snp.vek.extensions"] == "fail"


def test_of_a_reissued_certificate_the_one_that_is_still_valid_is_used(genoa: World) -> None:
    signed = genoa.issue()
    stale = _reissue(genoa, signed, now=NOW - YEAR)
    both = replace(signed, certificates=(stale, *signed.certificates))
    assert both.outcomes() == {}
    alone = replace(signed, certificates=(stale, *signed.certificates[1:]))
    assert alone.outcomes() == {"snp.chain.validity": "fail"}


def _reissue(world: World, signed: Signed, *, now: datetime) -> bytes:
    """The same VCEK key and extensions in a certificate issued about `now`."""
    old = x509.load_der_x509_certificate(signed.certificates[0])
    key = old.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    builder = dev.certificate_builder("SEV-VCEK", "SEV-Genoa", key, now=now)
    for extension in old.extensions:
        builder = builder.add_extension(extension.value, critical=False)
    return dev.sign_pss(builder, world.hierarchy.ask.key).public_bytes(Encoding.DER)


# --- product ----------------------------------------------------------------------------------------------


def test_refuses_a_cpuid_of_another_product_or_of_none(genoa: World) -> None:
    for cpuid in ((0x19, 0x01, 1), (0x1A, 0x02, 1), (0x17, 0x31, 0), (0x1A, 0x50, 0)):
        assert genoa.issue(cpuid=cpuid).outcomes() == {"snp.vek.product": "fail"}


def test_refuses_a_certificate_that_names_another_product(genoa: World) -> None:
    extensions = dev.vek_extensions("Milan", genoa.tcb, hwid=genoa.hwid)
    assert genoa.issue(genoa.vcek(extensions=extensions)).outcomes() == {"snp.vek.product": "fail"}


def test_the_product_of_a_version_2_report_is_the_roots_not_the_certificates(genoa: World) -> None:
    """A Genoa root vouches for Genoa, whatever the certificates below it call themselves."""
    extensions = dev.vek_extensions("Milan", genoa.tcb, hwid=genoa.hwid)
    outcomes = genoa.issue(genoa.vcek(extensions=extensions), version=2).outcomes()
    assert outcomes == {"snp.vek.product": "fail"}


def test_refuses_a_root_pinned_for_another_product_than_the_chain_names(genoa: World) -> None:
    signed = genoa.issue(version=2)
    mixed = replace(signed, roots={"Milan": signed.roots["Genoa"]})
    assert mixed.outcomes() == {"snp.chain.names": "fail", "snp.vek.product": "fail"}
