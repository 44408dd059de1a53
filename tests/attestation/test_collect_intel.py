"""What Intel publishes is fetched if missing, kept if Intel signed it, and never gives way to an older."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from attestation.model import TdxCollateral
from tests.attestation.collecting import NAME, NOTHING, TARGETS, TCB, IntelStage, both_lists, intel_stage
from tests.fakes.amd import NOW
from tests.fakes.intel import PROCESSOR_CA, TCB_SIGNING, IntelSigned, IntelWorld, certify
from tests.fakes.pcs import API, QE_TARGET, Pcs, encoded, pck_crl_target
from tests.fakes.vendor_host import Reply, running


@pytest.fixture(scope="module")
def world() -> IntelWorld:
    return IntelWorld.forge()


@pytest.fixture(scope="module")
def stranger() -> IntelWorld:
    """An Intel of the same names and other keys."""
    return IntelWorld.forge("stranger")


@pytest.fixture(scope="module")
def signed(world: IntelWorld) -> IntelSigned:
    return world.issue()


@pytest.fixture(scope="module")
def pcs() -> Iterator[Pcs]:
    made = Pcs.forge()
    with running(made.host):
        yield made


@pytest.fixture
def stage(world: IntelWorld, pcs: Pcs, tmp_path: Path) -> IntelStage:
    return intel_stage(world, pcs, tmp_path)


def test_a_bare_quote_gets_all_four_things_byte_for_byte(stage: IntelStage, signed: IntelSigned) -> None:
    stage.pcs.publish(signed.collateral, NAME)
    assert stage.collect(signed) == signed.collateral
    assert sorted(stage.pcs.host.asked) == sorted(TARGETS.values())


def test_the_processor_ca_has_a_list_of_its_own(stage: IntelStage) -> None:
    issuer = certify(stage.world.label, PROCESSOR_CA, stage.world.root, path_length=0)
    signed = stage.world.issue(issuer=issuer)
    stage.pcs.publish(signed.collateral, NAME, authority="processor")
    assert stage.collect(signed) == signed.collateral
    assert pck_crl_target("processor") in stage.pcs.host.asked


def test_a_platform_is_asked_for_by_its_own_fmspc(stage: IntelStage) -> None:
    signed = stage.world.issue(fmspc=bytes.fromhex("b0c06f000000"), tcb_fmspc=bytes.fromhex("b0c06f000000"))
    stage.pcs.publish(signed.collateral, "b0c06f000000")
    assert stage.collect(signed) == signed.collateral


def test_spaces_written_as_plus_signs_in_a_header_are_understood(
    stage: IntelStage, signed: IntelSigned
) -> None:
    stage.pcs.publish(signed.collateral, NAME, plus=True)
    assert stage.collect(signed) == signed.collateral


def test_a_sender_cannot_pass_off_collateral_that_intel_did_not_sign(
    stage: IntelStage, signed: IntelSigned, stranger: IntelWorld
) -> None:
    stage.pcs.publish(signed.collateral, NAME)
    assert stage.collect(signed, stranger.issue().collateral) == signed.collateral


def test_a_sender_cannot_pass_off_what_is_older_than_we_have_seen(
    stage: IntelStage, signed: IntelSigned
) -> None:
    stage.pcs.publish(signed.collateral, NAME)
    stage.collect(signed)
    older = stage.world.issue(
        tcb_evaluation_number=19, qe_evaluation_number=19, issued=NOW - timedelta(days=3)
    )
    expected = replace(signed.collateral, further_crls=both_lists(older.collateral))
    assert stage.collect(signed, older.collateral) == expected


def test_everything_is_asked_for_again_if_told_to(stage: IntelStage, signed: IntelSigned) -> None:
    stage.pcs.publish(signed.collateral, NAME)
    for _ in range(2):
        stage.collect(signed, signed.collateral, renew=True)
    assert len(stage.pcs.host.asked) == 8


def test_the_cache_spares_the_host_a_day(stage: IntelStage, signed: IntelSigned) -> None:
    stage.pcs.publish(signed.collateral, NAME)
    for _ in range(2):
        assert stage.collect(signed) == signed.collateral
    assert len(stage.pcs.host.asked) == 4
    stage.hands.pass_time(days=1)
    stage.collect(signed)
    assert len(stage.pcs.host.asked) == 8


def test_what_could_not_be_had_is_named_and_the_rest_handed_over(
    stage: IntelStage, signed: IntelSigned
) -> None:
    stage.pcs.publish(signed.collateral, NAME)
    stage.pcs.host.published[QE_TARGET] = Reply(status=500)
    error = stage.failure(signed, TdxCollateral(qe_identity_chain=signed.collateral.qe_identity_chain))
    assert f"QE identity: {API} answered 500" in str(error)
    assert error.partial.tdx == replace(signed.collateral, qe_identity=b"")


def test_neither_the_cache_nor_the_evidence_passes_for_an_answer_if_only_what_is_valid_is_wanted(
    stage: IntelStage, signed: IntelSigned
) -> None:
    stage.pcs.publish(signed.collateral, NAME)
    stage.collect(signed)
    older = stage.world.issue(
        tcb_evaluation_number=19, qe_evaluation_number=19, issued=NOW - timedelta(days=3)
    ).collateral
    stage.pcs.host.published.clear()
    for given, further in ((older, both_lists(older)), (signed.collateral, ())):
        expected = replace(signed.collateral, further_crls=further)
        assert stage.failure(signed, given, renew=True).partial.tdx == expected
        error = stage.failure(signed, given, renew=True, only_valid=True)
        assert error.partial.tdx == NOTHING
        assert error.missing[:2] == ("TCB info", "QE identity")


def test_what_a_service_serves_beyond_its_time_is_no_answer_if_only_what_is_valid_is_wanted(
    stage: IntelStage, signed: IntelSigned
) -> None:
    stage.pcs.publish(signed.collateral, NAME)
    stage.hands.pass_time(days=400)
    assert stage.collect(signed, cache_dir=None) == signed.collateral
    error = stage.failure(signed, cache_dir=None, only_valid=True)
    assert error.partial.tdx == NOTHING
    assert "TCB info: what is published is not valid at that time" in str(error)


def test_an_unknown_platform_is_told_apart(stage: IntelStage, signed: IntelSigned) -> None:
    stage.pcs.publish(signed.collateral, NAME)
    del stage.pcs.host.published[TCB]
    assert f"TCB info: {API} knows of no such thing (404)" in str(stage.failure(signed))


# Older than what was seen


PAST = NOW - timedelta(days=3)


@pytest.mark.parametrize(
    ("part", "older"),
    [
        ("tcb_info", {"tcb_evaluation_number": 19}),
        ("tcb_info", {"tcb_info_issued": PAST}),
        ("tcb_info", {"tcb_evaluation_number": 19, "tcb_info_issued": NOW}),
        ("qe_identity", {"qe_evaluation_number": 19}),
        ("qe_identity", {"qe_identity_issued": PAST}),
        ("pck_crl", {"pck_crl_issued": PAST}),
        ("root_crl", {"root_crl_issued": PAST}),
    ],
)
def test_an_older_issue_never_takes_the_place_of_a_newer_one(
    part: str, older: dict[str, Any], stage: IntelStage, signed: IntelSigned
) -> None:
    stage.pcs.publish(signed.collateral, NAME)
    stage.collect(signed)
    stage.pcs.publish(stage.world.issue(**older).collateral, NAME)
    for days in (1, 1, 26):
        stage.hands.pass_time(days=days)
        assert getattr(stage.collect(signed), part) == getattr(signed.collateral, part)
    stage.hands.pass_time(days=2)
    assert "older than what was seen before" in str(stage.failure(signed))


def test_a_newer_issue_replaces_the_older_one(stage: IntelStage, signed: IntelSigned) -> None:
    stage.pcs.publish(signed.collateral, NAME)
    stage.collect(signed)
    newer = stage.world.issue(tcb_evaluation_number=21, qe_evaluation_number=21, issued=NOW)
    stage.pcs.publish(newer.collateral, NAME)
    stage.hands.pass_time(days=1)
    assert stage.collect(signed) == newer.collateral
    assert stage.collect(signed) == newer.collateral
    assert len(stage.pcs.host.asked) == 8


# What came is not what was asked for


def garbled(collateral: TdxCollateral, part: str) -> bytes:
    """One byte in the middle of what is signed, changed."""
    body = bytearray(getattr(collateral, part))
    body[len(body) // 2] ^= 1
    return bytes(body)


Liar = Callable[[IntelWorld, IntelWorld, IntelSigned], TdxCollateral]
WRONG: dict[str, Liar] = {
    "everything by a stranger": lambda w, s, g: s.issue().collateral,
    "tcb_info of another platform": lambda w, s, g: w.issue(tcb_fmspc=bytes(6)).collateral,
    "tcb_info garbled": lambda w, s, g: replace(g.collateral, tcb_info=garbled(g.collateral, "tcb_info")),
    "tcb_info as html": lambda w, s, g: replace(g.collateral, tcb_info=b"<html>log in</html>"),
    "tcb_info by the pck": lambda w, s, g: (
        w.issue(tcb_info_signer=g.pck.key, tcb_info_chain=(g.pck.der, w.root.der)).collateral
    ),
    "tcb_info by the platform ca": lambda w, s, g: (
        w.issue(tcb_info_signer=w.ca.key, tcb_info_chain=(w.ca.der, w.root.der)).collateral
    ),
    "tcb_info by a stranger's signer": lambda w, s, g: w.issue(tcb_info_signer=s.signing.key).collateral,
    "tcb_info with a stranger's chain": lambda w, s, g: (
        w.issue(tcb_info_signer=s.signing.key, tcb_info_chain=(s.signing.der, w.root.der)).collateral
    ),
    "tcb_info with a chain of one": lambda w, s, g: w.issue(tcb_info_chain=(w.signing.der,)).collateral,
    "qe_identity garbled": lambda w, s, g: replace(
        g.collateral, qe_identity=garbled(g.collateral, "qe_identity")
    ),
    "qe_identity that is a tcb info": lambda w, s, g: replace(
        g.collateral, qe_identity=g.collateral.tcb_info
    ),
    "qe_identity of sgx": lambda w, s, g: w.issue(qe_identity_edit=lambda i: i.update(id="QE")).collateral,
    "pck_crl garbled": lambda w, s, g: replace(g.collateral, pck_crl=garbled(g.collateral, "pck_crl")),
    "pck_crl of the root": lambda w, s, g: replace(g.collateral, pck_crl=g.collateral.root_crl),
    "pck_crl by a stranger": lambda w, s, g: w.issue(pck_crl_signer=s.ca.key).collateral,
    "pck_crl of the processor ca": lambda w, s, g: (
        w.issue(issuer=certify(w.label, PROCESSOR_CA, w.root, path_length=0)).collateral
    ),
    "root_crl garbled": lambda w, s, g: replace(g.collateral, root_crl=garbled(g.collateral, "root_crl")),
    "root_crl of the platform ca": lambda w, s, g: replace(g.collateral, root_crl=g.collateral.pck_crl),
    "root_crl by a stranger": lambda w, s, g: w.issue(root_crl_signer=s.root.key).collateral,
    "root_crl as html": lambda w, s, g: replace(g.collateral, root_crl=b"<html>log in</html>"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_not_what_was_asked_for_is_neither_handed_on_nor_kept(
    what: str, stage: IntelStage, signed: IntelSigned, stranger: IntelWorld
) -> None:
    part = what.split()[0]
    stage.pcs.publish(WRONG[what](stage.world, stranger, signed), NAME)
    error = stage.failure(signed)
    assert "what came is not it" in str(error)
    expected = NOTHING if part == "everything" else replace(signed.collateral, **{part: b""})
    assert error.partial.tdx is not None
    for name in TARGETS:
        assert getattr(error.partial.tdx, name) == getattr(expected, name), name
    stage.pcs.publish(signed.collateral, NAME)
    assert stage.collect(signed) == signed.collateral


def test_a_signer_whose_key_is_no_p256_is_refused(stage: IntelStage, signed: IntelSigned) -> None:
    odd: Any = ec.generate_private_key(ec.SECP384R1())
    signer = certify(stage.world.label, TCB_SIGNING, stage.world.root, key=odd)
    stage.pcs.publish(stage.world.issue(tcb_info_chain=(signer.der, stage.world.root.der)).collateral, NAME)
    assert "TCB info: what came is not it: the signing key is not P-256" in str(stage.failure(signed))


@pytest.mark.parametrize(
    "headers",
    [
        (),
        (("TCB-Info-Issuer-Chain", ""),),
        (("TCB-Info-Issuer-Chain", "%ZZ%"),),
        (("TCB-Info-Issuer-Chain", "-----BEGIN%20CERTIFICATE-----%0A!!!%0A-----END%20CERTIFICATE-----"),),
        (("TCB-Info-Issuer-Chain", "RIGHT"), ("TCB-Info-Issuer-Chain", "RIGHT")),
        (("TCB-Info-Issuer-Chain", "RIGHT%3Chtml%3E"),),
        (("SGX-Enclave-Identity-Issuer-Chain", "RIGHT"),),
    ],
)
def test_a_chain_that_is_missing_doubled_or_no_chain_is_refused(
    headers: tuple[tuple[str, str], ...], stage: IntelStage, signed: IntelSigned
) -> None:
    right = encoded(signed.collateral.tcb_info_chain)
    stage.pcs.publish(signed.collateral, NAME)
    given = tuple((name, value.replace("RIGHT", right)) for name, value in headers)
    stage.pcs.host.published[TCB] = Reply(signed.collateral.tcb_info, headers=given)
    error = stage.failure(signed)
    assert "TCB info: what came is not it" in str(error)


def test_the_header_of_version_3_is_understood_too(stage: IntelStage, signed: IntelSigned) -> None:
    stage.pcs.publish(signed.collateral, NAME)
    chain = ("SGX-TCB-Info-Issuer-Chain", encoded(signed.collateral.tcb_info_chain))
    stage.pcs.host.published[TCB] = Reply(signed.collateral.tcb_info, headers=(chain,))
    assert stage.collect(signed) == signed.collateral


@pytest.mark.parametrize("poison", [b"", b"\xff", b'{"format":"casemate/collateral/1"}'])
def test_a_poisoned_file_is_ignored_and_fetched_again(
    poison: bytes, stage: IntelStage, signed: IntelSigned
) -> None:
    stage.pcs.publish(signed.collateral, NAME)
    stage.collect(signed)
    for path in stage.cache.glob("*.json"):
        path.write_bytes(poison)
    assert stage.collect(signed) == signed.collateral
    assert len(stage.pcs.host.asked) == 8


def test_a_cache_that_a_stranger_filled_does_not_hold_back_what_intel_signed(
    stage: IntelStage, signed: IntelSigned, stranger: IntelWorld
) -> None:
    """Its numbers could never be outdone, if anything believed them."""
    lies = stranger.issue(
        tcb_evaluation_number=1 << 52, qe_evaluation_number=1 << 52, until=NOW.replace(2040)
    )
    stage.pcs.publish(lies.collateral, NAME)
    stage.collect(lies, intel_roots=stranger.roots)
    stage.pcs.publish(signed.collateral, NAME)
    assert stage.collect(signed) == signed.collateral
