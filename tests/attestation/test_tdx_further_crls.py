"""What any list of Intel's revokes stays revoked, whichever list the verifier would rather judge by."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography import x509

from attestation import authenticate
from attestation.appraise.baseline import Baseline
from attestation.check import Outcome
from attestation.formats.records import encode_collateral, parse_collateral, records_of
from attestation.hardware import Hardware
from attestation.model import Appraisal, Collateral, TdxCollateral
from attestation.rule import evaluate
from attestation.tdx.abi import parse_quote
from attestation.tdx.chain import Case, build_case, collateral_in_force
from attestation.tdx.collateral_rules import COLLATERAL_RULES
from attestation.tdx.roots import INTEL_ROOTS
from attestation.verify import verify_hardware
from attestation.x509 import load_crl
from tests.fakes.amd import NOW
from tests.fakes.intel import IntelWorld, derived_key
from tests.fakes.judges import authenticate_tdx, tdx_objections
from tests.fakes.tpm import TpmWorld, azure_tdx

HOUR = timedelta(hours=1)
WHOM = pytest.mark.parametrize(
    ("whom", "check"), [("pck", "tdx.crl.pck"), ("ca", "tdx.crl.root"), ("signing", "tdx.crl.root")]
)


@pytest.fixture
def pinned(intel: IntelWorld, monkeypatch: pytest.MonkeyPatch) -> IntelWorld:
    monkeypatch.setattr(authenticate, "INTEL_ROOTS", intel.roots)
    return intel


def judged(hardware: Hardware, supplied: TdxCollateral) -> Appraisal:
    return verify_hardware(hardware, Collateral(tdx=supplied), Baseline(), now=NOW)


def lists(collateral: TdxCollateral) -> tuple[bytes, ...]:
    return collateral.pck_crl, collateral.root_crl


# --- the evidence's own lists, beside those of the verifier ----------------------------------------------


@WHOM
@pytest.mark.parametrize("platform", ["tdx", "azure-tdx"])
def test_a_revocation_that_the_evidence_carries_outlives_the_verifiers_collateral(
    pinned: IntelWorld, tpm: TpmWorld, platform: str, whom: str, check: str
) -> None:
    def issue(*revoked: str) -> Hardware:
        if platform == "tdx":
            return pinned.issue(revoked=frozenset(revoked)).evidence
        return azure_tdx(pinned, tpm, revoked=frozenset(revoked)).evidence

    supplied = pinned.issue().collateral
    assert judged(issue(), supplied).failed == ()
    appraisal = judged(issue(whom), supplied)
    assert [(one.id, one.outcome) for one in appraisal.failed] == [(check, Outcome.FAIL)]
    assert appraisal.failed[0].found.endswith("by a further list")


def test_all_lists_count_those_of_the_evidence_and_those_beside_them(intel: IntelWorld) -> None:
    own = replace(intel.issue(issued=NOW).collateral, further_crls=(b"older",))
    supplied = replace(intel.issue().collateral, further_crls=(b"oldest",))
    found = collateral_in_force(own, supplied)
    assert found.further_crls == (b"oldest", own.pck_crl, own.root_crl, b"older")
    assert replace(found, further_crls=(b"oldest",)) == supplied
    assert collateral_in_force(own, None) is own
    assert collateral_in_force(supplied, supplied) == supplied
    assert collateral_in_force(TdxCollateral(), supplied) == supplied


# --- genuine ones are enforced, whatever their dates; others are nobody's word ----------------------------


@WHOM
@pytest.mark.parametrize("life", [{}, {"until": NOW - HOUR}, {"issued": NOW + HOUR}])
def test_a_further_list_revokes_whatever_its_dates_and_place(
    intel: IntelWorld, whom: str, check: str, life: dict[str, object]
) -> None:
    revoking = intel.issue(revoked=frozenset({whom}), **life).collateral
    for further in (lists(revoking), lists(revoking)[::-1], (b"junk", *lists(revoking))):
        assert tdx_objections(intel.issue().with_collateral(further_crls=further)) == {check: "fail"}


@pytest.mark.parametrize("name", ["pck", "root"])
def test_a_revocation_in_a_further_list_does_not_wait_for_the_current_one(
    intel: IntelWorld, name: str
) -> None:
    whom = frozenset({"pck", "ca"})
    further = lists(intel.issue(revoked=whom).collateral)
    for current in (b"", getattr(intel.issue(until=NOW - HOUR).collateral, f"{name}_crl")):
        signed = intel.issue().with_collateral(further_crls=further, **{f"{name}_crl": current})
        assert tdx_objections(signed)[f"tdx.crl.{name}"] == "fail"


@pytest.mark.parametrize("name", ["pck", "root"])
def test_a_further_list_cannot_stand_for_the_current_one(intel: IntelWorld, name: str) -> None:
    signed = intel.issue()
    bare = signed.with_collateral(further_crls=lists(signed.collateral), **{f"{name}_crl": b""})
    assert tdx_objections(bare) == {f"tdx.crl.{name}": "undecided"}


def test_lists_that_their_authority_did_not_sign_are_passed_over(intel: IntelWorld) -> None:
    everybody, stranger = frozenset({"pck", "ca", "signing"}), derived_key("a stranger")
    forged = intel.issue(revoked=everybody, pck_crl_signer=stranger, root_crl_signer=stranger)
    alike = IntelWorld.forge("look-alike").issue(revoked=everybody)
    further = (*lists(forged.collateral), *lists(alike.collateral), b"", b"junk", forged.quote)
    signed = intel.issue().with_collateral(further_crls=further)
    assert tdx_objections(signed) == {}
    checks, _, _ = authenticate_tdx(signed)
    found = {check.id: check.found for check in checks}
    assert found["tdx.crl.pck"] == found["tdx.crl.root"] == "revokes 0, none of ours"


def test_says_how_many_further_lists_were_enforced(intel: IntelWorld) -> None:
    further = lists(intel.issue(revoked=frozenset({"bystander"})).collateral)
    checks, claims, _ = authenticate_tdx(intel.issue().with_collateral(further_crls=further))
    assert claims is not None
    found = {check.id: check.found for check in checks}
    assert found["tdx.crl.pck"] == "revokes 0, none of ours; nor do 1 further"
    assert found["tdx.crl.root"] == "revokes 0, none of ours; nor do 1 further"


def test_without_a_chain_in_the_quote_no_list_is_anybodys(intel: IntelWorld) -> None:
    further = lists(intel.issue(revoked=frozenset({"pck", "ca"})).collateral)
    signed = intel.issue(chain=b"").with_collateral(further_crls=further)
    against = tdx_objections(signed)
    assert against["tdx.crl.root"] == "undecided"
    assert against["tdx.pck.root"] == "fail"


# --- what Intel did on 2026-07-16 -------------------------------------------------------------------------


def real_list(evidence_dir: Path, entries: int) -> bytes:
    return (evidence_dir / "roots" / f"intel-pck-platform-crl-2026-07-n{entries}.der").read_bytes()


def serials(der: bytes) -> set[int]:
    return {entry.serial_number for entry in x509.load_der_x509_crl(der)}


def real_case(evidence_dir: Path, further: tuple[bytes, ...]) -> Case:
    """Intel's own CA and root, and its newest list."""
    newest = real_list(evidence_dir, 57)
    return build_case(
        parse_quote((evidence_dir / "tdx-v4-gcp-cos113-ccel" / "quote.bin").read_bytes()),
        TdxCollateral(pck_crl=newest, further_crls=further),
        roots=INTEL_ROOTS,
        development_root=None,
        now=load_crl(newest).last_update_utc,
    )


