"""Thousands of mutants of SEV-SNP reports, their certificates and their CRLs: none is accepted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest

from attestation.check import DECIDES_NOTHING_BAD
from attestation.errors import MalformedEvidence
from tests.fakes.amd import NOW, Signed, World
from tests.fakes.mutants import (
    MALFORMED,
    Judged,
    Mutant,
    cuts,
    examine,
    flips,
    growths,
    moves,
    numbers,
    within,
)

SIGNED, R, S, TAIL, END = 0x2A0, 0x2A0, 0x2A0 + 72, 0x2A0 + 144, 1184
CERTIFICATE_LAYERS = ("snp.certificates", "snp.chain.", "snp.vek.")


def judge(signed: Signed) -> Judged:
    """What the authenticator says."""
    try:
        checks, claims = signed.authenticate()
    except MalformedEvidence:
        return Judged(False, frozenset({MALFORMED}))
    against = frozenset(check.id for check in checks if check.outcome not in DECIDES_NOTHING_BAD)
    return Judged(claims is not None, against)


def with_crl(world: World) -> Signed:
    """A report with a CRL that revokes nothing of it."""
    return world.issue(crls=(world.crl(world.asvk.certificate),))


def in_report(signed: Signed, mutants: Iterator[Mutant[bytes]]) -> Iterator[Mutant[Signed]]:
    """Each mutant in the report's place."""
    return within(mutants, lambda raw: replace(signed, report=raw))


def in_certificate(signed: Signed, index: int, mutants: Iterator[Mutant[bytes]]) -> Iterator[Mutant[Signed]]:
    """Each mutant in place of one certificate (0: VEK, 1: its issuer, 2: the root)."""

    def put(der: bytes) -> Signed:
        chain = list(signed.certificates)
        chain[index] = der
        return replace(signed, certificates=tuple(chain))

    return within(mutants, put)


def test_what_is_mutated_below_was_accepted(worlds: dict[str, World]) -> None:
    for world in worlds.values():
        assert judge(with_crl(world)) == Judged(True, frozenset())
        assert judge(world.issue_vlek()) == Judged(True, frozenset())


def test_every_single_signed_byte_counts(genoa: World) -> None:
    signed = genoa.issue()
    survey = examine(in_report(signed, flips(signed.report, 0, SIGNED)), judge, "snp.signature", MALFORMED)
    assert (survey.problems, survey.count) == ((), SIGNED)


@pytest.mark.parametrize("product", ["Milan", "Turin"])
@pytest.mark.parametrize("key", ["vcek", "vlek"])
def test_signed_bytes_count_on_every_product_and_under_either_key(
    worlds: dict[str, World], product: str, key: str
) -> None:
    signed = worlds[product].issue() if key == "vcek" else worlds[product].issue_vlek()
    mutants = in_report(signed, flips(signed.report, 0, SIGNED, step=5))
    assert examine(mutants, judge, "snp.signature", MALFORMED).problems == ()


def test_every_byte_of_the_signature_counts(genoa: World) -> None:
    signed = genoa.issue()
    for start in (R, S):
        number = in_report(signed, flips(signed.report, start, start + 48))
        assert examine(number, judge, "snp.signature").problems == ()
        above = in_report(signed, flips(signed.report, start + 48, start + 72))
        assert examine(above, judge, "snp.signature.encoding").problems == ()
    tail = in_report(signed, flips(signed.report, TAIL, END, step=7))
    assert examine(tail, judge, "snp.signature.encoding").problems == ()


@pytest.mark.parametrize(
    ("field", "start", "end", "layer"),
    [
        ("CHIP_ID", 0x1A0, 0x1E0, "snp.vek.chip"),
        ("REPORTED_TCB", 0x180, 0x188, "snp.vek.tcb"),
        ("CPUID", 0x188, 0x18A, "snp.vek.product"),
        ("reserved", 0x18B, 0x1A0, "snp.report.reserved"),
        ("SIGNATURE_ALGO", 0x034, 0x038, "snp.report.algorithm"),
    ],
)
def test_a_changed_field_is_named_by_its_own_rule_beside_the_signature(
    genoa: World, field: str, start: int, end: int, layer: str
) -> None:
    signed = genoa.issue()
    assert examine(in_report(signed, flips(signed.report, start, end)), judge, layer).problems == ()


def test_a_report_of_any_other_length_is_malformed(genoa: World) -> None:
    signed = genoa.issue()
    for mutants in (cuts(signed.report, step=16), growths(signed.report), moves(signed.report, step=97)):
        assert examine(in_report(signed, mutants), judge, MALFORMED).problems == ()


