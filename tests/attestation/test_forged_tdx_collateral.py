"""Forged collateral of Intel's: who signed it, for when, for whom, whom it revokes."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from tests.fakes.amd import NOW
from tests.fakes.intel import IntelWorld, certify, derived_key
from tests.fakes.judges import tdx_objections

STRANGER = derived_key("a stranger")
HOUR = timedelta(hours=1)


# --- revocation -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("whom", "check"), [("pck", "tdx.crl.pck"), ("ca", "tdx.crl.root"), ("signing", "tdx.crl.root")]
)
def test_refuses_what_intel_revoked_even_by_a_list_that_has_expired(
    intel: IntelWorld, whom: str, check: str
) -> None:
    revoked = {"revoked": frozenset({whom})}
    assert tdx_objections(intel.issue(**revoked)) == {check: "fail"}
    old = {"pck_crl_until": NOW - HOUR, "root_crl_until": NOW - HOUR}
    assert tdx_objections(intel.issue(**revoked, **old))[check] == "fail"


def test_the_revocation_of_another_platform_does_not_matter(intel: IntelWorld) -> None:
    assert tdx_objections(intel.issue(revoked=frozenset({"bystander"}))) == {}


@pytest.mark.parametrize("name", ["pck", "root"])
def test_refuses_a_revocation_list_that_its_authority_did_not_sign(intel: IntelWorld, name: str) -> None:
    assert tdx_objections(intel.issue(**{f"{name}_crl_signer": STRANGER})) == {f"tdx.crl.{name}": "fail"}


def test_refuses_the_list_of_another_authority_in_place_of_the_platforms(intel: IntelWorld) -> None:
    signed = intel.issue(revoked=frozenset({"pck"}))
    swapped = signed.with_collateral(pck_crl=signed.collateral.root_crl)
    assert tdx_objections(swapped) == {"tdx.crl.pck": "fail"}


# --- collateral: who signed it, for when, for whom --------------------------------------------------------

PARTS = {
    "tcb_info": {"tdx.tcb_info.signature", "tdx.tcb_info.current", "tdx.tcb_info.platform"},
    "qe_identity": {"tdx.qe_identity.signature", "tdx.qe_identity.current"},
    "pck_crl": {"tdx.crl.pck"},
    "root_crl": {"tdx.crl.root"},
}


@pytest.mark.parametrize("part", PARTS)
def test_missing_collateral_leaves_undecided_what_needs_it_and_nothing_fails(
    intel: IntelWorld, part: str
) -> None:
    against = tdx_objections(intel.issue().with_collateral(**{part: b""}))
    assert set(against.values()) == {"undecided"}
    assert PARTS[part] <= against.keys()
    assert not any(check.startswith(("tdx.quote", "tdx.pck", "tdx.qe.s", "tdx.qe.b")) for check in against)


@pytest.mark.parametrize(
    ("wrong", "check"),
    [
        ({"tcb_info_signer": STRANGER}, "tdx.tcb_info.signature"),
        ({"qe_identity_signer": STRANGER}, "tdx.qe_identity.signature"),
    ],
)
def test_refuses_collateral_that_intel_did_not_sign(
    intel: IntelWorld, wrong: dict[str, ec.EllipticCurvePrivateKey], check: str
) -> None:
    assert tdx_objections(intel.issue(**wrong))[check] == "fail"


@pytest.mark.parametrize("part", ["tcb_info", "qe_identity"])
def test_a_platforms_own_key_cannot_sign_collateral_though_it_leads_to_the_root(
    intel: IntelWorld, part: str
) -> None:
    pck = intel.issue().pck
    under_root = certify("forged", "Intel SGX PCK Certificate", intel.root, key=pck.key)
    for signer in (pck, under_root, intel.ca):
        chosen = {f"{part}_signer": signer.key, f"{part}_chain": (signer.der, intel.root.der)}
        assert tdx_objections(intel.issue(**chosen))[f"tdx.{part}.signature"] == "fail"


@pytest.mark.parametrize("part", ["tcb_info", "qe_identity"])
def test_a_tcb_signing_certificate_of_another_root_does_not_count(intel: IntelWorld, part: str) -> None:
    double = IntelWorld.forge("look-alike")
    for chain in ((double.signing.der, double.root.der), (double.signing.der, intel.root.der)):
        chosen = {f"{part}_signer": double.signing.key, f"{part}_chain": chain}
        assert tdx_objections(intel.issue(**chosen))[f"tdx.{part}.signature"] == "fail"


@pytest.mark.parametrize("part", ["tcb_info", "qe_identity"])
def test_an_expired_tcb_signing_certificate_is_undecided(intel: IntelWorld, part: str) -> None:
    signing = certify("forged", "Intel SGX TCB Signing", intel.root, until=NOW - HOUR)
    chosen = {f"{part}_chain": (signing.der, intel.root.der)}
    assert tdx_objections(intel.issue(**chosen))[f"tdx.{part}.current"] == "undecided"


@pytest.mark.parametrize(
    ("prefix", "check"),
    [
        ("tcb_info", "tdx.tcb_info.current"),
        ("qe_identity", "tdx.qe_identity.current"),
        ("pck_crl", "tdx.crl.pck"),
        ("root_crl", "tdx.crl.root"),
    ],
)
def test_collateral_that_has_expired_or_is_not_yet_valid_is_undecided(
    intel: IntelWorld, prefix: str, check: str
) -> None:
    for life in (
        {f"{prefix}_until": NOW - timedelta(seconds=1)},
        {f"{prefix}_issued": NOW + timedelta(seconds=1)},
    ):
        against = tdx_objections(intel.issue(**life))
        assert against[check] == "undecided"
        assert set(against.values()) == {"undecided"}
    ends = {f"{prefix}_until": NOW, f"{prefix}_issued": NOW}
    assert tdx_objections(intel.issue(**ends)) == {}


@pytest.mark.parametrize("wrong", [{"tcb_fmspc": bytes(6)}, {"tcb_pceid": b"\0\1"}, {"fmspc": b"\1" * 6}])
def test_refuses_tcb_info_for_another_kind_of_platform(intel: IntelWorld, wrong: dict[str, bytes]) -> None:
    assert tdx_objections(intel.issue(**wrong)) == {"tdx.tcb_info.platform": "fail"}


def _set(name: str, value: object) -> Any:
    return lambda inner: inner.update({name: value})


@pytest.mark.parametrize(
    ("edit", "check"),
    [
        ({"tcb_info_edit": _set("id", "SGX")}, "tdx.tcb_info.signature"),
        ({"tcb_info_edit": _set("version", 2)}, "tdx.tcb_info.signature"),
        ({"tcb_info_edit": _set("tcbType", 1)}, "tdx.tcb_info.signature"),
        ({"qe_identity_edit": _set("id", "QE")}, "tdx.qe_identity.signature"),
        ({"qe_identity_edit": _set("version", 3)}, "tdx.qe_identity.signature"),
    ],
)
def test_refuses_collateral_of_another_kind_though_intel_signed_it(
    intel: IntelWorld, edit: dict[str, Any], check: str
) -> None:
    assert tdx_objections(intel.issue(**edit))[check] == "fail"
