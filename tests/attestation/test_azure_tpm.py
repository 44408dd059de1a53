"""TPM quotes: what TPMS_ATTEST, its signature and a list of PCR values say, and which bytes are none."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import Any

import pytest

from attestation.azure.tpm import (
    PcrSelection,
    parse_attest,
    parse_pcrs,
    parse_signature,
    pcr_digest,
    quoted_pcrs,
)
from attestation.errors import MalformedEvidence
from tests.fakes.tpm import PCRS, SHA256, TpmFields, attest_pieces

SHA1, SHA384 = 0x0004, 0x000C
HEADER = bytes.fromhex("0014000b0100")  # RSASSA, SHA-256, 256 bytes


def attest(**changes: Any) -> bytes:
    return b"".join(data for _, data in attest_pieces(TpmFields(**changes)))


def test_a_quote_reads_as_it_was_written() -> None:
    raw = attest(extra_data=b"\x07" * 64, clock=2**63, reset_count=5, restart_count=6, safe=0)
    quote = parse_attest(raw)
    assert quote.raw == raw
    assert quote.extra_data == b"\x07" * 64
    assert quote.qualified_signer == b"\x00\x0b" + b"\x51" * 32
    assert (quote.clock, quote.reset_count, quote.restart_count, quote.safe) == (2**63, 5, 6, 0)
    assert quote.firmware_version == 0x2020031200120003
    assert quote.selections == (PcrSelection(SHA256, tuple(range(24))),)
    assert quote.pcr_digest == hashlib.sha256(b"".join(PCRS)).digest()


@pytest.mark.parametrize("length", [0, 1, 32, 48, 64])
def test_qualifying_data_of_any_length_that_a_tpm_takes_is_read(length: int) -> None:
    assert len(parse_attest(attest(extra_data=bytes(length))).extra_data) == length


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"attest_magic": 0xFF544346}, "not made inside a TPM"),
        ({"attest_type": 0x8017}, "another type"),
        ({"attest_type": 0x8019}, "another type"),
        ({"safe": 2}, "neither"),
        ({"attest_tail": b"\0"}, "after the end"),
        ({"pcr_banks": ((SHA256, (0,)),) * 17}, "more than 16"),
    ],
)
def test_bytes_that_are_not_a_quote_are_refused(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(MalformedEvidence, match=reason):
        parse_attest(attest(**changes))


def test_every_truncation_of_a_quote_is_refused() -> None:
    raw = attest()
    for length in range(len(raw)):
        with pytest.raises(MalformedEvidence):
            parse_attest(raw[:length])


def test_a_selection_may_have_at_most_four_bytes() -> None:
    raw = attest(pcr_banks=((SHA256, (0, 23)),))
    place = raw.index(b"\x00\x0b\x03\x01\x00\x80")
    longer = raw[:place] + b"\x00\x0b\x04\x01\x00\x80\x01" + raw[place + 6 :]
    assert parse_attest(longer).selections == (PcrSelection(SHA256, (0, 23, 24)),)
    with pytest.raises(MalformedEvidence, match="more than 4 bytes"):
        parse_attest(raw[:place] + b"\x00\x0b\x05\x01\x00\x80\x00\x00" + raw[place + 6 :])


def test_only_the_sha256_bank_alone_can_be_compared() -> None:
    quote = parse_attest(attest(pcr_banks=((SHA256, (0, 7)),)))
    assert quoted_pcrs(quote) == (0, 7)
    for banks in ((), ((SHA1, (0,)),), ((SHA384, (0,)),), ((SHA256, (0,)), (SHA384, (0,)))):
        other = parse_attest(attest(pcr_banks=banks))
        with pytest.raises(MalformedEvidence, match="SHA-256 bank"):
            quoted_pcrs(other)


@pytest.mark.parametrize("pcrs", [(), (0, 24)])
def test_a_quote_over_nothing_or_over_a_pcr_that_does_not_exist_is_refused(pcrs: tuple[int, ...]) -> None:
    quote = replace(parse_attest(attest()), selections=(PcrSelection(SHA256, pcrs),))
    with pytest.raises(MalformedEvidence, match="no PCR, or one that does not exist"):
        quoted_pcrs(quote)


def test_the_digest_is_over_the_selected_values_in_ascending_order() -> None:
    assert pcr_digest((1, 4), PCRS) == hashlib.sha256(PCRS[1] + PCRS[4]).digest()
    with pytest.raises(MalformedEvidence, match="PCR 4 is quoted"):
        pcr_digest((1, 4), PCRS[:4])


def test_a_signature_is_read_with_and_without_the_structure_around_it() -> None:
    signature = bytes(range(256))
    assert parse_signature(signature) == signature
    assert parse_signature(HEADER + signature) == signature


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\x01",
        bytes.fromhex("0014000c0100") + bytes(256),  # SHA-384
        bytes.fromhex("0016000b0100") + bytes(256),  # RSAPSS
        bytes.fromhex("0014000b00ff") + bytes(256),
        bytes.fromhex("0014000b0101") + bytes(256),
    ],
)
def test_other_signatures_are_refused(raw: bytes) -> None:
    with pytest.raises(MalformedEvidence):
        parse_signature(raw)


def test_pcr_values_are_a_list_of_lowercase_digests() -> None:
    assert parse_pcrs(json.dumps([value.hex() for value in PCRS]).encode()) == PCRS
    assert parse_pcrs(b"[]") == ()


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{}",
        b"null",
        b"[1]",
        b'["00"]',
        b'["' + b"0F" * 32 + b'"]',
        b'[["' + b"00" * 32 + b'"]]',
        json.dumps(["00" * 32] * 25).encode(),
        b"[] []",
    ],
)
def test_other_lists_of_pcr_values_are_refused(text: bytes) -> None:
    with pytest.raises(MalformedEvidence):
        parse_pcrs(text)
