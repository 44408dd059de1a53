"""Strict reading: one spelling per value, nothing left over, one error type whatever the bytes."""

from __future__ import annotations

import json
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attestation.errors import MalformedEvidence
from attestation.reader import Cursor, b64url_decode, b64url_encode, hex_bytes, parse_json_object


def test_a_cursor_reads_little_endian_fields_in_order() -> None:
    cursor = Cursor(bytes(range(1, 17)))
    assert cursor.u8() == 0x01
    assert cursor.u16() == 0x0302
    assert cursor.u32() == 0x07060504
    assert cursor.u64() == 0x0F0E0D0C0B0A0908
    assert cursor.take(1) == b"\x10"
    cursor.end()


@pytest.mark.parametrize("count", [-1, 4, 2**63])
def test_a_cursor_refuses_to_read_outside_its_bytes(count: int) -> None:
    with pytest.raises(MalformedEvidence):
        Cursor(b"abc").take(count)


def test_a_cursor_refuses_bytes_left_over() -> None:
    with pytest.raises(MalformedEvidence):
        Cursor(b"a").end()


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b"null",
        b'"text"',
        b"{} {}",
        b'{"a":1,}',
        b'{"a":1,"a":1}',
        b'{"b":{"a":1,"a":2}}',
        b'{"a":NaN}',
        b'{"a":-Infinity}',
        b'{"a":1.0}',
        b'{"a":1e3}',
        b'{"a":123456789012345678901}',
        b'{"a":"\xff"}',
        b'{"a":"\\ud800"}',
        b'{"\\ud800":1}',
        b'{"a":["\\udfff"]}',
        b'\xef\xbb\xbf{"a":1}',
        b'{"a":"\n"}',
    ],
)
def test_refuses_json_that_two_readers_could_take_for_two_things(raw: bytes) -> None:
    with pytest.raises(MalformedEvidence):
        parse_json_object(raw)


def test_reads_a_plain_object_with_brackets_and_escapes_inside_strings() -> None:
    raw = '{"a":"[[[[[[[[[[{\\"\\\\","b":[1,-2,true,null],"ü":{}}'.encode()
    assert parse_json_object(raw) == {"a": '[[[[[[[[[[{"\\', "b": [1, -2, True, None], "ü": {}}


def test_nesting_is_bounded_exactly_and_cheaply() -> None:
    assert parse_json_object(b'{"a":[[1]]}', max_depth=3) == {"a": [[1]]}
    with pytest.raises(MalformedEvidence):
        parse_json_object(b'{"a":[[1]]}', max_depth=2)
    with pytest.raises(MalformedEvidence):
        parse_json_object(b'{"a":' + b"[" * 1_000_000)


@pytest.mark.parametrize(("item", "tokens"), [(b"[]", 2), (b'""', 1)])
def test_strings_and_brackets_are_counted_exactly(item: bytes, tokens: int) -> None:
    fitting = (10_000 - 5) // tokens  # without the braces, the name and the outer brackets
    assert len(parse_json_object(b'{"a":[' + b",".join([item] * fitting) + b"]}")["a"]) == fitting
    with pytest.raises(MalformedEvidence, match="more than"):
        parse_json_object(b'{"a":[' + b",".join([item] * (fitting + 1)) + b"]}")


@pytest.mark.parametrize(
    "text", [b"x" * 1_000_000, b"\\n" * 500_000, b"\\u0041" * 170_000], ids=["plain", "escapes", "unicode"]
)
def test_a_long_string_takes_a_few_times_its_own_memory(text: bytes) -> None:
    raw = b'{"a":"' + text + b'"}'
    tracemalloc.start()
    try:
        parse_json_object(raw)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8 * len(raw)


def test_a_message_never_repeats_what_was_sent() -> None:
    with pytest.raises(MalformedEvidence) as caught:
        parse_json_object(b'{"canary-4711":1,"canary-4711":1}')
    assert "canary" not in str(caught.value)


@given(st.binary(max_size=200))
def test_any_bytes_give_an_object_or_malformed_evidence(raw: bytes) -> None:
    try:
        assert isinstance(parse_json_object(raw), dict)
    except MalformedEvidence:
        return


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), _VALUES, max_size=4))
def test_whatever_json_writes_is_read_back_the_same(value: dict[str, object]) -> None:
    assert parse_json_object(json.dumps(value).encode(), max_depth=64) == value
    assert parse_json_object(json.dumps(value, ensure_ascii=False).encode(), max_depth=64) == value


@given(st.binary(max_size=64))
def test_base64url_comes_back_as_it_went(data: bytes) -> None:
    assert b64url_decode(b64url_encode(data)) == data


@pytest.mark.parametrize("text", ["A", "AA==", "AB", "AAB", "A+/A", "AA A", "AA\n", "ÄÄ", "AA="])
def test_refuses_any_other_spelling_of_base64url(text: str) -> None:
    with pytest.raises(MalformedEvidence):
        b64url_decode(text)


@given(st.text(max_size=12))
def test_any_text_is_canonical_base64url_or_malformed(text: str) -> None:
    try:
        assert b64url_encode(b64url_decode(text)) == text
    except MalformedEvidence:
        return


def test_hexadecimal_is_lowercase_and_of_exact_length() -> None:
    assert hex_bytes("00ff", 2) == b"\x00\xff"
    for text in ("00FF", "00f", "00ff00", "0x00", " 0ff", "00f\n", "\u0660" * 4):
        with pytest.raises(MalformedEvidence):
            hex_bytes(text, 2)
