"""Forged Intel hierarchies: what is accepted, and for every rule something that only this rule refuses."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from attestation.errors import MalformedEvidence
from tests.fakes.amd import NOW
from tests.fakes.intel import (
    PLATFORM_CA,
    PROCESSOR_CA,
    ROOT,
    IntelWorld,
    certify,
    derived_key,
    pem_of,
    spki_sha256,
)
from tests.fakes.intel_layout import DEBUG, MIGRATABLE, SEPT_VE_DISABLE
from tests.fakes.judges import authenticate_tdx, objections, tdx_objections

FORMS = [{"version": 4}, *({"version": 5, "body_type": body_type} for body_type in (2, 3, 4))]
STRANGER = derived_key("a stranger")
HOUR, MONTH = timedelta(hours=1), timedelta(days=31)


@pytest.mark.parametrize("form", FORMS)
def test_accepts_every_form_of_quote_and_tells_what_it_says(intel: IntelWorld, form: dict[str, int]) -> None:
    signed = intel.issue(**form)
    checks, claims, facts = authenticate_tdx(signed)
    assert objections(checks) == {}
    assert claims is not None
    assert (claims.body.mrtd, claims.body.report_data) == (signed.td.mrtd, signed.td.report_data)
    assert (claims.status, claims.platform_status, claims.qe_status) == ("UpToDate",) * 3
    assert (claims.module_status, claims.advisory_ids, claims.insecure) == ("UpToDate", (), False)
    assert claims.evaluation_number == 20
    assert claims.collateral_issued == claims.root_crl_issued == NOW - timedelta(days=1)
    assert claims.root_spki_sha256 == spki_sha256(intel.root)
    assert (facts["version"], facts["tcb_status"]) == (form["version"], "UpToDate")


def test_the_extended_report_of_tdx_1_5_is_read_to_its_last_field(intel: IntelWorld) -> None:
    extended = {"td_id": b"\x01" * 32, "initial_servtd_hash": b"\x02" * 48, "servtd_attributes": b"\x03" * 8}
    _, claims, _ = authenticate_tdx(intel.issue(version=5, body_type=4, **extended))
    assert claims is not None
    assert len(claims.body.raw) == 885
    assert claims.body.raw.endswith(b"\x03" * 8)
    assert claims.body.mrservicetd == bytes(48)


def test_accepts_the_processor_authority_as_well(intel: IntelWorld) -> None:
    processor = certify("processor", PROCESSOR_CA, intel.root, path_length=0)
    plain = {"platform_instance_id": None, "configuration": None}
    assert tdx_objections(intel.issue(issuer=processor, **plain)) == {}


# --- the quote --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ({"attestation_signer": STRANGER}, {"tdx.quote.signature": "fail"}),
        ({"qe_signer": STRANGER}, {"tdx.qe.signature": "fail"}),
        ({"qe_report_data": bytes(64)}, {"tdx.qe.binding": "fail"}),
        ({"qe_vendor": bytes(16)}, {"tdx.quote.header": "fail"}),
        ({"outer_type": 5}, {"tdx.quote.header": "fail"}),
        ({"outer_type": 7}, {"tdx.quote.header": "fail"}),
        ({"padding": bytes(9) + b"\1"}, {"tdx.quote.padding": "fail"}),
        ({"qe_mrsigner": b"\1" * 32}, {"tdx.qe.identity": "fail"}),
        ({"qe_isvprodid": 1}, {"tdx.qe.identity": "fail"}),
        ({"qe_miscselect": b"\0\0\0\1"}, {"tdx.qe.identity": "fail"}),
        ({"qe_attributes": bytes((0x17,)) + bytes(15)}, {"tdx.qe.identity": "fail"}),
    ],
)
def test_one_wrong_thing_in_the_quote_is_refused_by_its_own_rule_alone(
    intel: IntelWorld, wrong: dict[str, Any], expected: dict[str, str]
) -> None:
    for form in FORMS:
        assert tdx_objections(intel.issue(**form, **wrong)) == expected


def test_refuses_a_quoting_enclaves_binding_with_more_than_the_digest(intel: IntelWorld) -> None:
    bound = intel.issue().quote[770 + 320 : 770 + 352]
    assert tdx_objections(intel.issue(qe_report_data=bound + bytes(32))) == {}
    assert tdx_objections(intel.issue(qe_report_data=bound + b"\1" + bytes(31))) == {"tdx.qe.binding": "fail"}


def test_refuses_another_attestation_key_than_the_quoting_enclave_named(intel: IntelWorld) -> None:
    """The stranger's key signs the quote well, but no quoting enclave ever spoke of it."""
    honest, forged = intel.issue(), intel.issue(certified_key=STRANGER)
    start, end = honest.regions["qe.report"]
    swapped = forged.quote[:start] + honest.quote[start : end + 64] + forged.quote[end + 64 :]
    assert tdx_objections(replace(forged, quote=swapped)) == {"tdx.qe.binding": "fail"}


