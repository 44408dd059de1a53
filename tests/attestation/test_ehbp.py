"""EHBP: any split of the bytes reads the same, and any change to them is refused."""

from __future__ import annotations

import hashlib
import hmac

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st

from attestation.ehbp import (
    FRAME_BYTES,
    EhbpError,
    EhbpKeyMismatch,
    RequestOpener,
    RequestSealer,
    ResponseSealer,
    key_config,
    parse_key_config,
)

KEY = X25519PrivateKey.from_private_bytes(b"\x11" * 32)
PRIVATE, PUBLIC = KEY.private_bytes_raw(), KEY.public_key().public_bytes_raw()
OTHER = X25519PrivateKey.from_private_bytes(b"\x22" * 32).private_bytes_raw()

chunks = st.lists(st.binary(max_size=200), min_size=1, max_size=6)


def sealed_request(*plain: bytes) -> tuple[RequestSealer, list[bytes]]:
    sealer = RequestSealer(PUBLIC)
    return sealer, [sealer.seal(chunk) for chunk in plain]


def opened_context() -> tuple[RequestSealer, ResponseSealer]:
    sealer, [frame] = sealed_request(b"question")
    opener = RequestOpener(PRIVATE, sealer.encapsulated_key)
    assert opener.feed(frame) == b"question"
    return sealer, opener.response_sealer()


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({cut % (len(data) + 1) for cut in cuts})
    return [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]


@settings(max_examples=150, deadline=None)
@given(plain=chunks, answer=chunks, cuts=st.lists(st.integers(0, 5000), max_size=12))
def test_both_directions_read_the_same_however_they_are_split(
    plain: list[bytes], answer: list[bytes], cuts: list[int]
) -> None:
    plain = [b"not empty", *plain]
    sealer, frames = sealed_request(*plain)
    opener = RequestOpener(PRIVATE, sealer.encapsulated_key)
    assert b"".join(opener.feed(part) for part in split(b"".join(frames), cuts)) == b"".join(plain)
    opener.finish()
    responder = opener.response_sealer()
    wire = b"".join(responder.seal(chunk) for chunk in answer)
    reader = sealer.response_opener(responder.nonce_hex)
    assert b"".join(reader.feed(part) for part in split(wire, cuts)) == b"".join(answer)
    reader.finish()
    assert reader.opened == sum(bool(chunk) for chunk in answer)


def test_large_chunks_travel_in_frames_of_64_kib_and_empty_ones_in_none() -> None:
    sealer, [wire, nothing] = sealed_request(b"x" * (2 * FRAME_BYTES + 1), b"")
    assert nothing == b""
    assert int.from_bytes(wire[:4], "big") == FRAME_BYTES + 16
    assert len(wire) == 2 * FRAME_BYTES + 1 + 3 * (4 + 16)
    opener = RequestOpener(PRIVATE, sealer.encapsulated_key)
    assert opener.feed(wire) == b"x" * (2 * FRAME_BYTES + 1)


def test_empty_frames_are_skipped() -> None:
    sealer, [one, two] = sealed_request(b"a", b"b")
    opener = RequestOpener(PRIVATE, sealer.encapsulated_key)
    assert opener.feed(bytes(4) + one + bytes(8) + two + bytes(4)) == b"ab"
    opener.finish()


