"""Forged Azure guests: what is accepted, and for every link something that only its rule refuses."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from attestation.errors import MalformedEvidence
from attestation.tdx.verify import TdxClaims
from tests.fakes.amd import World
from tests.fakes.intel import IntelWorld, spki_sha256
from tests.fakes.judges import authenticate_azure, azure_objections, objections
from tests.fakes.tpm import NONCE, PCRS, SHA256, AzureSigned, TpmWorld, azure_snp, azure_tdx, jwk

Forge = Callable[..., AzureSigned]


@pytest.fixture(params=["snp", "tdx"])
def forge(request: pytest.FixtureRequest, genoa: World, intel: IntelWorld, tpm: TpmWorld) -> Forge:
    """Either platform's forger; what a test of both says must hold for both."""
    if request.param == "snp":
        return lambda **changes: azure_snp(genoa, tpm, **changes)
    return lambda **changes: azure_tdx(intel, tpm, **changes)


def test_accepts_either_platform_and_tells_what_its_virtual_tpm_says(forge: Forge) -> None:
    signed = forge()
    checks, claims, facts = authenticate_azure(signed)
    assert objections(checks) == {}
    assert claims is not None
    assert claims.extra_data == NONCE
    assert claims.pcrs == dict(enumerate(PCRS))
    assert (claims.secure_boot, claims.console_enabled, claims.tpm_persisted) == (True, False, True)
    assert claims.insecure is False
    azure = facts["azure"]
    assert isinstance(azure, dict)
    assert azure["hcl"]["runtime_data_bound_to_report_data"] is True
    assert azure["tpm_quote"]["signature_valid_with_hcl_ak"] is True


def test_the_hardwares_own_checks_are_among_the_checks(forge: Forge) -> None:
    signed = forge()
    checks, claims, _ = authenticate_azure(signed)
    assert claims is not None
    hardware = "tdx.quote.signature" if isinstance(claims.hardware, TdxClaims) else "snp.signature"
    assert [check.id for check in checks].count(hardware) == 1


@pytest.mark.parametrize("product", ["Milan", "Turin"])
def test_accepts_every_product_of_amd(worlds: dict[str, World], tpm: TpmWorld, product: str) -> None:
    assert azure_objections(azure_snp(worlds[product], tpm)) == {}


@pytest.mark.parametrize("hash_type", [1, 2, 3])
def test_accepts_every_digest_that_azure_may_bind_the_runtime_data_with(forge: Forge, hash_type: int) -> None:
    assert azure_objections(forge(hash_type=hash_type)) == {}


# --- one broken link each ---------------------------------------------------------------------------------

OTHER = TpmWorld.forge()


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ({"bound_runtime": b"{}"}, {"azure.runtime_data": "fail"}),
        ({"tpm_signer": OTHER.ak}, {"azure.quote.signature": "fail"}),
        ({"ak": OTHER.ak.public_key()}, {"azure.quote.signature": "fail"}),
        ({"signature_hash": hashes.SHA384()}, {"azure.quote.signature": "fail"}),
        ({"signature_hash": hashes.SHA1()}, {"azure.quote.signature": "fail"}),
        (
            {"signature_padding": padding.PSS(padding.MGF1(hashes.SHA256()), 32)},
            {"azure.quote.signature": "fail"},
        ),
        ({"pcr_digest": bytes(32)}, {"azure.quote.pcrs": "fail"}),
        ({"pcr_digest": b""}, {"azure.quote.pcrs": "fail"}),
        ({"supplied_pcrs": PCRS[::-1]}, {"azure.quote.pcrs": "fail"}),
        ({"supplied_pcrs": (bytes(32), *PCRS[1:])}, {"azure.quote.pcrs": "fail"}),
        ({"supplied_pcrs": PCRS[:23]}, {"azure.quote.pcrs": "fail"}),
        ({"supplied_pcrs": ()}, {"azure.quote.pcrs": "fail"}),
        ({"pcr_banks": ((0x0004, tuple(range(24))),)}, {"azure.quote.pcrs": "fail"}),
        ({"pcr_banks": ((0x000C, (0, 7)),)}, {"azure.quote.pcrs": "fail"}),
        ({"pcr_banks": ((SHA256, (0,)), (0x0004, (1,)))}, {"azure.quote.pcrs": "fail"}),
        ({"pcr_banks": ()}, {"azure.quote.pcrs": "fail"}),
        ({"pcr_banks": ((SHA256, ()),)}, {"azure.quote.pcrs": "fail"}),
    ],
)
def test_one_wrong_link_is_refused_by_its_own_rule_alone(
    forge: Forge, wrong: dict[str, Any], expected: dict[str, str]
) -> None:
    assert azure_objections(forge(**wrong)) == expected


