"""Mutants of whole documents, on every platform, before the one function that clients call."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator

import pytest

from attestation.model import Verdict
from tests.fakes.amd import World
from tests.fakes.documents import Gateway, azure_gateway, snp_gateway, tdx_gateway
from tests.fakes.intel import IntelWorld
from tests.fakes.mutants import Mutant, cuts, examine, flips, growths, moves, within
from tests.fakes.tpm import TpmWorld

PARSE = "evidence.parse"
LAYERS = {
    "statement": (PARSE, "statement."),
    "inclusion": (PARSE, "statement.report_data"),
    "manifest": (PARSE, "statement.manifest"),
    "config": (PARSE, "manifest.config"),
    "snp-report": (PARSE, "snp.signature"),
    "snp-certs": (PARSE, "snp.certificates", "snp.chain.", "snp.vek."),
    "snp-crls": (PARSE, "snp.crl", "snp.certificates"),
    "tdx-quote": (PARSE, "tdx.quote.", "tdx.qe.", "tdx.pck."),
    "tdx-collateral": (PARSE, "tdx.tcb_info.", "tdx.qe_identity.", "tdx.crl."),
    "hcl-report": (PARSE, "snp.signature", "azure."),
    "tpm-quote": (PARSE, "azure.quote."),
}
TEXTS = ("statement", "inclusion", "manifest", "config")
# The notice that a simulated TEE signed is for people and decides nothing.
UNJUDGED = ("insecure-development",)


@pytest.fixture(scope="module", params=["snp", "tdx", "azure-snp", "azure-tdx"])
def gateway(request: pytest.FixtureRequest, genoa: World, intel: IntelWorld, tpm: TpmWorld) -> Gateway:
    """A gateway on each platform, whose document is accepted."""
    make: dict[str, Callable[[], Gateway]] = {
        "snp": lambda: snp_gateway(genoa),
        "tdx": lambda: tdx_gateway(intel),
        "azure-snp": lambda: azure_gateway(genoa, tpm),
        "azure-tdx": lambda: azure_gateway(intel, tpm),
    }
    made = make[str(request.param)]()
    appraisal = made.appraise()
    assert (appraisal.verdict, appraisal.failed) == (Verdict.ACCEPTED_INSECURE, ())
    return made


def labels(gateway: Gateway) -> list[str]:
    """The records that decide something."""
    return [name for name in json.loads(gateway.document) if name in LAYERS]


def test_changed_characters_of_every_record_are_refused_by_its_layer(gateway: Gateway) -> None:
    """Of the HCL report only the runtime data here: which bytes of it count is told in test_mutants_azure."""
    for label in labels(gateway):
        start, end = gateway.span(label)
        if label == "hcl-report":
            start += 4 * (32 + 1184 + 20) // 3
            end = start + 1200
        step = max(3, (end - start) // 150)
        survey = examine(flips(gateway.document, start, end, step=step), gateway.judge, *LAYERS[label])
        assert survey.problems == (), label


def test_changed_bytes_of_every_text_are_refused_by_the_digest_over_it(gateway: Gateway) -> None:
    for label in TEXTS:
        mutants = _inside(gateway, label, flips(gateway.payload(label), step=4))
        assert examine(mutants, gateway.judge, *LAYERS[label]).problems == (), label


def test_cut_shifted_or_grown_records_are_refused(gateway: Gateway) -> None:
    """Of two things a reader need not care: how PEM is broken into lines, how much padding follows."""
    for label in labels(gateway):
        raw = gateway.payload(label).rstrip(b"\0")
        step = max(7, len(raw) // 12)
        same = {raw.replace(b"\n", b"")}
        for mutants in (cuts(raw, step=step), growths(raw, (b"\1", b"\n{}")), moves(raw, step=step)):
            others = ((name, mutant) for name, mutant in mutants if mutant.replace(b"\n", b"") not in same)
            survey = examine(_inside(gateway, label, others), gateway.judge, *LAYERS[label], "snp.", "tdx.")
            assert survey.problems == (), label


def _inside(gateway: Gateway, label: str, mutants: Iterator[Mutant[bytes]]) -> Iterator[Mutant[bytes]]:
    return within(mutants, lambda raw: gateway.with_payload(label, raw))


def test_the_frame_around_the_records_admits_no_change(gateway: Gateway) -> None:
    """Names, media types, indicators, punctuation: everything outside the Base64."""
    spans = [gateway.span(label) for label in (*labels(gateway), *UNJUDGED)]
    frame = [
        (name, mutant)
        for offset in range(len(gateway.document))
        if not any(start <= offset < end for start, end in spans)
        for name, mutant in flips(gateway.document, offset, offset + 1)
    ]
    assert len(frame) > 300
    assert examine(frame, gateway.judge, PARSE).problems == ()


def test_a_cut_or_grown_document_is_refused(gateway: Gateway) -> None:
    for mutants in (cuts(gateway.document, step=997), growths(gateway.document, (b"{}", b"\1"))):
        assert examine(mutants, gateway.judge, PARSE).problems == ()


def test_no_record_may_be_missing(gateway: Gateway) -> None:
    for label in labels(gateway):
        appraisal = gateway.appraise(gateway.without(label))
        assert appraisal.verdict in (Verdict.REFUSED, Verdict.UNDECIDED), label
        assert appraisal.failed, label
        if label in TEXTS:
            assert [check.id for check in appraisal.failed] == [PARSE], label


def test_no_record_may_come_twice_or_unknown(gateway: Gateway) -> None:
    head = gateway.document[:-1]
    repeated = gateway.document[1 : gateway.document.index(b"]") + 1]
    for tail in (b',"extra":["text/plain","",4]}', b"," + repeated + b"}"):
        assert gateway.judge(head + tail).against == {PARSE}


@pytest.mark.parametrize("label", TEXTS)
def test_texts_of_one_gateway_do_not_fit_into_anothers_document(
    genoa: World, intel: IntelWorld, label: str
) -> None:
    """Both are genuine, of one hardware and one policy; only the digests tie their parts together."""
    for make in (
        lambda service: snp_gateway(genoa, service=service),
        lambda s: tdx_gateway(intel, service=s),
    ):
        mine, theirs = make("one"), make("two")
        if mine.payload(label) == theirs.payload(label):
            continue
        spliced = mine.with_payload(label, theirs.payload(label))
        found = mine.judge(spliced)
        assert not found.accepted
        assert any(check.startswith(LAYERS[label]) for check in found.against)


def test_a_report_about_another_manifest_is_not_bound_to_this_one(genoa: World, intel: IntelWorld) -> None:
    for make, label in ((snp_gateway, "snp-report"), (tdx_gateway, "tdx-quote")):
        world = genoa if label == "snp-report" else intel
        mine, theirs = make(world, service="one"), make(world, service="two")  # type: ignore[operator]
        payload = theirs.payload(label)
        spliced = Gateway(mine.with_payload(label, payload), mine.policy)
        if label == "snp-report":
            spliced = Gateway(spliced.with_payload("snp-certs", theirs.payload("snp-certs")), mine.policy)
        assert spliced.judge(spliced.document).against == {"statement.report_data"}


def test_records_of_two_platforms_do_not_stand_in_one_document(
    genoa: World, intel: IntelWorld, tpm: TpmWorld
) -> None:
    """What no rule looks at must not be there: it would lend a look of evidence to what is none."""
    gateways = [snp_gateway(genoa), tdx_gateway(intel), azure_gateway(genoa, tpm)]
    for mine, theirs in itertools.permutations(gateways, 2):
        records = json.loads(mine.document)
        both = json.loads(theirs.document) | records
        assert both.keys() > records.keys()
        assert not mine.judge(json.dumps(both).encode()).accepted
