"""Every link between Azure's hardware and the guest's nonce, broken one at a time on forged evidence."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from attestation.azure.verify import VtpmClaims, authenticate_vtpm
from attestation.check import Check
from attestation.errors import MalformedEvidence
from attestation.model import Collateral
from tests.fakes.amd import NOW, World
from tests.fakes.intel import IntelWorld
from tests.fakes.judges import authenticate_azure, azure_objections
from tests.fakes.tpm import NONCE, PCRS, SHA256, AzureSigned, TpmWorld, azure_snp, azure_tdx, jwk

SHA384 = 0x000C
SIGNATURE_HEADER = bytes.fromhex("0014000b0100")


@pytest.fixture(scope="module")
def tpm() -> TpmWorld:
    return TpmWorld.forge()


@pytest.fixture(scope="module")
def intel() -> IntelWorld:
    return IntelWorld.forge()


@pytest.fixture
def snp(genoa: World, tpm: TpmWorld) -> AzureSigned:
    return azure_snp(genoa, tpm)


@pytest.fixture
def tdx(intel: IntelWorld, tpm: TpmWorld) -> AzureSigned:
    return azure_tdx(intel, tpm)


def claims_of(signed: AzureSigned) -> VtpmClaims:
    _, claims, _ = authenticate_azure(signed)
    assert claims is not None
    return claims


def check_of(signed: AzureSigned, name: str) -> Check:
    checks, _, _ = authenticate_azure(signed)
    return next(check for check in checks if check.id == name)


def test_genuine_evidence_gives_claims_on_both_platforms(snp: AzureSigned, tdx: AzureSigned) -> None:
    for signed in (snp, tdx):
        claims = claims_of(signed)
        assert claims.extra_data == NONCE
        assert claims.quote.extra_data == NONCE
        assert claims.pcrs == dict(enumerate(PCRS))
        assert not claims.insecure


def test_every_check_is_made_exactly_once(snp: AzureSigned, tdx: AzureSigned) -> None:
    common = {"azure.hcl.type", "azure.runtime_data", "azure.runtime_data.copy", "azure.ak"}
    common |= {"azure.quote.type", "azure.quote.signature", "azure.quote.pcrs"}
    for signed, own in ((snp, "azure.vmpl"), (tdx, "azure.tdreport")):
        checks, _, _ = authenticate_azure(signed)
        ours = [check.id for check in checks if check.id.startswith("azure.")]
        assert sorted(ours) == sorted(common | {own})


def test_the_inner_hardware_is_judged_by_its_own_checks(snp: AzureSigned, tdx: AzureSigned) -> None:
    place = snp.hcl_regions["hardware"][0]
    assert "snp.signature" in azure_objections(snp.with_byte("hcl_report", place + 0x90))
    assert "tdx.quote.signature" in azure_objections(tdx.with_byte("td_quote", 200))
    assert set(azure_objections(snp.changed(certificates=()))) >= {"snp.signature", "snp.chain.root"}


def test_collateral_from_elsewhere_counts_as_if_it_had_come_with_the_evidence(
    snp: AzureSigned, tdx: AzureSigned
) -> None:
    bare = (snp.changed(certificates=()), tdx.changed(collateral=type(tdx.evidence.collateral)()))
    assert all(azure_objections(signed) for signed in bare)
    collateral = Collateral(certificates=snp.evidence.certificates, tdx=tdx.evidence.collateral)
    for signed in bare:
        _, claims, _ = authenticate_vtpm(
            signed.evidence,
            collateral=collateral,
            amd_roots=signed.amd_roots,
            intel_roots=signed.intel_roots,
            development_root=None,
            now=NOW,
        )
        assert claims is not None


def test_a_development_root_makes_the_claims_insecure(snp: AzureSigned) -> None:
    unpinned = replace(snp, amd_roots={})
    assert "snp.chain.root" in azure_objections(unpinned)
    (pin,) = next(iter(snp.amd_roots.values()))
    _, claims, _ = authenticate_azure(unpinned, development_root=pin)
    assert claims is not None
    assert claims.insecure


def test_refuses_an_hcl_report_of_other_hardware_than_the_sender_names(
    snp: AzureSigned, tdx: AzureSigned
) -> None:
    assert azure_objections(snp.changed(tee="azure-tdx")) == {"azure.hcl.type": "fail"}
    assert azure_objections(tdx.changed(tee="azure-snp")) == {"azure.hcl.type": "fail"}


@pytest.mark.parametrize("kind", [1, 2, 3])
def test_runtime_data_are_bound_by_each_digest(genoa: World, tpm: TpmWorld, kind: int) -> None:
    assert azure_objections(azure_snp(genoa, tpm, hash_type=kind)) == {}


def test_refuses_runtime_data_that_the_hardware_did_not_sign(
    genoa: World, intel: IntelWorld, tpm: TpmWorld
) -> None:
    """An attacker's own attestation key in runtime data beside somebody's genuine report."""
    assert azure_objections(azure_snp(genoa, tpm, bound_runtime=b"{}")) == {"azure.runtime_data": "fail"}
    assert azure_objections(azure_tdx(intel, tpm, bound_runtime=b"{}")) == {"azure.runtime_data": "fail"}


def test_refuses_report_data_with_anything_after_the_digest(
    snp: AzureSigned, genoa: World, tpm: TpmWorld
) -> None:
    bound = claims_of(snp).hardware.report.report_data  # type: ignore[union-attr]
    again = azure_snp(genoa, tpm, report_data=bound)
    assert azure_objections(again) == {}
    longer = azure_snp(genoa, tpm, report_data=bound[:63] + b"\x01")
    assert azure_objections(longer) == {"azure.runtime_data": "fail"}


def test_a_digest_of_another_algorithm_is_not_accepted(snp: AzureSigned) -> None:
    place = snp.hcl_regions["hash_type"][0]
    assert azure_objections(snp.with_byte("hcl_report", place, 3)) == {"azure.runtime_data": "fail"}


def test_a_copy_of_the_runtime_data_has_to_be_the_same_bytes(snp: AzureSigned) -> None:
    assert check_of(snp, "azure.runtime_data.copy").outcome == "pass"
    assert check_of(snp.changed(runtime_data=b""), "azure.runtime_data.copy").outcome == "noted"
    spaced = snp.evidence.runtime_data.replace(b":", b": ", 1)
    assert azure_objections(snp.changed(runtime_data=spaced)) == {"azure.runtime_data.copy": "fail"}


def renamed(value: dict[str, Any]) -> None:
    value["keys"][0]["kid"] = "HCLAkPub2"


def twice(value: dict[str, Any]) -> None:
    value["keys"].append(dict(value["keys"][1], kid="HCLAkPub"))


def elliptic(value: dict[str, Any]) -> None:
    value["keys"][0]["kty"] = "EC"


def another_exponent(value: dict[str, Any]) -> None:
    value["keys"][0]["e"] = "Aw"


def too_long(value: dict[str, Any]) -> None:
    value["keys"][0]["n"] = "__" + "A" * 684


@pytest.mark.parametrize("edit", [renamed, twice, elliptic, another_exponent, too_long])
def test_refuses_runtime_data_without_one_fit_attestation_key(
    genoa: World, tpm: TpmWorld, edit: Callable[[dict[str, Any]], None]
) -> None:
    against = azure_objections(azure_snp(genoa, tpm, runtime_edit=edit))
    assert against == {"azure.ak": "fail", "azure.quote.signature": "fail"}


def test_refuses_a_short_attestation_key_though_its_signature_verifies(genoa: World) -> None:
    weak = TpmWorld.forge(bits=1024)
    strong = TpmWorld.forge(bits=4096)
    assert set(azure_objections(azure_snp(genoa, weak))) == {"azure.ak", "azure.quote.signature"}
    signed = azure_snp(genoa, strong)
    assert len(signed.evidence.tpm_signature) == 512
    assert azure_objections(signed) == {}


def test_refuses_an_even_modulus_without_an_error(genoa: World, tpm: TpmWorld) -> None:
    def even(value: dict[str, Any]) -> None:
        key = jwk("HCLAkPub", "sign", tpm.ak.public_key())
        value["keys"][0] = key | {"n": key["n"][:-2] + "AA"}

    assert azure_objections(azure_snp(genoa, tpm, runtime_edit=even)) == {"azure.quote.signature": "fail"}


@pytest.mark.parametrize("vmpl", [1, 2, 3, 0xFFFFFFFF])
def test_refuses_a_report_that_another_than_the_paravisor_asked_for(
    genoa: World, tpm: TpmWorld, vmpl: int
) -> None:
    """A guest below the paravisor can get genuine reports with report data of its own choice."""
    assert azure_objections(azure_snp(genoa, tpm, vmpl=vmpl)) == {"azure.vmpl": "fail"}


@pytest.mark.parametrize(
    ("name", "change"),
    [
        *(("tee_tcb_svn", bytes(16)), ("mrseam", b"\x01" * 48), ("mrsignerseam", b"\x01" * 48)),
        *(("seam_attributes", b"\x01" * 8), ("xfam", 7), ("mrtd", b"\x01" * 48)),
        *(("mrconfigid", b"\x01" * 48), ("mrowner", b"\x01" * 48), ("mrownerconfig", b"\x01" * 48)),
        ("rtmrs", (b"\x01" * 48, *(bytes(48),) * 3)),
        ("td_attributes", 1 << 28 | 1 << 30),
    ],
)
def test_refuses_a_tdreport_of_another_td_than_the_quote(
    intel: IntelWorld, tpm: TpmWorld, name: str, change: Any
) -> None:
    signed = azure_tdx(intel, tpm, tdreport_changes={name: change})
    assert azure_objections(signed) == {"azure.tdreport": "fail"}
    assert name in check_of(signed, "azure.tdreport").found


def test_refuses_a_quote_about_other_report_data_than_the_tdreport(
    intel: IntelWorld, tpm: TpmWorld, tdx: AzureSigned
) -> None:
    """Another machine's genuine TD quote beside this one's HCL report."""
    other = azure_tdx(intel, tpm, vm_unique_id="another")
    mixed = tdx.changed(td_quote=other.evidence.td_quote)
    assert azure_objections(mixed) == {"azure.tdreport": "fail"}
    _, _, facts = authenticate_azure(mixed)
    azure = facts["azure"]
    assert isinstance(azure, dict)
    assert azure["quote_report_data_equals_tdreport"] is False
    assert azure["quote_mrtd_equals_tdreport"] is True


def test_fields_that_only_a_newer_quote_has_are_compared_with_the_tdreport(
    intel: IntelWorld, tpm: TpmWorld
) -> None:
    assert azure_objections(azure_tdx(intel, tpm, version=5, body_type=3)) == {}
    other = azure_tdx(intel, tpm, version=5, body_type=3, tdreport_changes={"mrservicetd": b"\x01" * 48})
    assert azure_objections(other) == {"azure.tdreport": "fail"}
    older = azure_tdx(intel, tpm, version=4, tdreport_changes={"tee_tcb_svn2": b"\x01" * 16})
    assert azure_objections(older) == {}


def test_an_sgx_quote_never_stands_for_a_td(tdx: AzureSigned, evidence_dir: Any) -> None:
    sgx = (evidence_dir / "sgx-v3-not-a-td" / "quote.bin").read_bytes()
    signed = tdx.changed(td_quote=sgx)
    against = azure_objections(signed)
    assert against["azure.tdreport"] == "fail"
    assert against["tdx.quote.tee"] == "fail"
    _, _, facts = authenticate_azure(signed)
    assert "quote_mrtd_equals_tdreport" not in facts["azure"]  # type: ignore[operator]


def test_a_tdreport_without_its_quote_leaves_everything_undecided(tdx: AzureSigned) -> None:
    assert azure_objections(tdx.changed(td_quote=b"")) == {"azure.tdreport": "undecided"}


def test_without_a_tpm_quote_or_its_signature_nothing_is_decided(snp: AzureSigned) -> None:
    assert azure_objections(snp.changed(tpm_quote=b"")) == {
        "azure.quote.type": "undecided",
        "azure.quote.signature": "undecided",
        "azure.quote.pcrs": "undecided",
    }
    assert azure_objections(snp.changed(tpm_signature=b"")) == {"azure.quote.signature": "undecided"}


def test_refuses_what_the_attestation_key_signed_unless_it_is_a_quote_made_in_a_tpm(
    genoa: World, tpm: TpmWorld
) -> None:
    for changes in ({"attest_magic": 0}, {"attest_type": 0x8017}):
        signed = azure_snp(genoa, tpm, **changes)
        against = azure_objections(signed)
        assert against == {"azure.quote.type": "fail", "azure.quote.pcrs": "fail"}
        _, _, facts = authenticate_azure(signed)
        assert facts["azure"]["tpm_quote"] is None  # type: ignore[index,call-overload]


def test_refuses_a_quote_by_another_key(genoa: World, tpm: TpmWorld) -> None:
    other = TpmWorld.forge()
    signed = azure_snp(genoa, tpm, tpm_signer=other.ak)
    assert azure_objections(signed) == {"azure.quote.signature": "fail"}
    _, _, facts = authenticate_azure(signed)
    assert facts["azure"]["tpm_quote"]["signature_valid_with_hcl_ak"] is False  # type: ignore[index,call-overload]


@pytest.mark.parametrize(
    "changes",
    [
        {"signature_hash": hashes.SHA384()},
        {"signature_hash": hashes.SHA1()},
        {"signature_padding": padding.PSS(padding.MGF1(hashes.SHA256()), 32)},
    ],
)
def test_refuses_any_other_signature_scheme(genoa: World, tpm: TpmWorld, changes: dict[str, Any]) -> None:
    assert azure_objections(azure_snp(genoa, tpm, **changes)) == {"azure.quote.signature": "fail"}


def test_a_signature_as_tpm_tools_write_it_is_accepted_too(snp: AzureSigned) -> None:
    wrapped = SIGNATURE_HEADER + snp.evidence.tpm_signature
    assert azure_objections(snp.changed(tpm_signature=wrapped)) == {}
    for broken in (wrapped + b"\0", wrapped[:-1], snp.evidence.tpm_signature[:-64]):
        assert azure_objections(snp.changed(tpm_signature=broken)) == {"azure.quote.signature": "fail"}


def test_refuses_pcr_values_that_the_tpm_did_not_sign(genoa: World, tpm: TpmWorld) -> None:
    for index in range(24):
        values = (*PCRS[:index], bytes(32), *PCRS[index + 1 :])
        against = azure_objections(azure_snp(genoa, tpm, supplied_pcrs=values))
        assert against == {"azure.quote.pcrs": "fail"}


def test_pcr_values_that_were_not_supplied_are_noted_and_not_claimed(snp: AzureSigned) -> None:
    without = snp.changed(tpm_pcrs=b"")
    assert check_of(without, "azure.quote.pcrs").outcome == "noted"
    assert claims_of(without).pcrs is None


def test_only_pcrs_that_the_quote_covers_are_claimed(genoa: World, tpm: TpmWorld) -> None:
    """Values of other PCRs stand in the list, but no one signed them."""
    invented = (*PCRS[:8], bytes(32), *PCRS[9:])
    signed = azure_snp(genoa, tpm, pcr_banks=((SHA256, (0, 7, 14)),), supplied_pcrs=invented)
    assert claims_of(signed).pcrs == {0: PCRS[0], 7: PCRS[7], 14: PCRS[14]}
    shorter = azure_snp(genoa, tpm, pcr_banks=((SHA256, (0, 7, 14)),), supplied_pcrs=PCRS[:14])
    assert azure_objections(shorter) == {"azure.quote.pcrs": "fail"}


@pytest.mark.parametrize("banks", [(), ((SHA384, (0,)),), ((SHA256, (0,)), (SHA384, (1,))), ((SHA256, ()),)])
def test_refuses_quotes_over_other_banks_or_over_nothing(
    genoa: World, tpm: TpmWorld, banks: tuple[tuple[int, tuple[int, ...]], ...]
) -> None:
    signed = azure_snp(genoa, tpm, pcr_banks=banks)
    assert azure_objections(signed) == {"azure.quote.pcrs": "fail"}
    assert azure_objections(signed.changed(tpm_pcrs=b"")) == {"azure.quote.pcrs": "fail"}


@pytest.mark.parametrize("text", [b"{}", b"[", json.dumps(["00" * 32] * 25).encode()])
def test_unreadable_pcr_values_are_a_failed_check(snp: AzureSigned, text: bytes) -> None:
    assert azure_objections(snp.changed(tpm_pcrs=text)) == {"azure.quote.pcrs": "fail"}


def test_what_the_configuration_does_not_state_counts_as_the_worse(genoa: World, tpm: TpmWorld) -> None:
    def silent(value: dict[str, Any]) -> None:
        value["vm-configuration"] = {}
        del value["user-data"]

    def odd(value: dict[str, Any]) -> None:
        value["vm-configuration"] = {"secure-boot": 1, "console-enabled": 0, "vmUniqueId": 7}

    for edit in (silent, odd):
        claims = claims_of(azure_snp(genoa, tpm, runtime_edit=edit))
        assert not claims.secure_boot
        assert claims.console_enabled
        assert not claims.tpm_enabled
        assert not claims.tpm_persisted
        assert claims.vm_unique_id is None
    stated = claims_of(azure_snp(genoa, tpm))
    assert stated.secure_boot
    assert not stated.console_enabled
    assert stated.tpm_enabled
    assert stated.tpm_persisted


def test_claims_carry_what_the_second_opinion_needs(snp: AzureSigned, tpm: TpmWorld) -> None:
    claims = claims_of(snp.changed(maa_token=b"token", maa_keys=b"keys"))
    numbers = tpm.ak.public_key().public_numbers()
    assert (claims.maa_token, claims.maa_keys) == (b"token", b"keys")
    assert claims.attestation_key == (numbers.n, numbers.e)


def test_qualifying_data_that_are_not_text_are_shown_as_hexadecimal_only(genoa: World, tpm: TpmWorld) -> None:
    for data, text in ((b"challenge", "challenge"), (b"a\x1b[2J", None), (b"\xc3\xa4", None), (b"", "")):
        _, _, facts = authenticate_azure(azure_snp(genoa, tpm, extra_data=data))
        quote = facts["azure"]["tpm_quote"]  # type: ignore[index,call-overload]
        assert quote["extra_data_ascii"] == text
        assert quote["extra_data_hex"] == data.hex()


@pytest.mark.parametrize("change", [{"hcl_report": b""}, {"hcl_report": b"HCLA" + bytes(2596)}])
def test_an_unreadable_hcl_report_is_malformed_evidence(snp: AzureSigned, change: dict[str, bytes]) -> None:
    with pytest.raises(MalformedEvidence):
        authenticate_azure(snp.changed(**change))


def test_unreadable_hardware_reports_are_malformed_evidence(snp: AzureSigned, tdx: AzureSigned) -> None:
    place = snp.hcl_regions["hardware"][0]
    with pytest.raises(MalformedEvidence):
        authenticate_azure(snp.with_byte("hcl_report", place, 0x40))
    with pytest.raises(MalformedEvidence):
        authenticate_azure(tdx.with_byte("hcl_report", place))
    with pytest.raises(MalformedEvidence):
        authenticate_azure(tdx.changed(td_quote=b"\x04\x00"))