@pytest.mark.parametrize("size", [1, 70, 3000])
def test_tolerates_zeros_behind_the_quote_and_nothing_else(intel: IntelWorld, size: int) -> None:
    assert tdx_objections(intel.issue(padding=bytes(size))) == {}
    assert tdx_objections(intel.issue(padding=b"\1" + bytes(size - 1))) == {"tdx.quote.padding": "fail"}


@pytest.mark.parametrize(
    "wrong",
    [
        {"version": 6},
        {"version": 3},
        {"version": 2},
        {"key_type": 3},
        {"key_type": 0},
        {"tee_type": 1},
        {"tee_type": 0x80},
        {"version": 5, "body_type": 5},
        {"version": 5, "body_type": 1},
        {"version": 5, "body_type": 2, "body_size": 648},
        {"version": 5, "body_type": 3, "body_size": 584},
        {"version": 5, "body_type": 4, "body_size": 648},
        {"version": 5, "body_type": 3, "tee_type": 0},
        {"signature_size": 0},
        {"signature_size": 0xFFFFFFFF},
        {"outer_size": 10},
        {"auth_size": 31},
        {"auth_size": 0xFFFF},
        {"chain_size": 0},
        {"chain_size": 0xFFFFFFFF},
    ],
)
def test_an_unknown_kind_or_a_wrong_length_cannot_be_read(intel: IntelWorld, wrong: dict[str, Any]) -> None:
    with pytest.raises(MalformedEvidence):
        authenticate_tdx(intel.issue(**wrong))


def test_an_sgx_quote_is_refused_as_no_td_whatever_else_holds(intel: IntelWorld) -> None:
    """Byte for byte a good quote of an enclave: version 4, SGX report body, everything signed."""
    td = intel.issue()
    body = td.regions["body.report_data"][1]
    enclave = td.quote[:4] + bytes(4) + td.quote[8:48] + bytes(384) + td.quote[body:]
    against = tdx_objections(replace(td, quote=enclave))
    assert against["tdx.quote.tee"] == "fail"


# --- the platform's certificate and its authorities -------------------------------------------------------


def test_a_look_alike_of_intels_root_is_refused_by_its_key_alone(intel: IntelWorld) -> None:
    double = IntelWorld.forge("look-alike")
    assert double.root.certificate.subject == intel.root.certificate.subject
    signed = replace(double.issue(), roots=intel.roots)
    assert tdx_objections(signed) == {"tdx.pck.root": "fail"}


def test_a_development_root_is_insecure_and_only_if_it_is_the_named_one(intel: IntelWorld) -> None:
    signed = replace(intel.issue(), roots=frozenset())
    named = spki_sha256(intel.root)
    checks, claims, _ = authenticate_tdx(signed, development_root=named)
    assert objections(checks) == {"tdx.pck.root": "insecure"}
    assert claims is not None
    assert claims.insecure
    checks, claims, _ = authenticate_tdx(signed, development_root=bytes(32))
    assert (objections(checks), claims) == ({"tdx.pck.root": "fail"}, None)


def test_collateral_of_a_look_alike_does_not_vouch_for_a_genuine_platform(intel: IntelWorld) -> None:
    double = IntelWorld.forge("look-alike")
    against = tdx_objections(intel.issue().with_collateral(**_all(double.issue().collateral)))
    refused = {name for name, outcome in against.items() if outcome == "fail"}
    assert refused == {
        "tdx.crl.pck",
        "tdx.crl.root",
        "tdx.qe_identity.signature",
        "tdx.tcb_info.signature",
    }


def _all(collateral: Any) -> dict[str, Any]:
    return {name: getattr(collateral, name) for name in type(collateral).__slots__}


@pytest.mark.parametrize("name", ["Intel SGX TCB Signing", "Intel SGX PCK Certificate 2", PLATFORM_CA])
def test_refuses_a_platform_key_under_another_name(intel: IntelWorld, name: str) -> None:
    assert tdx_objections(intel.issue(pck_name=name)) == {"tdx.pck.names": "fail"}


def test_refuses_an_authority_under_another_name(intel: IntelWorld) -> None:
    named = certify("forged", "Intel SGX PCK Other CA", intel.root, path_length=0)
    assert tdx_objections(intel.issue(issuer=named)) == {"tdx.pck.names": "fail"}


