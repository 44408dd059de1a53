"""Evidence documents are CMW collections (RFC 9999) with a closed set of labels, each in its one form."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attestation.errors import MalformedEvidence
from attestation.formats.document import (
    INSECURE_NOTICE,
    Evidence,
    Inclusion,
    announces_insecure,
    build_document,
    parse_document,
)
from attestation.formats.records import encode_collateral, parse_collateral
from attestation.hardware import SnpEvidence, TdxEvidence, VtpmEvidence
from attestation.model import TdxCollateral
from attestation.pem import parse_pem
from attestation.reader import b64url_decode, b64url_encode, parse_json_object

EVIDENCE = Evidence(
    b"{}",
    Inclusion(1, 3, (b"h" * 64, b"i" * 64)),
    b"{m}",
    b"a = 1",
    SnpEvidence(b"r" * 1184, (b"c" * 99, b"d"), (b"l" * 70,)),
)
ALL_COLLATERAL = TdxCollateral(b"t", (b"c", b"d"), b"q", (b"e",), b"p", (b"f", b"g"), b"r")
BLOCKS = st.lists(st.binary(min_size=1, max_size=300), max_size=8).map(tuple)
PART = st.binary(min_size=1, max_size=40)
COLLATERAL = st.just(TdxCollateral()) | st.just(ALL_COLLATERAL)
HARDWARE = st.one_of(
    st.builds(SnpEvidence, PART, BLOCKS, BLOCKS),
    st.builds(TdxEvidence, PART, COLLATERAL, st.none() | PART, st.none() | PART),
    st.builds(
        VtpmEvidence,
        tee=st.just("azure-snp"),
        hcl_report=PART,
        certificates=BLOCKS,
        crls=BLOCKS,
        tpm_quote=PART,
        tpm_signature=st.binary(max_size=40),
        tpm_pcrs=st.binary(max_size=40),
        maa_token=st.binary(max_size=40),
        maa_keys=st.binary(max_size=40),
    ),
    st.builds(VtpmEvidence, tee=st.just("azure-tdx"), hcl_report=PART, td_quote=PART, collateral=COLLATERAL),
)
VALUE: dict[str, Any] = json.loads(build_document(EVIDENCE, insecure=False))


def encode(**changes: Any) -> bytes:
    """A document with labels changed (written with `_`); `...` removes one."""
    labels = {name if name.startswith("__") else name.replace("_", "-"): v for name, v in changes.items()}
    return json.dumps({name: v for name, v in (VALUE | labels).items() if v is not ...}).encode()


def record(label: str, payload: bytes) -> list[Any]:
    """The record of a label with another payload."""
    media_type, _, indicator = VALUE[label]
    return [media_type, b64url_encode(payload), indicator]


def place(**changes: Any) -> list[Any]:
    """An inclusion record with members changed."""
    found = json.loads(b64url_decode(VALUE["inclusion"][1]))
    return record("inclusion", json.dumps(found | changes).encode())


def test_the_collection_is_typed_and_every_record_says_what_it_is() -> None:
    assert VALUE["__cmwc_t"] == "tag:casemate,2026:evidence/1"
    assert VALUE["statement"] == ["application/json", "e30", 4]
    assert VALUE["snp-certs"][0] == "application/pem-certificate-chain"
    assert VALUE["snp-certs"][2] == 2


@given(
    st.builds(
        Evidence,
        statement=st.binary(max_size=40),
        inclusion=st.builds(
            Inclusion,
            index=st.integers(0, 100),
            size=st.integers(0, 100),
            path=st.lists(st.binary(min_size=64, max_size=64), max_size=4).map(tuple),
        ),
        manifest=st.binary(max_size=40),
        config=st.binary(max_size=40),
        hardware=HARDWARE,
    ),
    st.booleans(),
)
@settings(deadline=None)
def test_what_is_built_reads_back(evidence: Evidence, insecure: bool) -> None:
    raw = build_document(evidence, insecure=insecure)
    assert parse_document(raw) == evidence
    assert announces_insecure(raw) is insecure


def test_a_simulated_document_carries_a_notice_that_people_can_read() -> None:
    raw = build_document(EVIDENCE, insecure=True)
    media_type, payload, _ = parse_json_object(raw)["insecure-development"]
    assert (media_type, b64url_decode(payload)) == ("text/plain", INSECURE_NOTICE)


@pytest.mark.parametrize(
    "changes",
    [
        {"__cmwc_t": "tag:casemate,2026:evidence/2"},
        {"__cmwc_t": ...},
        {"statement": ...},
        {"inclusion": ...},
        {"manifest": ...},
        {"config": ...},
        {"tdx_quote": ["application/octet-stream", "", 4]},
        {"statement": "e30"},
        {"statement": ["application/json", "e30"]},
        {"statement": ["application/json", "e30", 4, 4]},
        {"statement": ["application/json", "e30", 8]},
        {"statement": ["text/plain", "e30", 4]},
        {"statement": ["application/json", "e30=", 4]},
        {"statement": ["application/json", "e31", 4]},
        {"statement": ["application/json", None, 4]},
        {"statement": {"__cmwc_t": "tag:casemate,2026:evidence/1"}},
        {"inclusion": place(index=-1)},
        {"inclusion": place(size=True)},
        {"inclusion": place(path=["AA"])},
        {"inclusion": place(path=None)},
        {"inclusion": place(path=[b64url_encode(bytes(64))] * 21)},
        {"inclusion": place(more=1)},
        {"snp-certs": record("snp-certs", b"-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n")},
        {"snp-certs": record("snp-certs", b"-----BEGIN CERTIFICATE-----\nA\n-----END CERTIFICATE-----\n")},
    ],
)
def test_refuses_any_other_form(changes: dict[str, Any]) -> None:
    parse_document(encode())
    with pytest.raises(MalformedEvidence):
        parse_document(encode(**changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"snp_report": ...},
        {"tdx_quote": ["application/vnd.casemate.tdx-quote", "AA", 4]},
        {"hcl_report": ["application/vnd.casemate.hcl-report", "AA", 4]},
        {"event_log": ["application/vnd.casemate.ccel", "AA", 4]},
        {"maa_token": ["application/eat+jwt", "AA", 8]},
        {"tpm_quote": ["application/vnd.casemate.tpm-quote+json", "AA", 4]},
    ],
)
def test_refuses_no_platform_and_any_mixture_of_two(changes: dict[str, Any]) -> None:
    with pytest.raises(MalformedEvidence):
        parse_document(encode(**changes))


@pytest.mark.parametrize(
    "lie",
    [
        b"[]",
        b'{"tcb_info":""}',
        encode_collateral(ALL_COLLATERAL).replace(b'"pck_crl_chain":[', b'"pck_crl_chain":["AA","AA","AA",'),
        encode_collateral(ALL_COLLATERAL).replace(b'"root_crl":"cg"', b'"root_crl":"cg="'),
        encode_collateral(ALL_COLLATERAL).replace(b'"tcb_info_chain":["Yw","ZA"]', b'"tcb_info_chain":"Yw"'),
        encode_collateral(ALL_COLLATERAL).replace(b'"root_crl":"cg"', b'"root_crl":7'),
    ],
)
def test_refuses_intel_collateral_in_any_other_form(lie: bytes) -> None:
    assert parse_collateral(encode_collateral(ALL_COLLATERAL)) == ALL_COLLATERAL
    assert lie != encode_collateral(ALL_COLLATERAL)
    with pytest.raises(MalformedEvidence):
        parse_collateral(lie)


def test_refuses_a_label_that_is_there_twice() -> None:
    raw = build_document(EVIDENCE, insecure=False)
    with pytest.raises(MalformedEvidence):
        parse_document(raw[:-1] + b',"config":["application/toml","",4]}')


def test_refuses_more_than_8_certificates_and_anything_between_them() -> None:
    one = b"-----BEGIN CERTIFICATE-----\nYWJj\n-----END CERTIFICATE-----\n"
    assert parse_pem(one * 8, "CERTIFICATE", "test") == (b"abc",) * 8
    for raw in (one * 9, one + b"\n" + one, b"# note\n" + one, one + b"-", one[:-1]):
        with pytest.raises(MalformedEvidence):
            parse_pem(raw, "CERTIFICATE", "test")


def test_refuses_a_document_of_more_than_4_mebibytes() -> None:
    with pytest.raises(MalformedEvidence):
        parse_document(build_document(EVIDENCE, insecure=False) + b" " * (4 * 1024 * 1024))


@pytest.mark.parametrize(
    "opening", [b'{"a":"' + b'\\"' * 400_000, b'["' + b'\\"' * 400_000 + b"\\", b"[" * 10**6]
)
def test_a_string_or_list_that_never_ends_is_refused_at_once(opening: bytes) -> None:
    """With a scan that starts again at every quote, this runs for hours and the time limit ends it."""
    with pytest.raises(MalformedEvidence):
        parse_document(opening)


@given(
    st.binary(max_size=300)
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(sorted(VALUE)), inner),
        max_leaves=12,
    ).map(lambda value: json.dumps(value).encode())
)
@settings(deadline=None)
def test_any_bytes_give_a_document_or_the_typed_error(raw: bytes) -> None:
    try:
        parse_document(raw)
    except MalformedEvidence:
        return


@given(
    st.sampled_from(sorted(VALUE)), st.recursive(st.none() | st.integers() | st.text(max_size=9), st.lists)
)
@settings(deadline=None)
def test_any_value_of_any_label_gives_a_document_or_the_typed_error(label: str, value: Any) -> None:
    try:
        parse_document(json.dumps(VALUE | {label: value}).encode())
    except MalformedEvidence:
        return
