"""The cache spares a vendor questions, and never prefers what is older, unsigned or somebody else's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from attestation.collect.formats import plain_answer
from attestation.collect.http import Answer
from attestation.collect.source import Item, Source, Standing
from attestation.collect.store import Entry, Kept, Store
from attestation.model import Collateral
from attestation.reader import b64url_encode
from tests.attestation.collecting import AmdStage, amd_stage
from tests.fakes.amd import NOW, Signed, World
from tests.fakes.kds import Kds, vcek_target
from tests.fakes.vendor_host import Reply, running

BUSY = Reply(status=429, headers=(("Retry-After", "3600"),))


@pytest.fixture(scope="module")
def kds() -> Iterator[Kds]:
    made = Kds.forge()
    with running(made.host):
        yield made


@pytest.fixture
def stage(genoa: World, kds: Kds, tmp_path: Path) -> AmdStage:
    return amd_stage(genoa, kds, tmp_path)


@pytest.fixture(scope="module")
def signed(genoa: World) -> Signed:
    return genoa.issue()


@pytest.fixture(scope="module")
def stranger() -> World:
    """An AMD of the same names and other keys."""
    return World.forge("Genoa")


def test_the_cache_spares_the_host_a_day_and_the_vcek_a_month(stage: AmdStage, signed: Signed) -> None:
    stage.kds.publish(stage.world, signed)
    first = stage.collect(signed.report)
    assert stage.collect(signed.report) == first
    assert len(stage.kds.host.asked) == 3
    stage.hands.pass_time(days=1)
    assert stage.collect(signed.report) == first
    assert len(stage.kds.host.asked) == 5
    assert stage.kds.asked_for("blSPL") == 1


def test_without_a_cache_nothing_is_kept(stage: AmdStage, signed: Signed) -> None:
    stage.kds.publish(stage.world, signed)
    for _ in range(2):
        stage.collect(signed.report, cache_dir=None)
    assert len(stage.kds.host.asked) == 6


def test_past_its_day_a_list_is_not_used_because_the_host_is_silent(stage: AmdStage, signed: Signed) -> None:
    stage.kds.publish(stage.world, signed)
    stage.collect(signed.report)
    stage.hands.pass_time(days=1)
    stage.kds.host.published["/vcek/v1/Genoa/crl"] = BUSY
    error = stage.failure(signed.report)
    assert "Genoa's revocation list: kdsintf.amd.com is busy (429)" in str(error)
    assert error.partial.crls == ()
    assert len(error.partial.certificates) == 3


def test_everything_is_asked_for_again_if_told_to(stage: AmdStage, signed: Signed) -> None:
    stage.kds.publish(stage.world, signed)
    for _ in range(2):
        stage.collect(signed.report, signed.certificates, renew=True)
    assert len(stage.kds.host.asked) == 6


# Older than what was seen


def test_an_older_list_never_takes_the_place_of_a_newer_one(stage: AmdStage, signed: Signed) -> None:
    newer = stage.world.crl(stage.world.hierarchy.ask.certificate, made=NOW - timedelta(hours=1))
    stage.kds.publish(stage.world, signed, newer)
    assert stage.collect(signed.report).crls == (newer,)
    kept = stage.file("crl").read_bytes()
    stage.kds.publish(stage.world, signed, stage.world.crl(made=NOW - timedelta(days=1)))
    for _ in range(2):
        stage.hands.pass_time(days=1)
        assert stage.collect(signed.report).crls == (newer,)
    assert stage.kds.asked_for("/crl") == 3
    assert stage.file("crl").read_bytes() == kept
    assert stage.collect(signed.report, renew=True).crls == (newer,)


def test_an_older_list_is_refused_once_the_newer_one_has_run_out(stage: AmdStage, signed: Signed) -> None:
    newer = stage.world.crl(made=NOW - timedelta(hours=1), until=NOW + timedelta(days=2))
    stage.kds.publish(stage.world, signed, newer)
    stage.collect(signed.report)
    stage.kds.publish(stage.world, signed, stage.world.crl(made=NOW - timedelta(days=1)))
    stage.hands.pass_time(days=3)
    error = stage.failure(signed.report)
    assert "older than what was seen before" in str(error)
    assert error.partial.crls == ()


def test_a_newer_list_replaces_the_older_one(stage: AmdStage, signed: Signed) -> None:
    stage.kds.publish(stage.world, signed)
    stage.collect(signed.report)
    newer = stage.world.crl(made=NOW)
    stage.kds.publish(stage.world, signed, newer)
    stage.hands.pass_time(days=1)
    assert stage.collect(signed.report).crls == (newer,)
    stage.kds.host.published.clear()
    assert stage.collect(signed.report).crls == (newer,)


def test_a_sender_who_silences_the_host_cannot_make_an_older_list_all_there_is(
    stage: AmdStage, signed: Signed
) -> None:
    """The newer one, which revokes, is handed over beside it, although its day has passed."""
    older = stage.world.crl(made=NOW - timedelta(days=1))
    newer = stage.world.crl(stage.world.hierarchy.ask.certificate, made=NOW)
    stage.kds.publish(stage.world, signed, newer)
    stage.collect(signed.report)
    stage.kds.host.published.clear()
    stage.hands.pass_time(days=1)
    error = stage.failure(signed.report, signed.certificates, (b"junk", older))
    assert error.partial.crls == (newer,)
    crls = (older, *error.partial.crls)
    later = NOW + timedelta(days=1)
    assert "fail" in replace(signed, crls=crls).outcomes(now=later).values()
    assert stage.failure(signed.report, signed.certificates).partial.crls == ()
    assert stage.failure(signed.report, signed.certificates, (newer,)).partial.crls == ()


@dataclass(slots=True)
class Meanwhile:
    """A client during whose request another process stores something newer."""

    store: Store

    def get(self, url: str) -> Answer:
        self.store.write(Entry("thing", NOW, Kept(b"2")))
        return Answer(200, (), b"1")


def numbered(kept: Kept) -> Standing:
    """A thing that consists of its number."""
    return Standing((int(kept.body), NOW), NOW, NOW + timedelta(days=1))


def test_what_another_process_stored_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    store = Store(tmp_path / "cache")
    client: Any = Meanwhile(store)
    source = Source(client, lambda: NOW, NOW, store)
    item = Item("thing", "a thing", "https://example", plain_answer, numbered, timedelta(days=1))
    assert source.obtain(item).body == b"2"
    assert store.read("thing") == Entry("thing", NOW, Kept(b"2"))


# The cache belongs to someone else


def test_a_cached_list_is_not_used_beyond_its_own_end(stage: AmdStage, signed: Signed) -> None:
    stage.kds.publish(stage.world, signed, stage.world.crl(until=NOW + timedelta(hours=2)))
    stage.collect(signed.report)
    newer = stage.world.crl(made=NOW)
    stage.kds.publish(stage.world, signed, newer)
    stage.hands.pass_time(hours=3)
    assert stage.collect(signed.report).crls == (newer,)


@pytest.mark.parametrize("poison", [b"", b"{}", b"\xff", b"[" * 5000, b'{"format":"casemate/collateral/1"}'])
def test_a_poisoned_file_is_ignored_and_fetched_again(poison: bytes, stage: AmdStage, signed: Signed) -> None:
    stage.kds.publish(stage.world, signed)
    first = stage.collect(signed.report)
    for path in stage.cache.glob("*.json"):
        path.write_bytes(poison)
    assert stage.collect(signed.report) == first
    assert len(stage.kds.host.asked) == 6


@pytest.mark.parametrize(("part", "other"), [("crl", "chain"), ("chain", "amd-vcek-genoa"), ("crl", "vcek")])
def test_a_file_put_under_anothers_name_is_ignored(
    part: str, other: str, stage: AmdStage, signed: Signed
) -> None:
    stage.kds.publish(stage.world, signed)
    first = stage.collect(signed.report)
    files = {"crl": "amd-vcek-crl", "chain": "amd-vcek-chain", "vcek": "amd-vcek-genoa"}
    target, source = stage.file(files[part]), stage.file(files.get(other, other))
    target.write_bytes(source.read_bytes())
    assert stage.collect(signed.report) == first
    assert len(stage.kds.host.asked) == 4


def test_a_forged_file_is_ignored_however_new_it_says_it_is(
    stage: AmdStage, signed: Signed, stranger: World
) -> None:
    """Written as the tool itself would, for a stranger's root, and never to be outdone."""
    stage.kds.publish(stage.world, signed)
    first = stage.collect(signed.report)
    lies = stage.world.crl(signer=stranger.hierarchy.ark, made=NOW, until=NOW + timedelta(days=9999))
    path = stage.file("crl")
    text = path.read_text().replace(b64url_encode(first.crls[0]), b64url_encode(lies))
    assert b64url_encode(lies) in text
    path.write_text(text)
    assert stage.collect(signed.report) == first
    assert stage.kds.asked_for("/crl") == 2


