"""Whose collateral, of when, and from whom: the quote, the time in question and a PCCS decide."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from attestation.collect import collect
from attestation.collect.intel import service_at
from attestation.errors import MalformedEvidence
from attestation.hardware import TdxEvidence
from tests.attestation.collecting import NAME, TARGETS, IntelStage, both_lists, intel_stage
from tests.fakes.amd import NOW
from tests.fakes.intel import IntelSigned, IntelWorld, certify
from tests.fakes.kds import pem
from tests.fakes.pcs import PCCS_ROOT_TARGET, ROOT_TARGET, Pcs
from tests.fakes.vendor_host import Hands, running


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


# Which time


def test_what_the_sender_chose_is_not_relied_on_today(stage: IntelStage, signed: IntelSigned) -> None:
    """His revocation list may be a month old and valid, and lack what was revoked since."""
    newer = stage.world.issue(issued=NOW, revoked=frozenset({"pck"}))
    stage.pcs.publish(newer.collateral, NAME)
    found = stage.collect(signed, signed.collateral)
    assert found == replace(newer.collateral, further_crls=both_lists(signed.collateral))
    assert len(stage.pcs.host.asked) == 4


def test_what_the_sender_chose_is_used_if_it_is_newer_than_the_vendors_and_not_remembered(
    stage: IntelStage, signed: IntelSigned
) -> None:
    newer = stage.world.issue(tcb_evaluation_number=21, qe_evaluation_number=21, issued=NOW)
    stage.pcs.publish(signed.collateral, NAME)
    for _ in range(2):
        found = stage.collect(signed, newer.collateral)
        assert found == replace(newer.collateral, further_crls=both_lists(signed.collateral))
    assert stage.collect(signed) == signed.collateral
    assert len(stage.pcs.host.asked) == 4


def test_what_the_sender_chose_is_not_used_if_it_is_not_valid_yet(
    stage: IntelStage, signed: IntelSigned
) -> None:
    newer = stage.world.issue(tcb_evaluation_number=21, issued=NOW + timedelta(hours=1))
    stage.pcs.publish(signed.collateral, NAME)
    found = stage.collect(signed, newer.collateral)
    assert found == replace(signed.collateral, further_crls=both_lists(newer.collateral))


def test_if_nothing_else_can_be_had_what_the_sender_chose_is_handed_over_with_a_warning(
    stage: IntelStage, signed: IntelSigned
) -> None:
    error = stage.failure(signed, signed.collateral)
    assert "TCB info" in str(error)
    assert "root's revocation list" in str(error)
    assert error.partial.tdx == signed.collateral


def test_a_sender_who_silences_the_host_cannot_bring_back_what_is_older_than_we_have_seen(
    stage: IntelStage, signed: IntelSigned
) -> None:
    stage.pcs.publish(signed.collateral, NAME)
    stage.collect(signed)
    older = stage.world.issue(
        tcb_evaluation_number=19, qe_evaluation_number=19, issued=NOW - timedelta(days=3)
    )
    stage.pcs.host.published.clear()
    stage.hands.pass_time(days=2)
    expected = replace(signed.collateral, further_crls=both_lists(older.collateral))
    assert stage.failure(signed, older.collateral).partial.tdx == expected


def test_a_pccs_that_knows_nothing_does_not_keep_intel_from_being_asked(
    signed: IntelSigned, stage: IntelStage
) -> None:
    stage.pcs.publish(signed.collateral, NAME)
    pccs = Pcs.forge(is_pccs=True)
    with running(pccs.host):
        error = stage.failure(signed, pccs=pccs.host.url, routes={}, ca=pccs.host.ca)
    assert "no such thing (404)" in str(error)
    assert stage.collect(signed) == signed.collateral


LATER = {"days": 400}


def test_the_past_is_judged_by_what_came_along(stage: IntelStage, signed: IntelSigned) -> None:
    stage.hands.pass_time(**LATER)
    assert stage.collect(signed, signed.collateral, at=NOW) == signed.collateral
    assert stage.pcs.host.asked == []


@pytest.mark.parametrize("part", TARGETS)
def test_of_the_past_only_the_missing_part_is_asked_for(
    part: str, stage: IntelStage, signed: IntelSigned
) -> None:
    stage.hands.pass_time(**LATER)
    stage.pcs.publish(signed.collateral, NAME)
    given = replace(signed.collateral, **{part: b""})
    assert stage.collect(signed, given, at=NOW) == signed.collateral
    assert stage.pcs.host.asked == [TARGETS[part]]


@pytest.mark.parametrize("moment", [NOW + timedelta(days=60), NOW - timedelta(days=60)])
def test_of_the_past_what_was_not_valid_then_is_asked_for(
    moment: Any, stage: IntelStage, signed: IntelSigned
) -> None:
    stage.hands.pass_time(**LATER)
    stage.pcs.publish(signed.collateral, NAME)
    stage.collect(signed, signed.collateral, at=moment)
    assert len(stage.pcs.host.asked) == 4


def test_the_past_is_judged_by_a_cached_copy_that_was_valid_then(
    stage: IntelStage, signed: IntelSigned
) -> None:
    stage.pcs.publish(signed.collateral, NAME)
    stage.collect(signed)
    stage.hands.pass_time(**LATER)
    stage.pcs.host.asked.clear()
    assert stage.collect(signed, at=NOW) == signed.collateral
    assert stage.pcs.host.asked == []


def test_what_was_published_since_does_not_keep_the_past_from_being_judged(
    stage: IntelStage, signed: IntelSigned
) -> None:
    stage.hands.pass_time(**LATER)
    today = stage.world.issue(issued=NOW + timedelta(days=399), until=NOW + timedelta(days=429))
    stage.pcs.publish(today.collateral, NAME)
    stage.collect(signed)
    stage.pcs.host.asked.clear()
    assert stage.collect(signed, signed.collateral, at=NOW) == signed.collateral
    assert stage.pcs.host.asked == []


def test_of_two_issues_that_were_valid_then_the_newer_one_counts(
    stage: IntelStage, signed: IntelSigned
) -> None:
    newer = stage.world.issue(
        tcb_evaluation_number=21, qe_evaluation_number=21, issued=NOW - timedelta(hours=1)
    )
    stage.pcs.publish(newer.collateral, NAME)
    stage.collect(signed)
    stage.hands.pass_time(**LATER)
    expected = replace(newer.collateral, further_crls=both_lists(signed.collateral))
    assert stage.collect(signed, signed.collateral, at=NOW) == expected


# Which platform


def test_a_quote_below_a_strange_root_still_gets_intels_collateral(
    stage: IntelStage, signed: IntelSigned, stranger: IntelWorld
) -> None:
    stage.pcs.publish(signed.collateral, NAME)
    assert stage.collect(stranger.issue()) == signed.collateral


def test_a_certificate_in_the_quote_that_cannot_be_read_is_passed_over(
    stage: IntelStage, signed: IntelSigned
) -> None:
    junk = pem(b"no certificate")
    quote = stage.world.issue(pck=signed.pck, chain=signed.pck.pem + junk + stage.world.root.pem)
    stage.pcs.publish(signed.collateral, NAME)
    assert stage.collect(quote) == signed.collateral


def test_without_any_certificate_of_the_root_its_list_is_not_asked_for(
    stage: IntelStage, stranger: IntelWorld
) -> None:
    error = stage.failure(stranger.issue())
    assert "no certificate of the root is at hand" in str(error)
    assert ROOT_TARGET not in stage.pcs.host.asked


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"chain": b""}, "not a chain of PEM"),
        ({"chain": b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"}, "DER certificate"),
        ({"inner_type": 1}, "no PCK certificate"),
        ({"pck_extension": b"\x30\x00"}, "SGX extension"),
    ],
)
def test_a_quote_that_does_not_say_which_platform_it_is_asks_for_nothing(
    changes: dict[str, Any], why: str, stage: IntelStage
) -> None:
    with pytest.raises(MalformedEvidence, match=why):
        stage.collect(stage.world.issue(**changes))
    assert stage.pcs.host.asked == []


def test_a_platform_of_another_authority_asks_for_nothing(stage: IntelStage) -> None:
    issuer = certify(stage.world.label, "Intel SGX PCK Other CA", stage.world.root, path_length=0)
    with pytest.raises(MalformedEvidence, match="neither Intel's platform nor processor CA"):
        stage.collect(stage.world.issue(issuer=issuer))


def test_bytes_that_are_no_quote_ask_for_nothing(stage: IntelStage, signed: IntelSigned) -> None:
    with pytest.raises(MalformedEvidence):
        stage.collect(replace(signed, quote=signed.quote[:100]))
    assert stage.pcs.host.asked == []


def test_sgx_is_told_apart(stage: IntelStage, evidence_dir: Path) -> None:
    quote = (evidence_dir / "sgx-v3-not-a-td" / "quote.bin").read_bytes()
    with pytest.raises(MalformedEvidence, match="SGX"):
        collect(TdxEvidence(quote), clock=stage.hands.clock, sleep=stage.hands.sleep)


# A caching service


@pytest.mark.parametrize(
    "suffix", ["", "/", "/sgx/certification/v4", "/sgx/certification/v4/", "/some/where/"]
)
def test_a_pccs_is_asked_for_everything_under_its_own_name(
    suffix: str, signed: IntelSigned, world: IntelWorld, tmp_path: Path
) -> None:
    pcs = Pcs.forge(is_pccs=True)
    prefix = "/some/where" if "some" in suffix else ""
    pcs.publish(signed.collateral, NAME, prefix=prefix)
    with running(pcs.host):
        stage = IntelStage(world, pcs, Hands(NOW), tmp_path / "cache")
        assert stage.collect(signed, pccs=pcs.host.url + suffix, routes={}) == signed.collateral
    assert prefix + PCCS_ROOT_TARGET in pcs.host.asked
    assert {head["host"] for head in pcs.host.heads} == {f"localhost:{pcs.host.port}"}


def test_with_a_pccs_intel_is_not_asked(stage: IntelStage, signed: IntelSigned) -> None:
    stage.pcs.publish(signed.collateral, NAME)
    error = stage.failure(signed, pccs="https://localhost:1")
    assert "localhost:1: no connection" in str(error)
    assert stage.pcs.host.asked == []


@pytest.mark.parametrize(
    "url",
    [
        "http://pccs.example",
        "pccs.example",
        "https://",
        "https://user:word@pccs.example",
        "https://pccs.example?x=1",
        "https://pccs.example#x",
        "https://pccs.éxample",
        "https://pccs.example:99999",
        "https://pccs.example:0",
        "https://pccs.example/a b",
        "https://pccs.example/\nx",
        "https://pccs.example?",
        "https://[::1",
        "https://pccs..example\x7f",
    ],
)
def test_a_url_that_names_no_pccs_is_refused(url: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - whatever its text
        service_at(url)


def test_a_name_in_capitals_is_the_same_host() -> None:
    assert service_at("https://PCCS.example:8081/") == service_at("https://pccs.example:8081")


def test_an_address_names_a_pccs_too() -> None:
    assert service_at("https://[::1]:8081").hosts == ("[::1]:8081",)


@pytest.mark.parametrize("name", ["a" * 300, ".example", "..", "[::1]", "a." * 140])
def test_a_name_that_nothing_answers_to_is_no_connection(
    name: str, stage: IntelStage, signed: IntelSigned
) -> None:
    error = stage.failure(signed, pccs=f"https://{name}:1", routes={f"{name}:1": (name, 1)})
    assert "no connection" in str(error)