@settings(max_examples=200, deadline=None)
@given(place=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_no_flipped_bit_of_a_request_is_accepted(place: int, bit: int) -> None:
    sealer, frames = sealed_request(b"first", b"second")
    wire = bytearray(b"".join(frames))
    wire[place % len(wire)] ^= 1 << bit
    opener = RequestOpener(PRIVATE, sealer.encapsulated_key)
    with pytest.raises(EhbpError):
        _read_to_end(opener, bytes(wire))


@settings(max_examples=200, deadline=None)
@given(place=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_no_flipped_bit_of_a_response_is_accepted(place: int, bit: int) -> None:
    sealer, responder = opened_context()
    wire = bytearray(responder.seal(b"first") + responder.seal(b"second"))
    wire[place % len(wire)] ^= 1 << bit
    with pytest.raises(EhbpError):
        _read_to_end(sealer.response_opener(responder.nonce_hex), bytes(wire))


def _read_to_end(opener: object, wire: bytes) -> None:
    opener.feed(wire)  # type: ignore[attr-defined]
    opener.finish()  # type: ignore[attr-defined]


@pytest.mark.parametrize("order", [(1, 0, 2), (0, 2), (0, 0, 1), (0, 1, 1), (1, 2)])
def test_frames_moved_dropped_or_repeated_are_refused(order: tuple[int, ...]) -> None:
    sealer, frames = sealed_request(b"a", b"b", b"c")
    opener = RequestOpener(PRIVATE, sealer.encapsulated_key)
    with pytest.raises(EhbpError):
        opener.feed(b"".join(frames[index] for index in order))
    reader_sealer, responder = opened_context()
    answers = [responder.seal(chunk) for chunk in (b"a", b"b", b"c")]
    reader = reader_sealer.response_opener(responder.nonce_hex)
    with pytest.raises(EhbpError):
        reader.feed(b"".join(answers[index] for index in order))


@pytest.mark.parametrize("kept", [1, 3, 4, 10, -1])
def test_a_body_cut_within_a_frame_is_refused_at_its_end(kept: int) -> None:
    sealer, [frame, second] = sealed_request(b"a", b"b")
    opener = RequestOpener(PRIVATE, sealer.encapsulated_key)
    opener.feed(frame + second[:kept])
    with pytest.raises(EhbpError, match="ended within"):
        opener.finish()
    client, responder = opened_context()
    reader = client.response_opener(responder.nonce_hex)
    reader.feed(responder.seal(b"a")[:kept])
    with pytest.raises(EhbpError, match="ended within"):
        reader.finish()


def test_a_sealed_request_without_a_body_is_refused() -> None:
    opener = RequestOpener(PRIVATE, RequestSealer(PUBLIC).encapsulated_key)
    opener.feed(bytes(4))
    with pytest.raises(EhbpError, match="empty body"):
        opener.finish()
    with pytest.raises(EhbpError, match="context"):
        opener.response_sealer()


def test_another_key_is_told_apart_from_tampering() -> None:
    sealer, [first, second] = sealed_request(b"a", b"b")
    with pytest.raises(EhbpKeyMismatch):
        RequestOpener(OTHER, sealer.encapsulated_key).feed(first)
    opener = RequestOpener(PRIVATE, sealer.encapsulated_key)
    opener.feed(first)
    with pytest.raises(EhbpError) as caught:
        opener.feed(second[:-1] + bytes([second[-1] ^ 1]))
    assert not isinstance(caught.value, EhbpKeyMismatch)


def test_an_older_key_still_opens_what_was_sealed_to_it() -> None:
    sealer, [first, second] = sealed_request(b"a", b"b")
    opener = RequestOpener(OTHER, sealer.encapsulated_key, older_keys=[PRIVATE])
    assert opener.opened_by is None
    assert opener.feed(first + second) == b"ab"
    assert opener.opened_by == 1
    responder = opener.response_sealer()
    assert sealer.response_opener(responder.nonce_hex).feed(responder.seal(b"c")) == b"c"


def test_an_opener_that_failed_stays_failed() -> None:
    sealer, [first, second] = sealed_request(b"a", b"b")
    opener = RequestOpener(PRIVATE, sealer.encapsulated_key)
    with pytest.raises(EhbpError):
        opener.feed(second)
    for call in (lambda: opener.feed(first), opener.finish):
        with pytest.raises(EhbpError):
            call()
    client, responder = opened_context()
    reader = client.response_opener(responder.nonce_hex)
    good = responder.seal(b"a")
    with pytest.raises(EhbpError):
        reader.feed(good[:-1] + bytes([good[-1] ^ 1]))
    for call in (lambda: reader.feed(good), reader.finish):
        with pytest.raises(EhbpError):
            call()


def test_a_response_opens_only_for_the_request_it_answers() -> None:
    _, responder = opened_context()
    stranger, _ = opened_context()
    with pytest.raises(EhbpError):
        stranger.response_opener(responder.nonce_hex).feed(responder.seal(b"a"))


def test_a_response_under_another_nonce_is_refused() -> None:
    sealer, responder = opened_context()
    with pytest.raises(EhbpError):
        sealer.response_opener("ab" * 32).feed(responder.seal(b"a"))


@pytest.mark.parametrize("length", [1, 15, 64 * 1024 * 1024 + 1, 2**32 - 1])
def test_impossible_frame_lengths_are_refused_before_a_byte_of_them_is_kept(length: int) -> None:
    opener = RequestOpener(PRIVATE, RequestSealer(PUBLIC).encapsulated_key)
    with pytest.raises(EhbpError, match="length"):
        opener.feed(length.to_bytes(4, "big"))


@pytest.mark.parametrize(
    "text", ["", "00" * 31, "00" * 33, "AA" * 32, "zz" * 32, "0x" + "0" * 62, "ab" * 32 + "\n"]
)
def test_headers_are_64_lowercase_hex_digits(text: str) -> None:
    with pytest.raises(EhbpError):
        RequestOpener(PRIVATE, text)
    with pytest.raises(EhbpError):
        RequestSealer(PUBLIC).response_opener(text)


@pytest.mark.parametrize("point", [bytes(32), b"\x01" + bytes(31)])
def test_points_of_small_order_are_refused(point: bytes) -> None:
    with pytest.raises(EhbpError):
        RequestSealer(point)
    with pytest.raises(EhbpError):
        RequestOpener(PRIVATE, point.hex())


def test_the_key_configuration_is_the_41_bytes_that_clients_expect() -> None:
    raw = key_config(PUBLIC)
    assert raw == b"\x00\x00\x20" + PUBLIC + b"\x00\x04\x00\x01\x00\x02"
    assert parse_key_config(raw) == PUBLIC
    for wrong in (raw[:-1], raw + b"\x00", b"\x01" + raw[1:], raw[:-1] + b"\x01", b""):
        with pytest.raises(EhbpError):
            parse_key_config(wrong)


# An independent reading of RFC 9180 (base mode) and of EHBP, with nothing from the library under test.


def _extract(salt: bytes, material: bytes) -> bytes:
    return hmac.digest(salt or bytes(32), material, "sha256")


def _expand(key: bytes, info: bytes, length: int) -> bytes:
    assert length <= 32
    return hmac.digest(key, info + b"\x01", "sha256")[:length]


def _labeled_extract(suite: bytes, salt: bytes, label: bytes, material: bytes) -> bytes:
    return _extract(salt, b"HPKE-v1" + suite + label + material)


def _labeled_expand(suite: bytes, key: bytes, label: bytes, info: bytes, length: int) -> bytes:
    return _expand(key, length.to_bytes(2, "big") + b"HPKE-v1" + suite + label + info, length)


def _schedule(encapsulated: bytes) -> tuple[bytes, bytes, bytes]:
    """Key, base nonce and exporter secret that KEY's holder derives."""
    kem, hpke = b"KEM\x00\x20", b"HPKE\x00\x20\x00\x01\x00\x02"
    shared = KEY.exchange(X25519PublicKey.from_public_bytes(encapsulated))
    prk = _labeled_extract(kem, b"", b"eae_prk", shared)
    secret = _labeled_expand(kem, prk, b"shared_secret", encapsulated + PUBLIC, 32)
    context = (
        b"\x00"
        + _labeled_extract(hpke, b"", b"psk_id_hash", b"")
        + _labeled_extract(hpke, b"", b"info_hash", b"ehbp request")
    )
    secret = _labeled_extract(hpke, secret, b"secret", b"")
    return (
        _labeled_expand(hpke, secret, b"key", context, 32),
        _labeled_expand(hpke, secret, b"base_nonce", context, 12),
        _labeled_expand(hpke, secret, b"exp", context, 32),
    )


def _xor(nonce: bytes, count: int) -> bytes:
    return (int.from_bytes(nonce, "big") ^ count).to_bytes(12, "big")


def test_request_and_response_agree_with_an_independent_reading_of_the_specifications() -> None:
    sealer, frames = sealed_request(b"one", b"two", b"three")
    encapsulated = bytes.fromhex(sealer.encapsulated_key)
    key, nonce, exporter = _schedule(encapsulated)
    opened = [AESGCM(key).decrypt(_xor(nonce, i), frame[4:], b"") for i, frame in enumerate(frames)]
    assert opened == [b"one", b"two", b"three"]

    hpke = b"HPKE\x00\x20\x00\x01\x00\x02"
    secret = _labeled_expand(hpke, exporter, b"sec", b"ehbp response", 32)
    response_nonce = hashlib.sha256(b"any").digest()
    prk = _extract(encapsulated + response_nonce, secret)
    answer_key, iv = _expand(prk, b"key", 32), _expand(prk, b"nonce", 12)
    reader = sealer.response_opener(response_nonce.hex())
    for count, plain in enumerate((b"uno", b"dos")):
        frame = AESGCM(answer_key).encrypt(_xor(iv, count), plain, b"")
        assert reader.feed(len(frame).to_bytes(4, "big") + frame) == plain