def test_a_file_from_the_future_is_fetched_again(stage: AmdStage, signed: Signed) -> None:
    stage.kds.publish(stage.world, signed)
    stage.collect(signed.report)
    stage.hands.pass_time(seconds=-30)
    stage.collect(signed.report)
    assert len(stage.kds.host.asked) == 6


# What is not there


def test_a_chip_that_kds_does_not_know_is_asked_for_again_after_minutes(
    stage: AmdStage, signed: Signed
) -> None:
    stage.kds.publish(stage.world, signed)
    target = vcek_target("Genoa", stage.world.hwid, stage.world.tcb)
    found = stage.kds.host.published.pop(target)
    for _ in range(2):
        error = stage.failure(signed.report)
        assert len(error.partial.certificates) == 2
        assert len(error.partial.crls) == 1
    assert "knew of no such thing minutes ago" in str(error)
    assert stage.kds.asked_for("blSPL") == 1
    stage.kds.host.published[target] = found
    stage.hands.pass_time(minutes=5)
    assert len(stage.collect(signed.report).certificates) == 3


def test_that_something_is_not_there_is_forgotten_if_told_to_ask_again(
    stage: AmdStage, signed: Signed
) -> None:
    stage.kds.publish(stage.world, signed)
    target = vcek_target("Genoa", stage.world.hwid, stage.world.tcb)
    found = stage.kds.host.published.pop(target)
    stage.failure(signed.report)
    stage.kds.host.published[target] = found
    assert len(stage.collect(signed.report, renew=True).certificates) == 3
    assert len(stage.collect(signed.report).certificates) == 3


def test_a_busy_host_is_not_taken_for_one_that_knows_nothing(stage: AmdStage, signed: Signed) -> None:
    stage.kds.publish(stage.world, signed)
    stage.kds.host.script = [BUSY]
    error = stage.failure(signed.report)
    assert "busy (429)" in str(error)
    assert error.partial == Collateral()
    assert len(stage.collect(signed.report).certificates) == 3