@pytest.mark.parametrize("place", [32, 63])
def test_refuses_report_data_with_more_than_the_digest(forge: Forge, place: int) -> None:
    """An attacker's bytes behind the digest would be a channel that nobody looks at."""
    runtime = forge().evidence.runtime_data
    bound = bytearray(hashlib.sha256(runtime).digest().ljust(64, b"\0"))
    assert azure_objections(forge(runtime=runtime, report_data=bytes(bound))) == {}
    bound[place] = 1
    hidden = forge(runtime=runtime, report_data=bytes(bound))
    assert azure_objections(hidden) == {"azure.runtime_data": "fail"}


@pytest.mark.parametrize(
    "wrong",
    [
        {"attest_magic": 0xFF544346},
        {"attest_magic": 0},
        {"attest_type": 0x8017},
        {"attest_type": 0x8014},
        {"attest_tail": b"\0"},
        {"safe": 2},
    ],
)
def test_refuses_what_is_signed_by_the_tpm_but_is_no_quote_that_it_made(
    forge: Forge, wrong: dict[str, Any]
) -> None:
    """A restricted key signs for anybody what does not begin with the magic number."""
    assert azure_objections(forge(**wrong))["azure.quote.type"] == "fail"


@pytest.mark.parametrize("bits", [1024, 1536])
def test_refuses_an_attestation_key_that_is_too_short(genoa: World, bits: int) -> None:
    weak = TpmWorld.forge(bits=bits)
    assert azure_objections(azure_snp(genoa, weak))["azure.ak"] == "fail"


def test_refuses_an_attestation_key_with_another_exponent(genoa: World) -> None:
    odd = TpmWorld.forge(exponent=3)
    assert azure_objections(azure_snp(genoa, odd))["azure.ak"] == "fail"


def _keys(change: Callable[[list[dict[str, Any]]], object]) -> dict[str, Any]:
    return {"runtime_edit": lambda runtime: change(runtime["keys"])}


@pytest.mark.parametrize(
    "edit",
    [
        _keys(lambda keys: keys.pop(0)),
        _keys(lambda keys: keys.clear()),
        _keys(lambda keys: keys.append(dict(keys[0]))),
        _keys(lambda keys: keys.append(jwk("HCLAkPub", "sign", OTHER.ak.public_key()))),
        _keys(lambda keys: keys[0].update(kid="HCLEkPub")),
        _keys(lambda keys: keys[0].update(kty="EC")),
    ],
)
def test_refuses_runtime_data_that_do_not_name_exactly_one_attestation_key(
    forge: Forge, edit: dict[str, Any]
) -> None:
    assert azure_objections(forge(**edit))["azure.ak"] == "fail"


@pytest.mark.parametrize("vmpl", [1, 2, 3, 0xFFFFFFFF])
def test_refuses_a_report_that_the_guest_and_not_the_paravisor_asked_for(
    genoa: World, tpm: TpmWorld, vmpl: int
) -> None:
    """Below VMPL 0 anybody in the guest gets genuine reports, over any runtime data."""
    assert azure_objections(azure_snp(genoa, tpm, vmpl=vmpl)) == {"azure.vmpl": "fail"}


