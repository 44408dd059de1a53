"""Thousands of mutants of forged TDX quotes and of Intel's collateral: none is accepted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest

from tests.fakes.amd import NOW
from tests.fakes.intel import IntelSigned, IntelWorld, pem_of
from tests.fakes.judges import authenticate_tdx, judge_tdx, objections
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

FORMS = {"v4": {"version": 4}} | {f"v5-{n}": {"version": 5, "body_type": n} for n in (2, 3, 4)}
LAYERS = {  # by region of the quote: which checks may be the one that objects
    "header.version": (MALFORMED,),
    "header.key_type": (MALFORMED,),
    "header.tee_type": (MALFORMED, "tdx.quote.tee"),
    "header": ("tdx.quote.signature",),
    "body.type": (MALFORMED,),
    "body.size": (MALFORMED,),
    "body": ("tdx.quote.signature",),
    "signature.size": (MALFORMED,),
    "signature": ("tdx.quote.signature",),
    "attestation_key": ("tdx.qe.binding",),
    "outer.type": ("tdx.quote.header",),
    "outer.size": (MALFORMED,),
    "qe.report": ("tdx.qe.signature",),
    "qe.signature": ("tdx.qe.signature",),
    "auth.size": (MALFORMED,),
    "auth.data": ("tdx.qe.binding",),
    "inner.type": ("tdx.quote.header",),
    "inner.size": (MALFORMED,),
    "chain": ("tdx.pck.",),
}
SIZES = ("body.type", "body.size", "signature.size", "outer.size", "auth.size", "inner.size")
TYPES = ("header.version", "header.key_type", "header.tee_type", "outer.type", "inner.type")
COLLATERAL = {
    "tcb_info": ("tdx.tcb_info.",),
    "qe_identity": ("tdx.qe_identity.",),
    "pck_crl": ("tdx.crl.pck",),
    "root_crl": ("tdx.crl.root",),
}
CHAINS = {
    "tcb_info_chain": ("tdx.tcb_info.",),
    "qe_identity_chain": ("tdx.qe_identity.",),
    "pck_crl_chain": ("tdx.crl.pck",),
}


def layers_of(region: str) -> tuple[str, ...]:
    """The most specific entry of LAYERS."""
    return LAYERS.get(region) or LAYERS[region.partition(".")[0]]


def in_quote(signed: IntelSigned, mutants: Iterator[Mutant[bytes]]) -> Iterator[Mutant[IntelSigned]]:
    """Each mutant in the quote's place."""
    return within(mutants, lambda raw: replace(signed, quote=raw))


def in_collateral(
    signed: IntelSigned, part: str, mutants: Iterator[Mutant[bytes]]
) -> Iterator[Mutant[IntelSigned]]:
    """Each mutant in place of one part of the collateral."""
    return within(mutants, lambda raw: signed.with_collateral(**{part: raw}))


@pytest.mark.parametrize("form", FORMS)
def test_what_is_mutated_below_was_accepted(intel: IntelWorld, form: str) -> None:
    assert judge_tdx(intel.issue(**FORMS[form])) == Judged(True, frozenset())


@pytest.mark.parametrize("form", FORMS)
def test_every_byte_before_the_certificates_counts_and_its_layer_objects(
    intel: IntelWorld, form: str
) -> None:
    signed = intel.issue(**FORMS[form])
    step = {"v4": 1, "v5-4": 2}.get(form, 7)
    judged = 0
    for region, (start, end) in signed.regions.items():
        if region != "chain":
            mutants = in_quote(signed, flips(signed.quote, start, end, step=step))
            survey = examine(mutants, judge_tdx, *layers_of(region))
            assert survey.problems == (), region
            judged += survey.count
    assert judged >= 1258 // step


def test_every_seventh_character_of_the_certificates_counts(intel: IntelWorld) -> None:
    signed = intel.issue()
    start, end = signed.regions["chain"]
    survey = examine(in_quote(signed, flips(signed.quote, start, end, step=7)), judge_tdx, "tdx.pck.")
    assert survey.problems == ()
    assert survey.count > 450


@pytest.mark.parametrize("form", FORMS)
def test_every_other_value_of_a_length_or_type_is_refused(intel: IntelWorld, form: str) -> None:
    signed = intel.issue(**FORMS[form])
    for region in (*SIZES, *TYPES):
        if region in signed.regions:
            mutants = in_quote(signed, numbers(signed.quote, *signed.regions[region]))
            assert examine(mutants, judge_tdx, *layers_of(region)).problems == (), region


@pytest.mark.parametrize("form", FORMS)
def test_a_cut_shifted_or_grown_quote_is_refused(intel: IntelWorld, form: str) -> None:
    signed = intel.issue(**FORMS[form])
    cut = in_quote(signed, cuts(signed.quote, step=61))
    assert examine(cut, judge_tdx, MALFORMED).problems == ()
    grown = in_quote(signed, growths(signed.quote, (b"\1", b"\0\0\1", b"\xff" * 64)))
    assert examine(grown, judge_tdx, MALFORMED, "tdx.quote.padding").problems == ()
    moved = in_quote(signed, moves(signed.quote, step=173))
    assert examine(moved, judge_tdx, MALFORMED, "tdx.").problems == ()


