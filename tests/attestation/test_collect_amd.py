"""What AMD publishes is fetched if missing, kept if AMD signed it, and never replaced by something older."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from attestation.errors import MalformedEvidence
from attestation.model import Collateral
from attestation.raw_files import collateral_files
from tests.attestation.collecting import AmdStage, amd_stage
from tests.fakes.amd import NOW, Signed, World
from tests.fakes.kds import DER, Kds, pem, vcek_target
from tests.fakes.vendor_host import running


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


def test_a_bare_report_gets_all_that_verification_needs(stage: AmdStage, signed: Signed) -> None:
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
    stage = amd_stage(worlds[product], kds, tmp_path)
    signed = stage.world.issue()
    kds.publish(stage.world, signed)
    found = stage.collect(signed.report)
    assert replace(signed, certificates=found.certificates, crls=found.crls).outcomes() == {}
    target = vcek_target(product, stage.world.hwid, stage.world.tcb)
    assert target in kds.host.asked
    assert ("fmcSPL=1&blSPL=3" in target, len(stage.world.hwid)) == (
        (True, 8) if product == "Turin" else (False, 64)
    )


def test_only_what_is_missing_is_asked_for_but_the_list_always(stage: AmdStage, signed: Signed) -> None:
    stage.kds.publish(stage.world, signed)
    found = stage.collect(signed.report, signed.certificates)
    assert stage.kds.host.asked == ["/vcek/v1/Genoa/crl"]
    assert len(found.crls) == 1


def test_a_sender_cannot_pass_off_certificates_that_do_not_fit(stage: AmdStage, signed: Signed) -> None:
    stage.kds.publish(stage.world, signed)
    other = stage.world.issue()
    found = stage.collect(signed.report, (b"junk", *other.certificates))
    assert signed.certificates[0] in found.certificates
    assert stage.kds.asked_for("blSPL") == 1


def test_the_past_is_judged_by_the_list_that_came_along(stage: AmdStage, signed: Signed) -> None:
    stage.hands.pass_time(days=400)
    mine = stage.world.crl()
    assert stage.collect(signed.report, signed.certificates, crls=(b"junk", mine), at=NOW).crls == (mine,)
    assert stage.kds.host.asked == []


def test_today_the_list_that_came_along_is_not_relied_on(stage: AmdStage, signed: Signed) -> None:
    newer = stage.world.crl(stage.world.hierarchy.ask.certificate, made=NOW)
    stage.kds.publish(stage.world, signed, newer)
    found = stage.collect(signed.report, signed.certificates, crls=(stage.world.crl(),))
    assert found.crls == (newer,)


def test_certificates_that_are_not_valid_at_the_time_in_question_are_asked_for(
    stage: AmdStage, signed: Signed
) -> None:
    stage.kds.publish(stage.world, signed)
    stage.collect(signed.report, signed.certificates, at=NOW + timedelta(days=365 * 60))
    assert stage.kds.asked_for("blSPL") == 1


def test_a_vlek_is_not_published_and_that_is_said(stage: AmdStage) -> None:
    signed = stage.world.issue_vlek()
    stage.kds.publish(stage.world, signed, kind="vlek")
    error = stage.failure(signed.report)
    assert "the VLEK certificate: AMD publishes none" in str(error)
    assert error.partial.certificates == signed.certificates[1:]
    assert all(target.startswith("/vlek/v1/Genoa/c") for target in stage.kds.host.asked)


def test_a_vlek_that_the_evidence_carries_gets_its_chain_and_list(stage: AmdStage) -> None:
    signed = stage.world.issue_vlek()
    stage.kds.publish(stage.world, signed, kind="vlek")
    found = stage.collect(signed.report, signed.certificates[:1])
    whole = replace(signed, certificates=(signed.certificates[0], *found.certificates), crls=found.crls)
    assert whole.outcomes() == {}


def test_a_report_that_hides_its_chip_is_told_apart(stage: AmdStage) -> None:
    signed = stage.world.issue(chip_id=bytes(64), flags=2)
    stage.kds.publish(stage.world, signed)
    error = stage.failure(signed.report)
    assert "hides its CHIP_ID" in str(error)
    assert len(error.partial.crls) == 1


def test_a_hidden_chip_is_no_problem_where_the_evidence_brings_its_certificate(stage: AmdStage) -> None:
    signed = stage.world.issue(chip_id=bytes(64), flags=2)
    stage.kds.publish(stage.world, signed)
    assert len(stage.collect(signed.report, signed.certificates).crls) == 1


def test_the_chips_certificate_comes_first_and_gets_a_file_of_its_own(
    stage: AmdStage, signed: Signed
) -> None:
    stage.kds.publish(stage.world, signed)
    files = collateral_files(stage.collect(signed.report))
    assert files.keys() == {"vcek.der", "ca_chain.pem", "amd_crl.der"}
    assert files["vcek.der"] == signed.certificates[0]


def test_a_list_that_ran_out_is_handed_over_unless_only_what_is_valid_is_wanted(
    stage: AmdStage, signed: Signed
) -> None:
    old = stage.world.crl(made=NOW - timedelta(days=9), until=NOW - timedelta(days=1))
    stage.kds.publish(stage.world, signed, old)
    assert stage.collect(signed.report, cache_dir=None).crls == (old,)
    error = stage.failure(signed.report, only_valid=True)
    assert error.partial.crls == ()
    assert len(error.partial.certificates) == 3
    assert error.missing == ("Genoa's revocation list",)


def test_a_report_that_no_key_signed_has_nothing_published(stage: AmdStage) -> None:
    signed = stage.world.issue(flags=7 << 2)
    with pytest.raises(MalformedEvidence, match="no key signed"):
        stage.collect(signed.report)


def test_a_report_that_cannot_be_read_asks_for_nothing(stage: AmdStage) -> None:
    with pytest.raises(MalformedEvidence):
        stage.collect(bytes(1184))
    assert stage.kds.host.asked == []


def test_a_root_that_is_not_amds_asks_for_nothing(stage: AmdStage, signed: Signed, stranger: World) -> None:
    other = stranger.issue()
    stage.kds.publish(stage.world, signed)
    error = stage.failure(other.report, other.certificates)
    assert "root is none that we pin" in str(error)
    assert error.partial == Collateral()
    assert stage.kds.host.asked == []


def test_an_unknown_processor_asks_for_nothing(stage: AmdStage, signed: Signed) -> None:
    error = stage.failure(stage.world.issue(cpuid=(0x1B, 0, 0)).report)
    assert "nothing tells which product" in str(error)
    assert stage.kds.host.asked == []


@pytest.mark.parametrize("product", ["Milan", "Genoa"])
def test_a_report_without_a_processor_is_looked_for_under_each_product_that_writes_such(
    product: str, worlds: dict[str, World], kds: Kds, tmp_path: Path
) -> None:
    stage = amd_stage(worlds[product], kds, tmp_path)
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
    stage: AmdStage,
) -> None:
    signed = stage.world.issue(version=2, cpuid=(0, 0, 0))
    stage.kds.publish(stage.world, signed)
    stage.collect(signed.report, signed.certificates)
    assert stage.kds.host.asked == ["/vcek/v1/Genoa/crl"]


def test_a_vlek_without_a_processor_and_certificate_asks_for_nothing(stage: AmdStage) -> None:
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
    what: str, stage: AmdStage, signed: Signed, stranger: World
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


def test_a_list_in_pem_or_hexadecimal_becomes_der(stage: AmdStage, signed: Signed) -> None:
    crl = stage.world.crl()
    text = pem(crl).replace(b"CERTIFICATE", b"X509 CRL")
    for body in (crl, text, crl.hex().encode() + b"\n"):
        stage.kds.publish(stage.world, signed)
        stage.kds.put("/vcek/v1/Genoa/crl", body)
        assert stage.collect(signed.report, cache_dir=None).crls == (crl,)
