"""Mutants of forged Azure evidence, whose two layers must hold each other: none is accepted."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.fakes.amd import World
from tests.fakes.intel import IntelWorld
from tests.fakes.judges import judge_azure
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
from tests.fakes.tpm import AzureSigned, TpmWorld, azure_snp, azure_tdx

HEADER = ("magic", "version", "report_size", "request_type", "status", "reserved")
FRAME = (*HEADER, "data_size", "data_version", "report_type", "hash_type", "runtime_size")
NUMBERS = ("version", "report_size", "request_type", "data_size", "report_type", "runtime_size")
# Bytes of a TDREPORT that only its processor can check (subtype and version, CPU SVN, MAC): nothing that we
# say of a machine comes from them. All others the quote repeats, or they are digests of such, or zero.
ONLY_THE_PROCESSORS = {*range(0x01, 0x04), *range(0x10, 0x20), *range(0xE0, 0x100)}


@pytest.fixture(params=["snp", "tdx"])
def platform(request: pytest.FixtureRequest) -> str:
    """Which hardware lies below."""
    return str(request.param)


@pytest.fixture
def signed(platform: str, genoa: World, intel: IntelWorld, tpm: TpmWorld) -> AzureSigned:
    """Evidence that is accepted."""
    made = azure_snp(genoa, tpm) if platform == "snp" else azure_tdx(intel, tpm)
    assert judge_azure(made) == Judged(True, frozenset())
    return made


def put(signed: AzureSigned, part: str, mutants: Iterator[Mutant[bytes]]) -> Iterator[Mutant[AzureSigned]]:
    """Each mutant in place of one part of the evidence, without the copy of the runtime data."""
    bare = signed.changed(runtime_data=b"")
    return within(mutants, lambda raw: bare.changed(**{part: raw}))


def test_every_byte_of_the_frame_counts(signed: AzureSigned) -> None:
    raw = signed.evidence.hcl_report
    for region in FRAME:
        start, end = signed.hcl_regions[region]
        layers = ("azure.runtime_data", MALFORMED) if region == "hash_type" else (MALFORMED,)
        survey = examine(put(signed, "hcl_report", flips(raw, start, end)), judge_azure, *layers)
        assert survey.problems == (), region


def test_every_other_value_of_a_length_or_type_is_refused(signed: AzureSigned) -> None:
    raw = signed.evidence.hcl_report
    for region in NUMBERS:
        if region == "version":
            continue  # 1 and 2 are both known and say the same: nothing binds which of them it is
        mutants = put(signed, "hcl_report", numbers(raw, *signed.hcl_regions[region]))
        survey = examine(mutants, judge_azure, MALFORMED, "azure.hcl.type")
        assert survey.problems == (), region


def test_every_byte_of_the_runtime_data_counts(signed: AzureSigned) -> None:
    start, end = signed.hcl_regions["runtime"]
    mutants = put(signed, "hcl_report", flips(signed.evidence.hcl_report, start, end))
    survey = examine(mutants, judge_azure, "azure.runtime_data", MALFORMED)
    assert (survey.problems, survey.count) == ((), end - start)


def test_no_byte_of_the_padding_may_be_anything(signed: AzureSigned) -> None:
    for region in ("padding", "hardware_padding"):
        if region in signed.hcl_regions:
            start, end = signed.hcl_regions[region]
            mutants = put(signed, "hcl_report", flips(signed.evidence.hcl_report, start, end))
            assert examine(mutants, judge_azure, MALFORMED).problems == ()


def test_every_byte_of_the_snp_report_inside_counts(genoa: World, tpm: TpmWorld) -> None:
    signed = azure_snp(genoa, tpm)
    start, end = signed.hcl_regions["hardware"]
    mutants = put(signed, "hcl_report", flips(signed.evidence.hcl_report, start, end, step=2))
    survey = examine(mutants, judge_azure, "snp.signature", MALFORMED)
    assert survey.problems == ()
    assert survey.count > 590


def test_every_byte_of_the_tdreport_counts_but_what_only_its_processor_can_check(
    intel: IntelWorld, tpm: TpmWorld
) -> None:
    signed = azure_tdx(intel, tpm)
    base, end = signed.hcl_regions["hardware"]
    raw = signed.evidence.hcl_report
    unnoticed = set()
    for offset in range(end - base):
        ((name, mutant),) = flips(raw, base + offset, base + offset + 1)
        judged = judge_azure(signed.changed(hcl_report=mutant, runtime_data=b""))
        if judged.accepted:
            unnoticed.add(offset)
        else:
            assert judged.against & {MALFORMED, "azure.tdreport"}, name
    assert unnoticed == ONLY_THE_PROCESSORS


def test_every_byte_of_the_td_quote_beside_it_counts(intel: IntelWorld, tpm: TpmWorld) -> None:
    signed = azure_tdx(intel, tpm)
    assert signed.intel is not None
    end = signed.intel.regions["chain"][0]
    mutants = put(signed, "td_quote", flips(signed.evidence.td_quote, 0, end, step=5))
    assert examine(mutants, judge_azure, "tdx.", MALFORMED).problems == ()


def test_a_cut_shifted_or_grown_hcl_report_is_refused(signed: AzureSigned) -> None:
    raw = signed.evidence.hcl_report
    end = signed.hcl_regions["padding"][0]
    for mutants in (cuts(raw[:end], step=41), growths(raw, (b"\1", b"\xff" * 64)), moves(raw[:end], step=67)):
        survey = examine(put(signed, "hcl_report", mutants), judge_azure, MALFORMED, "azure.", "snp.")
        assert survey.problems == ()


def test_every_byte_of_the_tpms_quote_and_signature_counts(signed: AzureSigned) -> None:
    layers = ("azure.quote.signature",)
    for part in ("tpm_quote", "tpm_signature"):
        raw = getattr(signed.evidence, part)
        survey = examine(put(signed, part, flips(raw)), judge_azure, *layers)
        assert (survey.problems, survey.count) == ((), len(raw))
        for mutants in (cuts(raw, step=11), growths(raw), moves(raw, step=17)):
            assert examine(put(signed, part, mutants), judge_azure, *layers).problems == ()


def test_every_length_inside_the_tpms_quote_counts(signed: AzureSigned) -> None:
    raw = signed.evidence.tpm_quote
    starts = [signed.quote_regions[name][0] for name in ("qualified_signer", "extra_data", "pcr_digest")]
    places = [(start, start + 2) for start in starts]
    start = signed.quote_regions["selection"][0]
    for place in (*places, (start, start + 4), (start + 6, start + 7)):
        survey = examine(
            put(signed, "tpm_quote", numbers(raw, *place, big=True)), judge_azure, "azure.quote."
        )
        assert survey.problems == ()


def test_every_seventh_character_of_the_pcr_values_counts(signed: AzureSigned) -> None:
    """White space between values says nothing; everything else does."""
    raw = signed.evidence.tpm_pcrs
    mutants = [(name, mutant) for name, mutant in flips(raw, step=7) if not _same_json(mutant, raw)]
    assert len(mutants) > 200
    survey = examine(put(signed, "tpm_pcrs", iter(mutants)), judge_azure, "azure.quote.pcrs")
    assert survey.problems == ()
    for others in (cuts(raw, step=61), growths(raw, (b"\1", b"[]")), moves(raw[1:-1], step=53)):
        survey = examine(put(signed, "tpm_pcrs", others), judge_azure, "azure.quote.pcrs")
        assert survey.problems == ()


def _same_json(one: bytes, other: bytes) -> bool:
    try:
        return bool(json.loads(one) == json.loads(other))
    except ValueError:
        return False


def test_every_byte_of_a_supplied_copy_of_the_runtime_data_counts(signed: AzureSigned) -> None:
    raw = signed.evidence.runtime_data
    mutants = within(flips(raw, step=5), lambda copy: signed.changed(runtime_data=copy))
    assert examine(mutants, judge_azure, "azure.runtime_data.copy").problems == ()