@pytest.mark.parametrize("index", [0, 1, 2], ids=["PCK", "CA", "root"])
def test_every_second_byte_of_every_certificate_in_the_quote_counts(intel: IntelWorld, index: int) -> None:
    """The same as characters of PEM, but denser: a flipped byte of DER, well encoded again."""
    good = intel.issue()
    chain = [good.pck, intel.ca, intel.root]
    pems = [authority.pem for authority in chain]

    def put(der: bytes) -> IntelSigned:
        changed = [*pems[:index], pem_of(der), *pems[index + 1 :]]
        return intel.issue(chain=b"".join(changed) + b"\0")

    survey = examine(within(flips(chain[index].der, step=2), put), judge_tdx, "tdx.pck.")
    assert survey.problems == ()
    assert survey.count >= len(chain[index].der) // 2
    for mutants in (cuts(chain[index].der, step=37), growths(chain[index].der)):
        assert examine(within(mutants, put), judge_tdx, "tdx.pck.").problems == ()


@pytest.mark.parametrize("part", COLLATERAL)
def test_every_byte_of_the_collateral_counts(intel: IntelWorld, part: str) -> None:
    """Of TCB info, which is long and repeats itself, every third."""
    signed = intel.issue()
    raw = getattr(signed.collateral, part)
    step = 3 if part == "tcb_info" else 1
    survey = examine(in_collateral(signed, part, flips(raw, step=step)), judge_tdx, *COLLATERAL[part])
    assert survey.problems == ()
    assert survey.count >= len(raw) // step


@pytest.mark.parametrize("part", COLLATERAL)
def test_cut_shifted_or_grown_collateral_is_refused(intel: IntelWorld, part: str) -> None:
    signed = intel.issue()
    raw = getattr(signed.collateral, part)
    for mutants in (cuts(raw, step=23), growths(raw), moves(raw, step=19)):
        survey = examine(in_collateral(signed, part, mutants), judge_tdx, *COLLATERAL[part])
        assert survey.problems == ()


@pytest.mark.parametrize("name", CHAINS)
@pytest.mark.parametrize("index", [0, 1])
def test_every_second_byte_of_a_collateral_signers_chain_counts(
    intel: IntelWorld, name: str, index: int
) -> None:
    signed = intel.issue()
    chain = getattr(signed.collateral, name)

    def put(der: bytes) -> IntelSigned:
        return signed.with_collateral(**{name: (*chain[:index], der, *chain[index + 1 :])})

    survey = examine(within(flips(chain[index], step=2), put), judge_tdx, *CHAINS[name])
    assert survey.problems == ()
    assert survey.count >= len(chain[index]) // 2
    for mutants in (cuts(chain[index], step=37), growths(chain[index])):
        assert examine(within(mutants, put), judge_tdx, *CHAINS[name]).problems == ()


@pytest.mark.parametrize("part", ["tcb_info", "qe_identity"])
def test_a_repeated_or_added_member_of_signed_json_is_refused(intel: IntelWorld, part: str) -> None:
    """Readers that take the first of two members, or the last, must not be led apart."""
    signed = intel.issue()
    raw = getattr(signed.collateral, part)
    name, rest = raw[: raw.index(b":") + 1], raw[raw.index(b":") + 1 :]
    inner, signature = rest[: rest.rindex(b',"signature"')], rest[rest.rindex(b',"signature"') :]
    end = signature[:-1]
    variants = (
        name + inner + end + b',"x":1}',
        name + inner + end + signature[:-1] + b"}",
        name + inner + b"," + name[1:] + inner + signature,
        b'{"x":1,' + name[1:] + inner + signature,
        b"{" + signature[1:-1] + b"," + name[1:] + inner + b"}",
        name + b" " + inner[:1] + b" " + inner[1:] + signature,
        name + inner[:-1] + b',"tcbEvaluationDataNumber":99}' + signature,
    )
    mutants = [(str(place), variant) for place, variant in enumerate(variants)]
    survey = examine(in_collateral(signed, part, iter(mutants)), judge_tdx, *COLLATERAL[part])
    assert survey.problems == ()


def test_at_no_time_outside_the_collaterals_life_is_anything_accepted(intel: IntelWorld) -> None:
    signed = intel.issue()
    for days in (-4000, -365, -2, 30, 365, 4000, 20_000):
        checks, claims, _ = authenticate_tdx(signed, now=NOW + timedelta(days=days))
        assert claims is None
        dated = ("tdx.tcb_info.current", "tdx.qe_identity.current", "tdx.crl.root", "tdx.crl.pck")
        assert all(objections(checks)[check] == "undecided" for check in dated), days


def test_collateral_and_quotes_of_two_platforms_do_not_mix(intel: IntelWorld) -> None:
    one = intel.issue()
    other = intel.issue(fmspc=b"\x77" * 6, tcb_fmspc=b"\x77" * 6, ppid=b"\x78" * 16)
    crossed = replace(one, collateral=other.collateral)
    assert judge_tdx(crossed).against == {"tdx.tcb_info.platform"}