@pytest.mark.parametrize(
    "field",
    [
        *("report_data", "mrtd", "mrseam", "mrsignerseam", "mrconfigid", "mrowner", "mrownerconfig"),
        *("tee_tcb_svn", "seam_attributes", "td_attributes", "xfam", "rtmrs"),
    ],
)
def test_refuses_a_td_quote_about_another_td_than_the_paravisors(
    intel: IntelWorld, tpm: TpmWorld, field: str
) -> None:
    good = azure_tdx(intel, tpm)
    assert good.intel is not None
    value = getattr(good.intel.td, field)
    if isinstance(value, int):
        other: Any = value ^ 1 << 40
    elif isinstance(value, tuple):
        other = (*value[:3], b"\1" * 48)
    else:
        other = value[:-1] + bytes((value[-1] ^ 1,))
    signed = azure_tdx(intel, tpm, tdreport_changes={field: other})
    against = azure_objections(signed)
    assert against["azure.tdreport"] == "fail"
    assert against.keys() - {"azure.runtime_data"} == {"azure.tdreport"}


@pytest.mark.parametrize("body_type", [2, 3, 4])
def test_accepts_a_td_quote_of_version_5_beside_the_tdreport(
    intel: IntelWorld, tpm: TpmWorld, body_type: int
) -> None:
    assert azure_objections(azure_tdx(intel, tpm, version=5, body_type=body_type)) == {}


@pytest.mark.parametrize("field", ["tee_tcb_svn2", "mrservicetd"])
def test_compares_the_fields_of_tdx_1_5_where_both_have_them(
    intel: IntelWorld, tpm: TpmWorld, field: str
) -> None:
    size = 16 if field == "tee_tcb_svn2" else 48
    signed = azure_tdx(intel, tpm, version=5, body_type=3, tdreport_changes={field: b"\7" * size})
    assert azure_objections(signed) == {"azure.tdreport": "fail"}


# --- swapped and missing parts ----------------------------------------------------------------------------


def test_refuses_the_quote_of_another_machines_tpm(forge: Forge) -> None:
    """Both machines are genuine; only the attestation key in the runtime data tells them apart."""
    mine, theirs = forge(), forge(ak=OTHER.ak.public_key(), tpm_signer=OTHER.ak)
    assert azure_objections(theirs) == {}
    swapped = mine.changed(tpm_quote=theirs.evidence.tpm_quote, tpm_signature=theirs.evidence.tpm_signature)
    assert azure_objections(swapped) == {"azure.quote.signature": "fail"}


def test_refuses_runtime_data_of_another_machine_in_a_genuine_hcl_report(forge: Forge) -> None:
    mine, theirs = forge(), forge(ak=OTHER.ak.public_key(), tpm_signer=OTHER.ak)
    start, _ = mine.hcl_regions["data_size"]
    grafted = mine.evidence.hcl_report[:start] + theirs.evidence.hcl_report[start:]
    forged = theirs.changed(hcl_report=grafted, td_quote=mine.evidence.td_quote)
    assert azure_objections(forged)["azure.runtime_data"] == "fail"


def test_refuses_a_copy_of_the_runtime_data_that_says_something_else(forge: Forge) -> None:
    signed = forge()
    spaced = json.dumps(json.loads(signed.evidence.runtime_data)).encode()
    for copy in (spaced, signed.evidence.runtime_data + b"\n", b"{}"):
        assert azure_objections(signed.changed(runtime_data=copy)) == {"azure.runtime_data.copy": "fail"}
    assert azure_objections(signed.changed(runtime_data=b"")) == {}


def test_refuses_evidence_that_calls_itself_the_other_platform(
    genoa: World, intel: IntelWorld, tpm: TpmWorld
) -> None:
    snp, tdx = azure_snp(genoa, tpm), azure_tdx(intel, tpm)
    assert azure_objections(snp.changed(tee="azure-tdx"))["azure.hcl.type"] == "fail"
    assert azure_objections(tdx.changed(tee="azure-snp"))["azure.hcl.type"] == "fail"


@pytest.mark.parametrize("missing", ["tpm_quote", "tpm_signature"])
def test_without_a_tpm_quote_nothing_is_decided(forge: Forge, missing: str) -> None:
    against = azure_objections(forge().changed(**{missing: b""}))
    assert against["azure.quote.signature"] == "undecided"
    assert set(against.values()) == {"undecided"}


def test_without_pcr_values_the_claims_have_none(forge: Forge) -> None:
    checks, claims, _ = authenticate_azure(forge().changed(tpm_pcrs=b""))
    assert objections(checks) == {}
    assert claims is not None
    assert claims.pcrs is None


