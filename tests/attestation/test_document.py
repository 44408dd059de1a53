"""Evidence documents are CMW collections (RFC 9999) with a closed set of labels, each in its one form."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attestation.document import (
    INSECURE_NOTICE,
    Evidence,
    Inclusion,
    announces_insecure,
    build_document,
    parse_document,
    parse_pem_chain,
)
from attestation.errors import MalformedEvidence
from attestation.reader import b64url_decode, b64url_encode, parse_json_object

EVIDENCE = Evidence(
    b"{}", Inclusion(1, 3, (b"h" * 64, b"i" * 64)), b"{m}", b"a = 1", b"r" * 1184, (b"c" * 99, b"d")
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
        snp_report=st.none() | st.binary(max_size=1200),
        snp_certs=st.lists(st.binary(min_size=1, max_size=300), max_size=8).map(tuple),
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
        {"snp_certs": record("snp-certs", b"-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n")},
        {"snp_certs": record("snp-certs", b"-----BEGIN CERTIFICATE-----\nA\n-----END CERTIFICATE-----\n")},
    ],
)
def test_refuses_any_other_form(changes: dict[str, Any]) -> None:
    parse_document(encode())
    with pytest.raises(MalformedEvidence):
        parse_document(encode(**changes))


def test_refuses_a_label_that_is_there_twice() -> None:
    raw = build_document(EVIDENCE, insecure=False)
    with pytest.raises(MalformedEvidence):
        parse_document(raw[:-1] + b',"config":["application/toml","",4]}')


def test_refuses_more_than_8_certificates_and_anything_between_them() -> None:
    one = b"-----BEGIN CERTIFICATE-----\nYWJj\n-----END CERTIFICATE-----\n"
    assert parse_pem_chain(one * 8) == (b"abc",) * 8
    for raw in (one * 9, one + b"\n" + one, b"# note\n" + one, one + b"-", one[:-1]):
        with pytest.raises(MalformedEvidence):
            parse_pem_chain(raw)


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
