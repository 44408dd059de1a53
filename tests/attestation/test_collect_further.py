"""Of the sender's list and the vendor's the newer one leads, and what the older one revokes is kept too."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from attestation.collect import collect
from attestation.hardware import TdxEvidence
from attestation.model import TdxCollateral
from attestation.pem import parse_pem
from attestation.tdx.abi import parse_quote
from attestation.tdx.chain import parse_pem_chain
from attestation.x509 import load_crl
from tests.attestation.collecting import NAME, IntelStage, both_lists, intel_stage
from tests.fakes.amd import NOW
from tests.fakes.intel import IntelSigned, IntelWorld
from tests.fakes.judges import tdx_objections
from tests.fakes.pcs import Pcs
from tests.fakes.vendor_host import Hands, running

REVOKED = frozenset({"pck", "ca"})


@pytest.fixture(scope="module")
def world() -> IntelWorld:
    return IntelWorld.forge()


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


def refused_by_both(signed: IntelSigned, found: TdxCollateral) -> bool:
    """Whether it is judged as revoked by either authority, by further lists alone."""
    alone = tdx_objections(replace(signed, collateral=replace(found, further_crls=())))
    against = tdx_objections(replace(signed, collateral=found))
    return (alone, against) == ({}, {"tdx.crl.pck": "fail", "tdx.crl.root": "fail"})


def test_the_senders_older_list_goes_along_with_the_vendors(stage: IntelStage, signed: IntelSigned) -> None:
    older = stage.world.issue(issued=NOW - timedelta(days=3), revoked=REVOKED).collateral
    stage.pcs.publish(signed.collateral, NAME)
    found = stage.collect(signed, older)
    assert found == replace(signed.collateral, further_crls=both_lists(older))
    assert refused_by_both(signed, found)


@pytest.mark.parametrize("cache", [True, False])
def test_the_vendors_older_list_goes_along_with_the_senders(
    stage: IntelStage, signed: IntelSigned, cache: bool
) -> None:
    older = stage.world.issue(issued=NOW - timedelta(days=3), revoked=REVOKED).collateral
    stage.pcs.publish(older, NAME)
    for _ in range(2):
        found = stage.collect(signed, signed.collateral, cache_dir=stage.cache if cache else None)
        assert found == replace(signed.collateral, further_crls=both_lists(older))
        assert refused_by_both(signed, found)


def test_nothing_goes_along_if_only_what_is_valid_is_wanted(stage: IntelStage, signed: IntelSigned) -> None:
    older = stage.world.issue(issued=NOW - timedelta(days=3), revoked=REVOKED).collateral
    stage.pcs.publish(signed.collateral, NAME)
    given = replace(older, further_crls=(b"more",))
    assert stage.collect(signed, given, only_valid=True) == signed.collateral


def test_a_list_that_ran_out_goes_along_too(stage: IntelStage, signed: IntelSigned) -> None:
    past = {"issued": NOW - timedelta(days=60), "until": NOW - timedelta(days=30)}
    older = stage.world.issue(revoked=REVOKED, **past).collateral
    stage.pcs.publish(signed.collateral, NAME)
    assert refused_by_both(signed, stage.collect(signed, older))


def test_the_senders_older_list_goes_along_with_what_was_seen_before(
    stage: IntelStage, signed: IntelSigned
) -> None:
    stage.pcs.publish(signed.collateral, NAME)
    stage.collect(signed)
    stage.pcs.host.published.clear()
    stage.hands.pass_time(days=2)
    older = stage.world.issue(issued=NOW - timedelta(days=3), revoked=REVOKED).collateral
    found = stage.failure(signed, older).partial.tdx
    assert found is not None
    assert found.further_crls == both_lists(older)


def test_lists_that_intel_did_not_sign_do_not_go_along(stage: IntelStage, signed: IntelSigned) -> None:
    forged = IntelWorld.forge("stranger").issue(revoked=REVOKED).collateral
    stage.pcs.publish(signed.collateral, NAME)
    for given in (forged, replace(signed.collateral, pck_crl=b"junk", root_crl=b"")):
        assert stage.collect(signed, given) == signed.collateral
    stage.pcs.host.published.clear()
    stage.hands.pass_time(days=2)
    found = stage.failure(signed, forged).partial.tdx
    assert found is not None
    assert found.further_crls == ()


def test_lists_that_were_given_as_further_ones_stay_and_none_stands_twice(
    stage: IntelStage, signed: IntelSigned
) -> None:
    older = stage.world.issue(issued=NOW - timedelta(days=3)).collateral
    stage.pcs.publish(signed.collateral, NAME)
    given = replace(older, further_crls=(signed.collateral.pck_crl, older.root_crl, b"more"))
    found = stage.collect(signed, given)
    assert found.further_crls == (older.root_crl, b"more", older.pck_crl)


def test_both_real_lists_of_one_day_are_kept(pcs: Pcs, evidence_dir: Path) -> None:
    """Intel's own CA made both; the newer one lacks 72 of the older's numbers."""
    newer, older = (
        (evidence_dir / "roots" / f"intel-pck-platform-crl-2026-07-n{n}.der").read_bytes() for n in (57, 129)
    )
    folder = evidence_dir / "tdx-v4-gcp-cos113-ccel"
    quote = (folder / "quote.bin").read_bytes()
    chain = tuple(parse_pem_chain(parse_quote(quote).signature.cert_data)[1:])
    signing = parse_pem((folder / "tcb_signing_chain.pem").read_bytes(), "CERTIFICATE", "the signer's chain")
    served = TdxCollateral(
        tcb_info=(folder / "tcb_info.json").read_bytes(),
        tcb_info_chain=signing,
        qe_identity=(folder / "qe_identity.json").read_bytes(),
        qe_identity_chain=signing,
        pck_crl=newer,
        pck_crl_chain=chain,
        root_crl=(folder / "root_ca_crl.der").read_bytes(),
    )
    pcs.host.published.clear()
    fmspc = json.loads(served.tcb_info)["tcbInfo"]["fmspc"].lower()
    hands = Hands(load_crl(newer).last_update_utc + timedelta(hours=1))
    for vendors, senders in ((newer, older), (older, newer)):
        pcs.publish(replace(served, pck_crl=vendors), fmspc)
        evidence = TdxEvidence(quote, replace(served, pck_crl=senders))
        found = collect(
            evidence, clock=hands.clock, sleep=hands.sleep, ca=pcs.host.ca, routes=pcs.host.routes
        ).tdx
        assert found is not None
        assert (found.pck_crl, found.further_crls) == (newer, (older,))
