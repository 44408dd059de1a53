"""Whatever a host sends in the place of certificates and lists is either brought to DER or refused."""

from __future__ import annotations

import time
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attestation.collect.formats import crl_der, header_chain, pem_chain
from attestation.collect.http import Answer
from attestation.errors import MalformedEvidence
from tests.fakes.kds import pem

DER = bytes(range(256))


def answer(*headers: tuple[str, str]) -> Answer:
    return Answer(200, tuple((name.lower(), value) for name, value in headers), b"")


@given(st.lists(st.binary(min_size=1, max_size=300), min_size=1, max_size=4))
def test_pem_gives_the_very_bytes_again(ders: list[bytes]) -> None:
    assert pem_chain(pem(*ders)) == tuple(ders)


@given(st.lists(st.binary(min_size=1, max_size=300), min_size=1, max_size=4), st.booleans())
def test_a_header_gives_the_very_bytes_again(ders: list[bytes], plus: bool) -> None:
    value = quote(pem(*ders).decode(), safe="")
    chain = header_chain(answer(("Any-Chain", value.replace("%20", "+") if plus else value)), "any-chain")
    assert chain == tuple(ders)


@given(st.binary(max_size=300))
def test_base64_that_keeps_its_plus_signs_in_a_header_survives(der: bytes) -> None:
    text = pem(b"\xfb" + der).decode()
    value = quote(text, safe="+/=")
    assert header_chain(answer(("Chain", value)), "chain") == (b"\xfb" + der,)


@pytest.mark.parametrize("tail", [b"\0", b"\r\n", b"\n\0\0"])
def test_what_quotes_end_with_is_tolerated(tail: bytes) -> None:
    assert pem_chain(pem(DER) + tail) == (DER,)


@pytest.mark.parametrize(
    "text",
    [b"", pem(DER) * 5, b"x" + pem(DER), pem(DER) + b"x", pem(DER)[:-2], pem(DER).replace(b"A", b"\xff")],
)
def test_what_is_no_chain_is_refused(text: bytes) -> None:
    with pytest.raises(MalformedEvidence):
        pem_chain(text)


def test_two_headers_of_one_meaning_are_refused() -> None:
    value = quote(pem(DER).decode())
    with pytest.raises(MalformedEvidence, match="not one header"):
        header_chain(answer(("v4", value), ("v3", value)), "v4", "v3")


def test_a_list_is_understood_in_each_spelling() -> None:
    der = b"\x30\x82" + DER
    framed = pem(der).replace(b"CERTIFICATE", b"X509 CRL")
    for text in (der, framed, b"\n" + framed, der.hex().encode(), der.hex().upper().encode() + b"\r\n"):
        assert crl_der(text) == der


def test_der_that_could_be_read_as_digits_is_told_by_what_it_holds() -> None:
    assert crl_der(b"3081") == b"\x30\x81"


@pytest.mark.parametrize("text", [b"", b"abc", b"<html>", b"\x31\x00", b"10 81", b"1x30"])
def test_what_is_no_list_is_refused(text: bytes) -> None:
    with pytest.raises(MalformedEvidence):
        crl_der(text)


@given(st.binary(max_size=400))
def test_any_bytes_are_read_or_refused(raw: bytes) -> None:
    for read in (pem_chain, crl_der, lambda text: header_chain(answer(("c", text.decode("latin-1"))), "c")):
        try:
            read(raw)
        except MalformedEvidence:
            continue


@pytest.mark.parametrize(
    "text",
    [
        b"-----BEGIN CERTIFICATE-----" * 40_000,
        b"-----BEGIN CERTIFICATE-----" + b" " * 1_000_000,
        b"a" * 1_000_001,
        b" " * 1_000_000 + b"x",
        b"aa" + b" " * 1_000_000 + b"x",
        b"-----BEGIN X509 CRL-----" + b"A" * 1_000_000,
    ],
)
def test_nothing_takes_more_than_a_moment(text: bytes) -> None:
    started = time.monotonic()
    for read in (pem_chain, crl_der):
        with pytest.raises(MalformedEvidence):
            read(text)
    assert time.monotonic() - started < 2