def test_a_report_of_another_version_or_signing_key_is_refused(genoa: World) -> None:
    signed = genoa.issue()
    for start, end in ((0x000, 0x004), (0x048, 0x04C)):
        mutants = in_report(signed, numbers(signed.report, start, end))
        assert examine(mutants, judge, "snp.signature", MALFORMED).problems == ()


@pytest.mark.parametrize("index", [0, 1, 2], ids=["VCEK", "ASK", "ARK"])
def test_every_second_byte_of_every_certificate_counts(genoa: World, index: int) -> None:
    signed = genoa.issue()
    der = signed.certificates[index]
    survey = examine(in_certificate(signed, index, flips(der, step=2)), judge, *CERTIFICATE_LAYERS)
    assert survey.problems == ()
    assert survey.count >= len(der) // 2


@pytest.mark.parametrize("product", ["Milan", "Turin"])
def test_bytes_of_a_vlek_and_of_its_authority_count(worlds: dict[str, World], product: str) -> None:
    signed = worlds[product].issue_vlek()
    for index in (0, 1):
        mutants = in_certificate(signed, index, flips(signed.certificates[index], step=11))
        assert examine(mutants, judge, *CERTIFICATE_LAYERS).problems == ()


@pytest.mark.parametrize("index", [0, 1, 2], ids=["VCEK", "ASK", "ARK"])
def test_a_cut_or_grown_certificate_is_refused(genoa: World, index: int) -> None:
    signed = genoa.issue()
    der = signed.certificates[index]
    for mutants in (cuts(der, step=53), growths(der), moves(der, step=61)):
        assert (
            examine(in_certificate(signed, index, mutants), judge, "snp.certificates", "snp.chain").problems
            == ()
        )


def test_a_certificate_of_another_world_never_fits(genoa: World, worlds: dict[str, World]) -> None:
    signed = genoa.issue()
    others = [worlds[product].issue() for product in ("Milan", "Turin")] + [genoa.issue(), genoa.issue_vlek()]
    mutants = [
        (f"certificate {index} of {other.certificates[index][:8].hex()}", chain)
        for other in others
        for index in range(3)
        if other.certificates[index] != signed.certificates[index]
        for _, chain in in_certificate(signed, index, iter([("", other.certificates[index])]))
    ]
    survey = examine(mutants, judge, "snp.chain", "snp.signature", "snp.vek")
    assert (survey.problems, survey.count) == ((), 9)


def test_no_byte_of_an_enforced_revocation_list_may_change(genoa: World) -> None:
    """A list in another's name is not this root's: it is not enforced, and claims say that none was."""
    signed = with_crl(genoa)

    def judge_enforced(mutant: Signed) -> Judged:
        try:
            checks, claims = mutant.authenticate()
        except MalformedEvidence:
            return Judged(False, frozenset({MALFORMED}))
        against = {check.id for check in checks if check.outcome not in DECIDES_NOTHING_BAD}
        unenforced = claims is not None and claims.crl_this_update is None
        return Judged(
            claims is not None and not unenforced,
            frozenset(against | ({"snp.crl.not-enforced"} if unenforced else set())),
        )

    assert judge_enforced(signed).accepted
    raw = signed.crls[0]
    for mutants in (flips(raw, step=2), cuts(raw, step=53), growths(raw), moves(raw, step=59)):
        put = within(mutants, lambda der: replace(signed, crls=(der,)))
        assert examine(put, judge_enforced, "snp.crl", "snp.certificates").problems == ()


def test_the_other_signature_with_n_minus_s_verifies_too_so_that_reports_identify_nothing(
    genoa: World,
) -> None:
    """ECDSA is malleable by design: a report's bytes (or their digest) must never serve as a unique id."""
    order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFC7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973
    signed = genoa.issue()
    s = int.from_bytes(signed.report[S : S + 48], "little")
    other = signed.report[:S] + (order - s).to_bytes(72, "little") + signed.report[TAIL:]
    assert other != signed.report
    assert judge(replace(signed, report=other)).accepted


@pytest.mark.parametrize("days", [-3650, -400, -2, 366, 3650])
def test_no_report_is_accepted_outside_its_certificates_life(genoa: World, days: int) -> None:
    assert genoa.issue().outcomes(now=NOW + timedelta(days=days)) == {"snp.chain.validity": "fail"}
