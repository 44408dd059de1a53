"""What Intel publishes is fetched if missing, kept if Intel signed it, and never gives way to an older."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from attestation.collect import CollateralUnavailable, collect
from attestation.collect.intel import service_at
from attestation.errors import MalformedEvidence
from attestation.hardware import TdxEvidence
from attestation.model import TdxCollateral
from tests.fakes.amd import NOW
from tests.fakes.intel import PROCESSOR_CA, TCB_SIGNING, IntelSigned, IntelWorld, certify
from tests.fakes.intel_layout import FMSPC
from tests.fakes.pcs import (
    API,
    PCCS_ROOT_TARGET,
    QE_TARGET,
    ROOT_TARGET,
    Pcs,
    encoded,
    pck_crl_target,
    tcb_target,
)
from tests.fakes.vendor_host import Hands, Reply, running

NAME = FMSPC.hex()
TCB, PCK = tcb_target(NAME), pck_crl_target("platform")
TARGETS = {"tcb_info": TCB, "qe_identity": QE_TARGET, "pck_crl": PCK, "root_crl": ROOT_TARGET}
NOTHING = TdxCollateral()


@dataclass(slots=True)
class Stage:
    """A forged Intel with its PCS, a clock, and a directory for the cache."""

    world: IntelWorld
    pcs: Pcs
    hands: Hands
    cache: Path

    def collect(self, signed: IntelSigned, given: TdxCollateral = NOTHING, **changes: Any) -> TdxCollateral:
        fitting: dict[str, Any] = {
            "cache_dir": self.cache,
            "ca": self.pcs.host.ca,
            "routes": self.pcs.host.routes,
            "clock": self.hands.clock,
            "sleep": self.hands.sleep,
            "intel_roots": self.world.roots,
        }
        found = collect(TdxEvidence(signed.quote, given), **(fitting | changes)).tdx
        assert found is not None
        return found

    def failure(
        self, signed: IntelSigned, given: TdxCollateral = NOTHING, **changes: Any
    ) -> CollateralUnavailable:
        with pytest.raises(CollateralUnavailable) as caught:
            self.collect(signed, given, **changes)
        return caught.value


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
def stage(world: IntelWorld, pcs: Pcs, tmp_path: Path) -> Stage:
    pcs.host.published.clear()
    pcs.host.script.clear()
    pcs.host.asked.clear()
    return Stage(world, pcs, Hands(NOW), tmp_path / "cache")


def test_a_bare_quote_gets_all_four_things_byte_for_byte(stage: Stage, signed: IntelSigned) -> None:
    stage.pcs.publish(signed.collateral, NAME)
    assert stage.collect(signed) == signed.collateral
    assert sorted(stage.pcs.host.asked) == sorted(TARGETS.values())


def test_the_processor_ca_has_a_list_of_its_own(stage: Stage) -> None:
    issuer = certify(stage.world.label, PROCESSOR_CA, stage.world.root, path_length=0)
    signed = stage.world.issue(issuer=issuer)
    stage.pcs.publish(signed.collateral, NAME, authority="processor")
    assert stage.collect(signed) == signed.collateral
    assert pck_crl_target("processor") in stage.pcs.host.asked


def test_a_platform_is_asked_for_by_its_own_fmspc(stage: Stage) -> None:
    signed = stage.world.issue(fmspc=bytes.fromhex("b0c06f000000"), tcb_fmspc=bytes.fromhex("b0c06f000000"))
    stage.pcs.publish(signed.collateral, "b0c06f000000")
    assert stage.collect(signed) == signed.collateral


def test_spaces_written_as_plus_signs_in_a_header_are_understood(stage: Stage, signed: IntelSigned) -> None:
    stage.pcs.publish(signed.collateral, NAME, plus=True)
    assert stage.collect(signed) == signed.collateral


def test_what_the_sender_chose_is_not_relied_on_today(stage: Stage, signed: IntelSigned) -> None:
    """His revocation list may be a month old and valid, and lack what was revoked since."""
    newer = stage.world.issue(issued=NOW, revoked=frozenset({"pck"}))
    stage.pcs.publish(newer.collateral, NAME)
    assert stage.collect(signed, signed.collateral) == newer.collateral
    assert len(stage.pcs.host.asked) == 4


def test_if_nothing_else_can_be_had_what_the_sender_chose_is_handed_over_with_a_warning(
    stage: Stage, signed: IntelSigned
) -> None:
    error = stage.failure(signed, signed.collateral)
    assert "TCB info" in str(error)
    assert "root's revocation list" in str(error)
    assert error.partial.tdx == signed.collateral


LATER = {"days": 400}


def test_the_past_is_judged_by_what_came_along(stage: Stage, signed: IntelSigned) -> None:
    stage.hands.pass_time(**LATER)
    assert stage.collect(signed, signed.collateral, at=NOW) == signed.collateral
    assert stage.pcs.host.asked == []


@pytest.mark.parametrize("part", TARGETS)
def test_of_the_past_only_the_missing_part_is_asked_for(part: str, stage: Stage, signed: IntelSigned) -> None:
    stage.hands.pass_time(**LATER)
    stage.pcs.publish(signed.collateral, NAME)
    given = replace(signed.collateral, **{part: b""})
    assert stage.collect(signed, given, at=NOW) == signed.collateral
    assert stage.pcs.host.asked == [TARGETS[part]]


@pytest.mark.parametrize("moment", [NOW + timedelta(days=60), NOW - timedelta(days=60)])
def test_of_the_past_what_was_not_valid_then_is_asked_for(
    moment: Any, stage: Stage, signed: IntelSigned
) -> None:
    stage.hands.pass_time(**LATER)
    stage.pcs.publish(signed.collateral, NAME)
    stage.collect(signed, signed.collateral, at=moment)
    assert len(stage.pcs.host.asked) == 4


def test_the_past_is_judged_by_a_cached_copy_that_was_valid_then(stage: Stage, signed: IntelSigned) -> None:
    stage.pcs.publish(signed.collateral, NAME)
    stage.collect(signed)
    stage.hands.pass_time(**LATER)
    stage.pcs.host.asked.clear()
    assert stage.collect(signed, at=NOW) == signed.collateral
    assert stage.pcs.host.asked == []


def test_what_was_published_since_does_not_keep_the_past_from_being_judged(
    stage: Stage, signed: IntelSigned
) -> None:
    stage.hands.pass_time(**LATER)
    today = stage.world.issue(issued=NOW + timedelta(days=399), until=NOW + timedelta(days=429))
    stage.pcs.publish(today.collateral, NAME)
    stage.collect(signed)
    stage.pcs.host.asked.clear()
    assert stage.collect(signed, signed.collateral, at=NOW) == signed.collateral
    assert stage.pcs.host.asked == []


def test_of_two_issues_that_were_valid_then_the_newer_one_counts(stage: Stage, signed: IntelSigned) -> None:
    newer = stage.world.issue(
        tcb_evaluation_number=21, qe_evaluation_number=21, issued=NOW - timedelta(hours=1)
    )
    stage.pcs.publish(newer.collateral, NAME)
    stage.collect(signed)
    stage.hands.pass_time(**LATER)
    assert stage.collect(signed, signed.collateral, at=NOW) == newer.collateral


def test_a_sender_cannot_pass_off_collateral_that_intel_did_not_sign(
    stage: Stage, signed: IntelSigned, stranger: IntelWorld
) -> None:
    stage.pcs.publish(signed.collateral, NAME)
    assert stage.collect(signed, stranger.issue().collateral) == signed.collateral


def test_a_sender_cannot_pass_off_what_is_older_than_we_have_seen(stage: Stage, signed: IntelSigned) -> None:
    stage.pcs.publish(signed.collateral, NAME)
    stage.collect(signed)
    older = stage.world.issue(
        tcb_evaluation_number=19, qe_evaluation_number=19, issued=NOW - timedelta(days=3)
    )
    assert stage.collect(signed, older.collateral) == signed.collateral


def test_everything_is_asked_for_again_if_told_to(stage: Stage, signed: IntelSigned) -> None:
    stage.pcs.publish(signed.collateral, NAME)
    for _ in range(2):
        stage.collect(signed, signed.collateral, renew=True)
    assert len(stage.pcs.host.asked) == 8


def test_the_cache_spares_the_host_a_day(stage: Stage, signed: IntelSigned) -> None:
    stage.pcs.publish(signed.collateral, NAME)
    for _ in range(2):
        assert stage.collect(signed) == signed.collateral
    assert len(stage.pcs.host.asked) == 4
    stage.hands.pass_time(days=1)
    stage.collect(signed)
    assert len(stage.pcs.host.asked) == 8


def test_what_could_not_be_had_is_named_and_the_rest_handed_over(stage: Stage, signed: IntelSigned) -> None:
    stage.pcs.publish(signed.collateral, NAME)
    stage.pcs.host.published[QE_TARGET] = Reply(status=500)
    error = stage.failure(signed, TdxCollateral(qe_identity_chain=signed.collateral.qe_identity_chain))
    assert f"QE identity: {API} answered 500" in str(error)
    assert error.partial.tdx == replace(signed.collateral, qe_identity=b"")


def test_an_unknown_platform_is_told_apart(stage: Stage, signed: IntelSigned) -> None:
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
    part: str, older: dict[str, Any], stage: Stage, signed: IntelSigned
) -> None:
    stage.pcs.publish(signed.collateral, NAME)
    stage.collect(signed)
    stage.pcs.publish(stage.world.issue(**older).collateral, NAME)
    for days in (1, 1, 26):
        stage.hands.pass_time(days=days)
        assert getattr(stage.collect(signed), part) == getattr(signed.collateral, part)
    stage.hands.pass_time(days=2)
    assert "older than what was seen before" in str(stage.failure(signed))


def test_a_newer_issue_replaces_the_older_one(stage: Stage, signed: IntelSigned) -> None:
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
    what: str, stage: Stage, signed: IntelSigned, stranger: IntelWorld
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


def test_a_signer_whose_key_is_no_p256_is_refused(stage: Stage, signed: IntelSigned) -> None:
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
    headers: tuple[tuple[str, str], ...], stage: Stage, signed: IntelSigned
) -> None:
    right = encoded(signed.collateral.tcb_info_chain)
    stage.pcs.publish(signed.collateral, NAME)
    given = tuple((name, value.replace("RIGHT", right)) for name, value in headers)
    stage.pcs.host.published[TCB] = Reply(signed.collateral.tcb_info, headers=given)
    error = stage.failure(signed)
    assert "TCB info: what came is not it" in str(error)


def test_the_header_of_version_3_is_understood_too(stage: Stage, signed: IntelSigned) -> None:
    stage.pcs.publish(signed.collateral, NAME)
    chain = ("SGX-TCB-Info-Issuer-Chain", encoded(signed.collateral.tcb_info_chain))
    stage.pcs.host.published[TCB] = Reply(signed.collateral.tcb_info, headers=(chain,))
    assert stage.collect(signed) == signed.collateral


@pytest.mark.parametrize("poison", [b"", b"\xff", b'{"format":"casemate/collateral/1"}'])
def test_a_poisoned_file_is_ignored_and_fetched_again(
    poison: bytes, stage: Stage, signed: IntelSigned
) -> None:
    stage.pcs.publish(signed.collateral, NAME)
    stage.collect(signed)
    for path in stage.cache.glob("*.json"):
        path.write_bytes(poison)
    assert stage.collect(signed) == signed.collateral
    assert len(stage.pcs.host.asked) == 8


def test_a_cache_that_a_stranger_filled_does_not_hold_back_what_intel_signed(
    stage: Stage, signed: IntelSigned, stranger: IntelWorld
) -> None:
    """Its numbers could never be outdone, if anything believed them."""
    lies = stranger.issue(
        tcb_evaluation_number=1 << 52, qe_evaluation_number=1 << 52, until=NOW.replace(2040)
    )
    stage.pcs.publish(lies.collateral, NAME)
    stage.collect(lies, intel_roots=stranger.roots)
    stage.pcs.publish(signed.collateral, NAME)
    assert stage.collect(signed) == signed.collateral


# Which platform


def test_a_quote_below_a_strange_root_still_gets_intels_collateral(
    stage: Stage, signed: IntelSigned, stranger: IntelWorld
) -> None:
    stage.pcs.publish(signed.collateral, NAME)
    assert stage.collect(stranger.issue()) == signed.collateral


def test_without_any_certificate_of_the_root_its_list_is_not_asked_for(
    stage: Stage, stranger: IntelWorld
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
    changes: dict[str, Any], why: str, stage: Stage
) -> None:
    with pytest.raises(MalformedEvidence, match=why):
        stage.collect(stage.world.issue(**changes))
    assert stage.pcs.host.asked == []


def test_a_platform_of_another_authority_asks_for_nothing(stage: Stage) -> None:
    issuer = certify(stage.world.label, "Intel SGX PCK Other CA", stage.world.root, path_length=0)
    with pytest.raises(MalformedEvidence, match="neither Intel's platform nor processor CA"):
        stage.collect(stage.world.issue(issuer=issuer))


def test_bytes_that_are_no_quote_ask_for_nothing(stage: Stage, signed: IntelSigned) -> None:
    with pytest.raises(MalformedEvidence):
        stage.collect(replace(signed, quote=signed.quote[:100]))
    assert stage.pcs.host.asked == []


def test_sgx_is_told_apart(stage: Stage, evidence_dir: Path) -> None:
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
        stage = Stage(world, pcs, Hands(NOW), tmp_path / "cache")
        assert stage.collect(signed, pccs=pcs.host.url + suffix, routes={}) == signed.collateral
    assert prefix + PCCS_ROOT_TARGET in pcs.host.asked
    assert {head["host"] for head in pcs.host.heads} == {f"localhost:{pcs.host.port}"}


def test_with_a_pccs_intel_is_not_asked(stage: Stage, signed: IntelSigned) -> None:
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
    name: str, stage: Stage, signed: IntelSigned
) -> None:
    error = stage.failure(signed, pccs=f"https://{name}:1", routes={f"{name}:1": (name, 1)})
    assert "no connection" in str(error)