def outcome_for(case: Case, serial: int) -> Outcome:
    """What the rule says of a platform's certificate of this number: of it only names and number count."""
    pck: Any = SimpleNamespace(subject=case.pck.subject, issuer=case.pck.issuer, serial_number=serial)
    rule = next(rule for rule in COLLATERAL_RULES if rule.id == "tdx.crl.pck")
    return evaluate(rule, replace(case, chain=(pck, case.authority, case.root))).outcome


def test_the_newer_of_two_real_lists_forgets_what_the_older_of_that_morning_revokes(
    evidence_dir: Path,
) -> None:
    newer, older = real_list(evidence_dir, 57), real_list(evidence_dir, 129)
    gap = load_crl(newer).last_update_utc - load_crl(older).last_update_utc
    assert timedelta() < gap < timedelta(hours=4)
    forgotten = serials(older) - serials(newer)
    assert serials(newer) < serials(older)
    assert len(forgotten) == 72
    alone, together = real_case(evidence_dir, ()), real_case(evidence_dir, (older,))
    assert outcome_for(together, 1) is Outcome.PASS
    for serial in sorted(forgotten):
        assert (outcome_for(alone, serial), outcome_for(together, serial)) == (Outcome.PASS, Outcome.FAIL)


# --- not part of any format -------------------------------------------------------------------------------


def test_further_lists_are_a_verifiers_own_and_stand_in_no_document(intel: IntelWorld) -> None:
    signed = intel.issue()
    more = signed.with_collateral(further_crls=(b"a list",))
    assert encode_collateral(more.collateral) == encode_collateral(signed.collateral)
    assert parse_collateral(encode_collateral(more.collateral)) == signed.collateral
    assert encode_collateral(TdxCollateral(further_crls=(b"a list",))) == b""
    bare = replace(more.evidence, collateral=TdxCollateral(further_crls=(b"a list",)))
    assert records_of(bare).keys() == {"tdx-quote"}


def test_further_lists_are_named_among_what_went_in_whoever_brought_them(pinned: IntelWorld) -> None:
    signed = pinned.issue()
    with_one = replace(signed.collateral, further_crls=(signed.collateral.pck_crl,))
    plain, more = judged(signed.evidence, signed.collateral), judged(signed.evidence, with_one)
    assert more.inputs.keys() - plain.inputs.keys() == {"supplied tdx-crls"}
    assert "supplied tdx-collateral" in plain.inputs
    beside = replace(signed.evidence, collateral=with_one)
    assert judged(beside, signed.collateral).inputs.keys() - plain.inputs.keys() == {"tdx-crls"}
    assert judged(beside, signed.collateral).evidence_sha256 != plain.evidence_sha256
    only = judged(signed.evidence, TdxCollateral(further_crls=(signed.collateral.pck_crl,)))
    assert {name for name in only.inputs if name.startswith("supplied")} == {"supplied tdx-crls"}
