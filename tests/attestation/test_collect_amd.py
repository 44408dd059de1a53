"""What AMD publishes is fetched if missing, kept if AMD signed it, and never replaced by something older."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from attestation.collect import CollateralUnavailable, collect
from attestation.errors import MalformedEvidence
from attestation.hardware import SnpEvidence
from attestation.model import Collateral
from attestation.reader import b64url_encode
from tests.fakes.amd import NOW, Signed, World
from tests.fakes.kds import DER, Kds, pem, vcek_target
from tests.fakes.vendor_host import Hands, Reply, running

BUSY = Reply(status=429, headers=(("Retry-After", "3600"),))


@dataclass(slots=True)
class Stage:
    """A forged AMD with its KDS, a clock, and a directory for the cache."""

    world: World
    kds: Kds
    hands: Hands
    cache: Path

    def collect(self, report: bytes, certificates: tuple[bytes, ...] = (), **changes: Any) -> Collateral:
        fitting: dict[str, Any] = {
            "cache_dir": self.cache,
            "ca": self.kds.host.ca,
            "routes": self.kds.host.routes,
            "clock": self.hands.clock,
            "sleep": self.hands.sleep,
            "amd_roots": self.world.roots,
        }
        return collect(SnpEvidence(report, certificates), **(fitting | changes))

    def failure(
        self, report: bytes, certificates: tuple[bytes, ...] = (), **changes: Any
    ) -> CollateralUnavailable:
        with pytest.raises(CollateralUnavailable) as caught:
            self.collect(report, certificates, **changes)
        return caught.value

    def file(self, part: str) -> Path:
        found = [path for path in self.cache.glob("*.json") if part in path.name]
        assert len(found) == 1
        return found[0]


@pytest.fixture(scope="module")
def kds() -> Iterator[Kds]:
    made = Kds.forge()
    with running(made.host):
        yield made


@pytest.fixture
def stage(genoa: World, kds: Kds, tmp_path: Path) -> Stage:
    return stage_of(genoa, kds, tmp_path)


def stage_of(world: World, kds: Kds, tmp_path: Path) -> Stage:
    kds.host.published.clear()
    kds.host.script.clear()
    kds.host.asked.clear()
    return Stage(world, kds, Hands(NOW), tmp_path / "cache")


@pytest.fixture(scope="module")
def signed(genoa: World) -> Signed:
    return genoa.issue()


def test_a_bare_report_gets_all_that_verification_needs(stage: Stage, signed: Signed) -> None:
    stage.kds.publish(stage.world, signed)
    found = stage.collect(signed.report)
    whole = replace(signed, certificates=found.certificates, crls=found.crls)
    assert whole.outcomes() == {}
    assert len(found.crls) == 1
    assert found.tdx is None


@pytest.mark.parametrize("product", ["Milan", "Genoa", "Turin"])
def test_every_product_is_asked_for_in_its_own_way(
    product: str, worlds: dict[str, World], kds: Kds, tmp_path: Path
) -> None:
    stage = stage_of(worlds[product], kds, tmp_path)
    signed = stage.world.issue()
    kds.publish(stage.world, signed)
    found = stage.collect(signed.report)
    assert replace(signed, certificates=found.certificates, crls=found.crls).outcomes() == {}
    target = vcek_target(product, stage.world.hwid, stage.world.tcb)
    assert target in kds.host.asked
    assert ("fmcSPL=1&blSPL=3" in target, len(stage.world.hwid)) == (
        (True, 8) if product == "Turin" else (False, 64)
    )


def test_only_what_is_missing_is_asked_for_but_the_list_always(stage: Stage, signed: Signed) -> None:
    stage.kds.publish(stage.world, signed)
    found = stage.collect(signed.report, signed.certificates)
    assert stage.kds.host.asked == ["/vcek/v1/Genoa/crl"]
    assert len(found.crls) == 1


def test_a_sender_cannot_pass_off_certificates_that_do_not_fit(stage: Stage, signed: Signed) -> None:
    stage.kds.publish(stage.world, signed)
    other = stage.world.issue()
    found = stage.collect(signed.report, (b"junk", *other.certificates))
    assert signed.certificates[0] in found.certificates
    assert stage.kds.asked_for("blSPL") == 1


def test_certificates_that_are_not_valid_at_the_time_in_question_are_asked_for(
    stage: Stage, signed: Signed
) -> None:
    stage.kds.publish(stage.world, signed)
    stage.collect(signed.report, signed.certificates, at=NOW + timedelta(days=365 * 60))
    assert stage.kds.asked_for("blSPL") == 1


def test_everything_is_asked_for_again_if_told_to(stage: Stage, signed: Signed) -> None:
    stage.kds.publish(stage.world, signed)
    for _ in range(2):
        stage.collect(signed.report, signed.certificates, renew=True)
    assert len(stage.kds.host.asked) == 6


def test_the_cache_spares_the_host_a_day_and_the_vcek_a_month(stage: Stage, signed: Signed) -> None:
    stage.kds.publish(stage.world, signed)
    first = stage.collect(signed.report)
    assert stage.collect(signed.report) == first
    assert len(stage.kds.host.asked) == 3
    stage.hands.pass_time(days=1)
    assert stage.collect(signed.report) == first
    assert len(stage.kds.host.asked) == 5
    assert stage.kds.asked_for("blSPL") == 1


def test_without_a_cache_nothing_is_kept(stage: Stage, signed: Signed) -> None:
    stage.kds.publish(stage.world, signed)
    for _ in range(2):
        stage.collect(signed.report, cache_dir=None)
    assert len(stage.kds.host.asked) == 6


def test_past_its_day_a_list_is_not_used_because_the_host_is_silent(stage: Stage, signed: Signed) -> None:
    stage.kds.publish(stage.world, signed)
    stage.collect(signed.report)
    stage.hands.pass_time(days=1)
    stage.kds.host.published["/vcek/v1/Genoa/crl"] = BUSY
    error = stage.failure(signed.report)
    assert "Genoa's revocation list: kdsintf.amd.com is busy (429)" in str(error)
    assert error.partial.crls == ()
    assert len(error.partial.certificates) == 3


def test_a_vlek_is_not_published_and_that_is_said(stage: Stage) -> None:
    signed = stage.world.issue_vlek()
    stage.kds.publish(stage.world, signed, kind="vlek")
    error = stage.failure(signed.report)
    assert "the VLEK certificate: AMD publishes none" in str(error)
    assert error.partial.certificates == signed.certificates[1:]
    assert all(target.startswith("/vlek/v1/Genoa/c") for target in stage.kds.host.asked)


def test_a_vlek_that_the_evidence_carries_gets_its_chain_and_list(stage: Stage) -> None:
    signed = stage.world.issue_vlek()
    stage.kds.publish(stage.world, signed, kind="vlek")
    found = stage.collect(signed.report, signed.certificates[:1])
    whole = replace(signed, certificates=(signed.certificates[0], *found.certificates), crls=found.crls)
    assert whole.outcomes() == {}


def test_a_report_that_hides_its_chip_is_told_apart(stage: Stage) -> None:
    signed = stage.world.issue(chip_id=bytes(64), flags=2)
    stage.kds.publish(stage.world, signed)
    error = stage.failure(signed.report)
    assert "hides its CHIP_ID" in str(error)
    assert len(error.partial.crls) == 1


def test_a_report_that_no_key_signed_has_nothing_published(stage: Stage) -> None:
    signed = stage.world.issue(flags=7 << 2)
    with pytest.raises(MalformedEvidence, match="no key signed"):
        stage.collect(signed.report)


def test_a_report_that_cannot_be_read_asks_for_nothing(stage: Stage) -> None:
    with pytest.raises(MalformedEvidence):
        stage.collect(bytes(1184))
    assert stage.kds.host.asked == []


def test_a_root_that_is_not_amds_asks_for_nothing(stage: Stage, signed: Signed, stranger: World) -> None:
    other = stranger.issue()
    stage.kds.publish(stage.world, signed)
    error = stage.failure(other.report, other.certificates)
    assert "root is none that we pin" in str(error)
    assert error.partial == Collateral()
    assert stage.kds.host.asked == []


def test_an_unknown_processor_asks_for_nothing(stage: Stage, signed: Signed) -> None:
    error = stage.failure(stage.world.issue(cpuid=(0x1B, 0, 0)).report)
    assert "nothing tells which product" in str(error)
    assert stage.kds.host.asked == []


@pytest.mark.parametrize("product", ["Milan", "Genoa"])
def test_a_report_without_a_processor_is_looked_for_under_each_product_that_writes_such(
    product: str, worlds: dict[str, World], kds: Kds, tmp_path: Path
) -> None:
    stage = stage_of(worlds[product], kds, tmp_path)
    signed = stage.world.issue(version=2, cpuid=(0, 0, 0))
    for other in ("Milan", "Genoa"):
        kds.publish(worlds[other], worlds[other].issue())
    if product == "Genoa":
        kds.host.published.pop(vcek_target("Milan", worlds["Milan"].hwid, worlds["Milan"].tcb))
    kds.publish(stage.world, signed)
    roots = dict(worlds["Milan"].roots) | dict(worlds["Genoa"].roots)
    found = stage.collect(signed.report, amd_roots=roots)
    assert replace(signed, certificates=found.certificates, crls=found.crls).outcomes() == {}


def test_a_report_without_a_processor_takes_the_product_from_the_certificate_that_fits(
    stage: Stage,
) -> None:
    signed = stage.world.issue(version=2, cpuid=(0, 0, 0))
    stage.kds.publish(stage.world, signed)
    stage.collect(signed.report, signed.certificates)
    assert stage.kds.host.asked == ["/vcek/v1/Genoa/crl"]


def test_a_vlek_without_a_processor_and_certificate_asks_for_nothing(stage: Stage) -> None:
    error = stage.failure(stage.world.issue_vlek(version=2, cpuid=(0, 0, 0)).report)
    assert "nothing tells which product" in str(error)
    assert stage.kds.host.asked == []


# What came is not what was asked for


@pytest.fixture(scope="module")
def stranger() -> World:
    """An AMD of the same names and other keys."""
    return World.forge("Genoa")


CHAIN, LIST = "/vcek/v1/Genoa/cert_chain", "/vcek/v1/Genoa/crl"
Liar = Callable[[World, World, Signed], bytes]
WRONG: dict[str, Liar] = {
    "chain of a stranger": lambda w, s, g: pem(s.hierarchy.ask.der, s.hierarchy.ark.der),
    "chain with a strange ask": lambda w, s, g: pem(s.hierarchy.ask.der, w.hierarchy.ark.der),
    "chain for vlek": lambda w, s, g: pem(w.asvk.der, w.hierarchy.ark.der),
    "chain reversed": lambda w, s, g: pem(w.hierarchy.ark.der, w.hierarchy.ask.der),
    "chain of one": lambda w, s, g: pem(w.hierarchy.ask.der),
    "chain as html": lambda w, s, g: b"<html>log in</html>",
    "chain with html": lambda w, s, g: pem(w.hierarchy.ask.der, w.hierarchy.ark.der) + b"<html>",
    "chain of many": lambda w, s, g: pem(*[w.hierarchy.ask.der] * 5),
    "chain not base64": lambda w, s, g: b"-----BEGIN CERTIFICATE-----\nAAA\n-----END CERTIFICATE-----\n",
    "vcek as html": lambda w, s, g: b"<html>log in</html>",
    "vcek of another chip": lambda w, s, g: w.vcek(hwid=bytes(64)).certificate,
    "vcek at another tcb": lambda w, s, g: w.vcek(tcb=replace(w.tcb, snp=9)).certificate,
    "vcek that is a vlek": lambda w, s, g: w.vlek().certificate,
    "vcek of another name": lambda w, s, g: w.vcek(name="SEV-VLEK").certificate,
    "vcek by a stranger": lambda w, s, g: s.vcek(hwid=w.hwid).certificate,
    "vcek with more": lambda w, s, g: g.certificates[0] + b"\0",
    "list as html": lambda w, s, g: b"<html>log in</html>",
    "list by a stranger": lambda w, s, g: s.crl(),
    "list by the ask": lambda w, s, g: w.crl(signer=w.hierarchy.ask),
    "list of nothing": lambda w, s, g: b"",
    "list not base64": lambda w, s, g: b"-----BEGIN X509 CRL-----\nAAA\n-----END X509 CRL-----\n",
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_not_what_was_asked_for_is_neither_handed_on_nor_kept(
    what: str, stage: Stage, signed: Signed, stranger: World
) -> None:
    stage.kds.publish(stage.world, signed)
    vcek = vcek_target("Genoa", stage.world.hwid, stage.world.tcb)
    target = {"chain": CHAIN, "vcek": vcek, "list": LIST}[what[:5].strip()]
    body = WRONG[what](stage.world, stranger, signed)
    right = stage.kds.host.published[target]
    stage.kds.put(target, body, DER)
    error = stage.failure(signed.report)
    assert "what came is not it" in str(error)
    assert body not in (*error.partial.certificates, *error.partial.crls)
    stage.kds.host.published[target] = right
    assert replace(signed, certificates=stage.collect(signed.report).certificates).outcomes() == {}


def test_a_list_in_pem_or_hexadecimal_becomes_der(stage: Stage, signed: Signed) -> None:
    crl = stage.world.crl()
    text = pem(crl).replace(b"CERTIFICATE", b"X509 CRL")
    for body in (crl, text, crl.hex().encode() + b"\n"):
        stage.kds.publish(stage.world, signed)
        stage.kds.put("/vcek/v1/Genoa/crl", body)
        assert stage.collect(signed.report, cache_dir=None).crls == (crl,)


# Older than what was seen


def test_an_older_list_never_takes_the_place_of_a_newer_one(stage: Stage, signed: Signed) -> None:
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


def test_an_older_list_is_refused_once_the_newer_one_has_run_out(stage: Stage, signed: Signed) -> None:
    newer = stage.world.crl(made=NOW - timedelta(hours=1), until=NOW + timedelta(days=2))
    stage.kds.publish(stage.world, signed, newer)
    stage.collect(signed.report)
    stage.kds.publish(stage.world, signed, stage.world.crl(made=NOW - timedelta(days=1)))
    stage.hands.pass_time(days=3)
    error = stage.failure(signed.report)
    assert "older than what was seen before" in str(error)
    assert error.partial.crls == ()


def test_a_newer_list_replaces_the_older_one(stage: Stage, signed: Signed) -> None:
    stage.kds.publish(stage.world, signed)
    stage.collect(signed.report)
    newer = stage.world.crl(made=NOW)
    stage.kds.publish(stage.world, signed, newer)
    stage.hands.pass_time(days=1)
    assert stage.collect(signed.report).crls == (newer,)
    stage.kds.host.published.clear()
    assert stage.collect(signed.report).crls == (newer,)


# The cache belongs to someone else


def test_a_cached_list_is_not_used_beyond_its_own_end(stage: Stage, signed: Signed) -> None:
    stage.kds.publish(stage.world, signed, stage.world.crl(until=NOW + timedelta(hours=2)))
    stage.collect(signed.report)
    newer = stage.world.crl(made=NOW)
    stage.kds.publish(stage.world, signed, newer)
    stage.hands.pass_time(hours=3)
    assert stage.collect(signed.report).crls == (newer,)


@pytest.mark.parametrize("poison", [b"", b"{}", b"\xff", b"[" * 5000, b'{"format":"casemate/collateral/1"}'])
def test_a_poisoned_file_is_ignored_and_fetched_again(poison: bytes, stage: Stage, signed: Signed) -> None:
    stage.kds.publish(stage.world, signed)
    first = stage.collect(signed.report)
    for path in stage.cache.glob("*.json"):
        path.write_bytes(poison)
    assert stage.collect(signed.report) == first
    assert len(stage.kds.host.asked) == 6


@pytest.mark.parametrize(("part", "other"), [("crl", "chain"), ("chain", "amd-vcek-genoa"), ("crl", "vcek")])
def test_a_file_put_under_anothers_name_is_ignored(
    part: str, other: str, stage: Stage, signed: Signed
) -> None:
    stage.kds.publish(stage.world, signed)
    first = stage.collect(signed.report)
    files = {"crl": "amd-vcek-crl", "chain": "amd-vcek-chain", "vcek": "amd-vcek-genoa"}
    target, source = stage.file(files[part]), stage.file(files.get(other, other))
    target.write_bytes(source.read_bytes())
    assert stage.collect(signed.report) == first
    assert len(stage.kds.host.asked) == 4


def test_a_forged_file_is_ignored_however_new_it_says_it_is(
    stage: Stage, signed: Signed, stranger: World
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


def test_a_file_from_the_future_is_fetched_again(stage: Stage, signed: Signed) -> None:
    stage.kds.publish(stage.world, signed)
    stage.collect(signed.report)
    stage.hands.pass_time(seconds=-30)
    stage.collect(signed.report)
    assert len(stage.kds.host.asked) == 6


# What is not there


def test_a_chip_that_kds_does_not_know_is_asked_for_again_after_minutes(stage: Stage, signed: Signed) -> None:
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


def test_that_something_is_not_there_is_forgotten_if_told_to_ask_again(stage: Stage, signed: Signed) -> None:
    stage.kds.publish(stage.world, signed)
    target = vcek_target("Genoa", stage.world.hwid, stage.world.tcb)
    found = stage.kds.host.published.pop(target)
    stage.failure(signed.report)
    stage.kds.host.published[target] = found
    assert len(stage.collect(signed.report, renew=True).certificates) == 3
    assert len(stage.collect(signed.report).certificates) == 3


def test_a_busy_host_is_not_taken_for_one_that_knows_nothing(stage: Stage, signed: Signed) -> None:
    stage.kds.publish(stage.world, signed)
    stage.kds.host.script = [BUSY]
    error = stage.failure(signed.report)
    assert "busy (429)" in str(error)
    assert error.partial == Collateral()
    assert len(stage.collect(signed.report).certificates) == 3