def test_only_the_registers_that_the_quote_covers_become_claims(forge: Forge) -> None:
    """The list may hold anything at places that nobody signed."""
    covered = (0, 1, 2, 3, 4, 7)
    checks, claims, _ = authenticate_azure(forge(pcr_banks=((SHA256, covered),)))
    assert objections(checks) == {}
    assert claims is not None
    assert claims.pcrs == {index: PCRS[index] for index in covered}


def test_a_tdreport_without_its_td_quote_proves_nothing(intel: IntelWorld, tpm: TpmWorld) -> None:
    against = azure_objections(azure_tdx(intel, tpm).changed(td_quote=b""))
    assert against == {"azure.tdreport": "undecided"}


def test_certificates_that_are_missing_leave_the_hardware_undecided(genoa: World, tpm: TpmWorld) -> None:
    against = azure_objections(azure_snp(genoa, tpm).changed(certificates=()))
    assert set(against.values()) == {"undecided"}
    assert all(check.startswith("snp.") for check in against)


def test_forged_hardware_below_a_good_tpm_is_refused_by_the_hardwares_rules(
    genoa: World, intel: IntelWorld, tpm: TpmWorld
) -> None:
    double = IntelWorld.forge("look-alike")
    assert azure_objections(replace(azure_tdx(double, tpm), intel_roots=intel.roots)) == {
        "tdx.pck.root": "fail"
    }
    stranger = replace(azure_snp(genoa, tpm), amd_roots={"Genoa": frozenset({bytes(32)})})
    assert azure_objections(stranger)["snp.chain.root"] == "fail"


def test_a_development_root_below_makes_the_whole_insecure(
    genoa: World, intel: IntelWorld, tpm: TpmWorld
) -> None:
    tdx = replace(azure_tdx(intel, tpm), intel_roots=frozenset())
    checks, claims, _ = authenticate_azure(tdx, development_root=spki_sha256(intel.root))
    assert (objections(checks), claims is not None and claims.insecure) == (
        {"tdx.pck.root": "insecure"},
        True,
    )
    snp = replace(azure_snp(genoa, tpm), amd_roots={})
    checks, claims, _ = authenticate_azure(snp, development_root=genoa.hierarchy.ark.spki_sha256)
    assert (objections(checks), claims is not None and claims.insecure) == (
        {"snp.chain.root": "insecure"},
        True,
    )


# --- the report's frame -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        {"magic": b"HCLB"},
        {"hcl_version": 0},
        {"hcl_version": 3},
        {"request_type": 1},
        {"hcl_status": 1},
        {"hcl_reserved": bytes(11) + b"\1"},
        {"hcl_report_size": 0},
        {"data_size": 0},
        {"data_version": 2},
        {"report_type": 3},
        {"hash_type": 0},
        {"hash_type": 4},
        {"runtime_size": 0},
        {"runtime_size": 0xFFFFFFFF},
        {"tail": b"\1"},
        {"runtime": b"[]"},
        {"runtime": b'{"keys":{}}'},
        {"runtime": b'{"keys":[],"keys":[]}'},
        {"runtime": b"\xff"},
    ],
)
def test_a_report_in_another_frame_cannot_be_read(forge: Forge, wrong: dict[str, Any]) -> None:
    with pytest.raises(MalformedEvidence):
        authenticate_azure(forge(**wrong))


def test_a_tdreport_with_something_behind_it_cannot_be_read(intel: IntelWorld, tpm: TpmWorld) -> None:
    with pytest.raises(MalformedEvidence):
        authenticate_azure(azure_tdx(intel, tpm, hardware_tail=b"\1"))


def test_refuses_a_tdreport_that_states_a_service_td_which_the_quote_leaves_out(
    intel: IntelWorld, tpm: TpmWorld
) -> None:
    """A version 4 quote has no room for MRSERVICETD; what the machine itself admits still counts."""
    admitted = azure_tdx(intel, tpm, version=4, tdreport_changes={"mrservicetd": b"\x07" * 48})
    checks, claims, _ = authenticate_azure(admitted)
    assert (objections(checks), claims) == ({"azure.tdreport": "fail"}, None)
