"""Statements are read from exactly the bytes that were hashed, or not at all."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attestation.errors import MalformedEvidence
from attestation.formats.statement import Statement, build_statement, parse_statement

DIGEST = bytes(range(48))
VALUE: dict[str, Any] = {
    "format": "casemate/statement/1",
    "purpose": "attestation",
    "nonce": "6e" * 32,
    "manifest_sha384": DIGEST.hex(),
}


def encode(**changes: Any) -> bytes:
    """A statement with members changed; `...` removes one."""
    changed = {name: value for name, value in (VALUE | changes).items() if value is not ...}
    return json.dumps(changed).encode()


def test_the_wire_form_is_the_one_of_the_specification() -> None:
    expected = (
        '{"format":"casemate/statement/1","purpose":"attestation","nonce":null,'
        f'"manifest_sha384":"{DIGEST.hex()}"}}'
    )
    assert build_statement("attestation", None, DIGEST) == expected.encode()


@given(
    st.sampled_from(["attestation", "provision", "peer"]),
    st.none() | st.binary(min_size=32, max_size=32),
    st.binary(min_size=48, max_size=48),
)
def test_what_is_built_reads_back(purpose: str, nonce: bytes | None, digest: bytes) -> None:
    assert parse_statement(build_statement(purpose, nonce, digest)) == Statement(purpose, nonce, digest)


def test_a_session_statement_carries_the_exporter() -> None:
    raw = build_statement("session", b"n" * 32, DIGEST, exporter=b"e" * 32)
    assert parse_statement(raw).exporter == b"e" * 32


@pytest.mark.parametrize(
    "changes",
    [
        {"format": "casemate/statement/2"},
        {"purpose": "anything"},
        {"purpose": None},
        {"purpose": "session"},
        {"purpose": ["attestation"]},
        {"nonce": "6E" * 32},
        {"nonce": "6e" * 31},
        {"nonce": ""},
        {"nonce": 5},
        {"nonce": ...},
        {"manifest_sha384": None},
        {"manifest_sha384": "00" * 32},
        {"manifest_sha384": ...},
        {"exporter": "00" * 32},
        {"more": 1},
    ],
)
def test_refuses_anything_but_the_known_members(changes: dict[str, Any]) -> None:
    parse_statement(encode())
    with pytest.raises(MalformedEvidence):
        parse_statement(encode(**changes))


def test_refuses_a_member_that_is_there_twice() -> None:
    with pytest.raises(MalformedEvidence):
        parse_statement(encode().replace(b'"nonce"', b'"purpose": "peer", "nonce"'))


def test_refuses_more_than_a_kibibyte() -> None:
    with pytest.raises(MalformedEvidence):
        parse_statement(encode() + b" " * 1024)


def test_does_not_build_what_it_would_not_read() -> None:
    with pytest.raises(MalformedEvidence):
        build_statement("attestation", b"short", DIGEST)
    with pytest.raises(MalformedEvidence):
        build_statement("session", b"n" * 32, DIGEST)


def test_an_error_never_repeats_what_was_sent() -> None:
    with pytest.raises(MalformedEvidence) as refused:
        parse_statement(encode(canary="c4n4ry-value", c4n4ry=1))
    assert "c4n4ry" not in str(refused.value)


@given(st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
@settings(deadline=None)
def test_any_bytes_give_a_statement_or_the_typed_error(raw: bytes) -> None:
    try:
        parse_statement(raw)
    except MalformedEvidence:
        return


@given(st.integers(0, len(encode()) - 1), st.integers(0, 255))
@settings(deadline=None)
def test_a_changed_byte_gives_a_statement_or_the_typed_error(position: int, byte: int) -> None:
    raw = bytearray(encode())
    raw[position] = byte
    try:
        parse_statement(bytes(raw))
    except MalformedEvidence:
        return
