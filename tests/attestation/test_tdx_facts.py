"""What is told about a platform from collateral that is good, old, missing, forged or garbage."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import timedelta
from typing import Any

import pytest

from attestation.check import Check, Outcome
from attestation.model import TdxCollateral
from tests.fakes.amd import NOW
from tests.fakes.intel import (
    IntelWorld,
    derived_key,
)
from tests.fakes.judges import authenticate_tdx, tdx_objections

COLLATERAL_PARTS = [field.name for field in fields(TdxCollateral) if field.name != "further_crls"]


def found(checks: list[Check], check_id: str) -> str:
    """What one check says it found."""
    return next(check.found for check in checks if check.id == check_id)


def test_a_module_of_a_version_that_tcb_info_does_not_know_is_refused(intel: IntelWorld) -> None:
    checks, _, facts = authenticate_tdx(intel.issue(tee_tcb_svn=bytes((8, 0x1A, 8)) + bytes(13)))
    assert found(checks, "tdx.module.identity") == "TCB info knows no module of version 26"
    assert facts["tdx_module"] == ["TDX_1A", None]


def test_a_module_is_known_by_its_version_in_two_hexadecimal_digits(intel: IntelWorld) -> None:
    version_26 = {"tee_tcb_svn": bytes((8, 0x1A, 8)) + bytes(13)}

    def rename(inner: dict[str, Any]) -> None:
        inner["tdxModuleIdentities"][1]["id"] = "TDX_1A"

    _, claims, facts = authenticate_tdx(intel.issue(tcb_info_edit=rename, **version_26))
    assert claims is not None
    assert facts["tdx_module"] == ["TDX_1A", "UpToDate"]


@pytest.mark.parametrize("part", ["tcb_info", "qe_identity", "pck_crl"])
def test_collateral_is_as_old_as_its_oldest_piece(intel: IntelWorld, part: str) -> None:
    oldest = NOW - timedelta(days=9)
    _, claims, _ = authenticate_tdx(intel.issue(**{f"{part}_issued": oldest}))
    assert claims is not None
    assert claims.collateral_issued == oldest
    assert claims.root_crl_issued == NOW - timedelta(days=1)


def test_the_roots_list_lives_longer_and_its_age_is_told_apart(intel: IntelWorld) -> None:
    made = NOW - timedelta(days=360)
    _, claims, _ = authenticate_tdx(intel.issue(root_crl_issued=made))
    assert claims is not None
    assert (claims.root_crl_issued, claims.collateral_issued) == (made, NOW - timedelta(days=1))


def test_collateral_without_its_signers_chain_is_undecided(intel: IntelWorld) -> None:
    against = tdx_objections(intel.issue(tcb_info_chain=(), qe_identity_chain=()))
    assert set(against.values()) == {"undecided"}
    assert {name.rpartition(".")[0] for name in against} == {
        *("tdx.tcb_info", "tdx.qe_identity", "tdx.qe", "tdx.module", "tdx.tcb"),
    }


@pytest.mark.parametrize("part", ["tcb_info", "qe_identity"])
def test_collateral_from_the_future_is_undecided_and_says_when_it_begins(
    intel: IntelWorld, part: str
) -> None:
    later = NOW + timedelta(hours=1)
    checks, claims, facts = authenticate_tdx(intel.issue(**{f"{part}_issued": later}))
    assert claims is None
    assert found(checks, f"tdx.{part}.current") == f"issued {later:%Y-%m-%dT%H:%M:%SZ}"
    assert (facts["collateral_valid"], facts["error"]) == (False, "collateral not yet valid")


def test_the_ends_of_a_period_belong_to_it(intel: IntelWorld) -> None:
    signed, second = intel.issue(), timedelta(seconds=1)
    first, last = NOW - timedelta(days=1), NOW + timedelta(days=29)
    assert tdx_objections(signed, now=first) == tdx_objections(signed, now=last) == {}
    assert tdx_objections(signed, now=first - second)["tdx.tcb_info.current"] == "undecided"
    assert tdx_objections(signed, now=last + second)["tdx.qe_identity.current"] == "undecided"


def test_facts_about_collateral_are_there_as_far_as_it_can_be_read(intel: IntelWorld) -> None:
    signed = intel.issue(qe_evaluation_number=19)
    _, _, whole = authenticate_tdx(signed)
    assert (whole["collateral_valid"], whole["tcb_status"], whole["qe_eval_number"]) == (True, "UpToDate", 19)
    _, _, without_info = authenticate_tdx(signed.with_collateral(tcb_info=b""))
    assert "collateral_valid" not in without_info
    assert "tcb_status" not in without_info
    assert (without_info["qe_identity_match"], without_info["qe_status"]) == (True, "UpToDate")
    _, _, bare = authenticate_tdx(replace(signed, collateral=TdxCollateral()))
    assert bare["qe_isvsvn"] == 7
    assert not {"qe_status", "collateral_valid", "tcb_status", "valid_until"} & bare.keys()


def test_forged_collateral_is_not_told_as_fact(intel: IntelWorld) -> None:
    _, _, facts = authenticate_tdx(intel.issue(tcb_info_signer=derived_key("nobody")))
    assert facts["collateral_valid"] is False
    assert "tcb_status" not in facts


def test_facts_of_the_longest_report_are_all_told_and_of_a_broken_chain_none(intel: IntelWorld) -> None:
    _, _, facts = authenticate_tdx(intel.issue(version=5, body_type=4, vmid=b"\x07", chain=b""))
    assert (facts["vmid"], facts["body_type"], facts["body_size"]) == (7, 4, 885)
    assert facts["init_fmspc"] == "00" * 12
    assert not {"pck", "pck_not_before"} & facts.keys()


def test_a_platform_without_an_instance_id_is_told_as_such(intel: IntelWorld) -> None:
    _, claims, facts = authenticate_tdx(intel.issue(platform_instance_id=None, configuration=None))
    assert claims is not None
    assert claims.pck.platform_instance_id is None
    assert isinstance(facts["pck"], dict)
    assert facts["pck"]["piid"] is None


def test_a_module_before_identities_has_no_status(intel: IntelWorld) -> None:
    checks, claims, facts = authenticate_tdx(
        intel.issue(
            tee_tcb_svn=bytes((5, 0, 8)) + bytes(13),
            tcb_info_edit=lambda inner: inner.pop("tdxModuleIdentities"),
        )
    )
    assert claims is not None
    assert claims.module_status is None
    assert facts["tdx_module"] is None
    assert found(checks, "tdx.tcb.level") == "UpToDate (platform UpToDate, QE UpToDate)"


def test_what_rates_nothing_is_told_as_not_supported(intel: IntelWorld) -> None:
    checks, claims, facts = authenticate_tdx(intel.issue(tee_tcb_svn=bytes((1, 1, 8)) + bytes(13)))
    assert claims is None
    assert facts["tcb_status"] == "TcbNotSupported (no TCB level matches)"
    assert (facts["tdx_module"], facts["advisory_ids"]) == (["TDX_01", None], None)
    assert found(checks, "tdx.tcb.level").endswith("TDX_01 without level)")


@pytest.mark.parametrize("part", COLLATERAL_PARTS)
def test_collateral_that_is_garbage_never_makes_a_quote_authentic(intel: IntelWorld, part: str) -> None:
    garbage: Any = (b"garbage", b"garbage") if part.endswith("_chain") else b"garbage"
    checks, claims, _ = authenticate_tdx(intel.issue().with_collateral(**{part: garbage}))
    assert claims is None
    assert any(check.outcome is Outcome.FAIL for check in checks)