def test_refuses_a_platform_key_directly_under_the_root(intel: IntelWorld) -> None:
    against = tdx_objections(intel.issue(issuer=intel.root))
    assert against["tdx.pck.names"] == "fail"


def test_refuses_an_authority_that_may_not_issue(intel: IntelWorld) -> None:
    against = tdx_objections(intel.issue(issuer=certify("forged", PLATFORM_CA, intel.root)))
    assert against["tdx.pck.authorities"] == "fail"


def test_refuses_a_platform_key_that_may_issue(intel: IntelWorld) -> None:
    extension = intel.issue().pck.certificate.extensions[-1].value
    leaf = certify("forged", "Intel SGX PCK Certificate", intel.ca, path_length=0, extension=extension)
    assert tdx_objections(intel.issue(pck=leaf)) == {"tdx.pck.authorities": "fail"}


def test_refuses_an_authority_that_the_root_did_not_sign(intel: IntelWorld) -> None:
    double = IntelWorld.forge("look-alike")
    chain = double.issue().pck.pem + double.ca.pem + intel.root.pem + b"\0"
    against = tdx_objections(intel.issue(pck=double.issue().pck, chain=chain))
    assert against["tdx.pck.signatures"] == "fail"


@pytest.mark.parametrize(
    "life",
    [
        {"pck_made": NOW + HOUR, "pck_until": NOW + MONTH},
        {"pck_made": NOW - MONTH, "pck_until": NOW - HOUR},
    ],
)
def test_refuses_a_platform_certificate_outside_its_life(intel: IntelWorld, life: dict[str, Any]) -> None:
    assert tdx_objections(intel.issue(**life)) == {"tdx.pck.validity": "fail"}


@pytest.mark.parametrize("chain", ["one", "two", "four", "none", "text"])
def test_refuses_a_quote_whose_chain_is_not_three_certificates(intel: IntelWorld, chain: str) -> None:
    leaf, ca, root = intel.issue().pck.pem, intel.ca.pem, intel.root.pem
    bad = {"one": leaf, "two": leaf + ca, "four": leaf + ca + root + root, "none": b"\0", "text": b"PEM"}
    against = tdx_objections(intel.issue(chain=bad[chain]))
    assert against["tdx.pck.signatures"] == "fail"
    assert against["tdx.qe.signature"] == "fail"


@pytest.mark.parametrize("extension", [b"", b"\x30\x00", b"\x05\x00", bytes(40), b"\x30\x82\xff\xff"])
def test_refuses_a_platform_certificate_without_intels_extension(intel: IntelWorld, extension: bytes) -> None:
    assert tdx_objections(intel.issue(pck_extension=extension))["tdx.pck.extension"] == "fail"


def test_a_forged_root_in_intels_name_is_not_helped_by_the_genuine_one_beside_it(intel: IntelWorld) -> None:
    """The chain is read in order: a pinned certificate that signed nothing of it does not lend it trust."""
    double = IntelWorld.forge("look-alike")
    assert double.root.certificate.subject == certify("third", ROOT, None, path_length=1).certificate.subject
    chain = double.issue().pck.pem + double.ca.pem + intel.root.pem + b"\0"
    signed = replace(double.issue(chain=chain), roots=intel.roots)
    assert tdx_objections(signed)["tdx.pck.signatures"] == "fail"


@pytest.mark.parametrize("number", [0x00, 0x80, 0xFF])
def test_a_serial_number_that_nobody_may_have_is_refused_and_no_surprise(
    intel: IntelWorld, number: int
) -> None:
    """Zero or negative numbers make certificate libraries warn or raise where they look into a CRL."""
    odd = certify("forged", PLATFORM_CA, intel.root, path_length=0, serial=1)
    der = odd.der.replace(b"\x02\x01\x01", bytes((2, 1, number)), 1)
    chain = intel.issue().pck.pem + pem_of(der) + intel.root.pem + b"\0"
    assert tdx_objections(intel.issue(chain=chain))["tdx.pck.signatures"] == "fail"
    signed = intel.issue().with_collateral(tcb_info_chain=(der, intel.root.der))
    assert tdx_objections(signed)["tdx.tcb_info.signature"] == "fail"


@pytest.mark.parametrize("bit", [DEBUG, MIGRATABLE, 1 << 30, 1 << 31, 1 << 63, 1 << 1])
def test_attributes_are_told_and_left_to_the_policy(intel: IntelWorld, bit: int) -> None:
    _, claims, _ = authenticate_tdx(intel.issue(td_attributes=SEPT_VE_DISABLE | bit))
    assert claims is not None
    assert claims.body.td_attributes.debug is (bit == DEBUG)
    assert claims.body.td_attributes.migratable is (bit == MIGRATABLE)
