"""What a virtual TPM's quote says: TPMS_ATTEST, its signature, and the PCR values that came with it.

Source: TCG TPM 2.0 Library part 2 (Structures), sections 10.12 (TPMS_ATTEST), 10.6 (PCR selections), 11.3
(TPMT_SIGNATURE). Integers are big-endian. No opinion on whether any of it is true.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from attestation.errors import MalformedEvidence
from attestation.reader import Cursor, hex_bytes, parse_json_array

TPM_GENERATED = 0xFF544347
TPM_ST_ATTEST_QUOTE = 0x8018
TPM_ALG_SHA256 = 0x000B
PCR_COUNT = 24

_PCR_SIZE = 32
_RSASSA_SHA256 = b"\x00\x14\x00\x0b"  # TPM_ALG_RSASSA, TPM_ALG_SHA256
_MAX_SELECTIONS = 16
_MAX_SELECT_BYTES = 4


@dataclass(frozen=True, slots=True)
class PcrSelection:
    """PCRs of one bank, ascending. `algorithm` is a TPM_ALG_ID."""

    algorithm: int
    pcrs: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TpmQuote:
    """A TPMS_ATTEST of type quote. `extra_data` is what the caller asked to have signed: the nonce.

    `clock` is in milliseconds. `raw` are the signed bytes.
    """

    raw: bytes
    qualified_signer: bytes
    extra_data: bytes
    clock: int
    reset_count: int
    restart_count: int
    safe: int
    firmware_version: int
    selections: tuple[PcrSelection, ...]
    pcr_digest: bytes


def parse_attest(raw: bytes) -> TpmQuote:
    """Parse a bare TPMS_ATTEST of type quote, whole. Raises MalformedEvidence."""
    cursor = Cursor(bytes(raw))
    if _integer(cursor, 4) != TPM_GENERATED:
        raise MalformedEvidence("TPM quote: these bytes were not made inside a TPM")
    if _integer(cursor, 2) != TPM_ST_ATTEST_QUOTE:
        raise MalformedEvidence("TPM quote: an attestation of another type")
    quote = TpmQuote(
        raw=bytes(raw),
        qualified_signer=_sized(cursor),
        extra_data=_sized(cursor),
        clock=_integer(cursor, 8),
        reset_count=_integer(cursor, 4),
        restart_count=_integer(cursor, 4),
        safe=_yes_or_no(cursor),
        firmware_version=_integer(cursor, 8),
        selections=_selections(cursor),
        pcr_digest=_sized(cursor),
    )
    cursor.end()
    return quote


def _integer(cursor: Cursor, size: int) -> int:
    return int.from_bytes(cursor.take(size), "big")


def _sized(cursor: Cursor) -> bytes:
    """A TPM2B: two bytes of length, then as many bytes."""
    return cursor.take(_integer(cursor, 2))


def _yes_or_no(cursor: Cursor) -> int:
    value = _integer(cursor, 1)
    if value > 1:
        raise MalformedEvidence("TPM quote: a TPMI_YES_NO that is neither")
    return value


def _selections(cursor: Cursor) -> tuple[PcrSelection, ...]:
    """TPML_PCR_SELECTION: bit i of byte j selects PCR 8j + i."""
    count = _integer(cursor, 4)
    if count > _MAX_SELECTIONS:
        raise MalformedEvidence(f"TPM quote: more than {_MAX_SELECTIONS} PCR selections")
    return tuple(_selection(cursor) for _ in range(count))


def _selection(cursor: Cursor) -> PcrSelection:
    algorithm, size = _integer(cursor, 2), _integer(cursor, 1)
    if size > _MAX_SELECT_BYTES:
        raise MalformedEvidence(f"TPM quote: a PCR selection of more than {_MAX_SELECT_BYTES} bytes")
    bits = int.from_bytes(cursor.take(size), "little")
    return PcrSelection(algorithm, tuple(index for index in range(8 * size) if bits >> index & 1))


def parse_signature(raw: bytes) -> bytes:
    """The RSASSA signature's own bytes, from these or from a TPMT_SIGNATURE around them.

    Tools write either. The two cannot be mistaken for each other: a bare signature is as long as its key, a
    multiple of 64 bytes, and the structure is six bytes longer. Raises MalformedEvidence for anything else.
    """
    if raw and len(raw) % 64 == 0:
        return bytes(raw)
    cursor = Cursor(bytes(raw))
    if cursor.take(4) != _RSASSA_SHA256:
        raise MalformedEvidence("TPM signature: not RSASSA with SHA-256")
    signature = _sized(cursor)
    cursor.end()
    return signature


def parse_pcrs(raw: bytes) -> tuple[bytes, ...]:
    """Read a JSON list of at most 24 SHA-256 PCR values, from PCR 0 on. Raises MalformedEvidence."""
    values = parse_json_array(raw, max_depth=1)
    if len(values) > PCR_COUNT:
        raise MalformedEvidence(f"more than {PCR_COUNT} PCR values")
    return tuple(hex_bytes(value, _PCR_SIZE) for value in values)


def quoted_pcrs(quote: TpmQuote) -> tuple[int, ...]:
    """Which PCRs of the SHA-256 bank a quote covers. Raises MalformedEvidence if it covers anything else.

    A digest over several banks, or over none, cannot be compared with one list of SHA-256 values.
    """
    if len(quote.selections) != 1 or quote.selections[0].algorithm != TPM_ALG_SHA256:
        raise MalformedEvidence("the quote is not over the SHA-256 bank, and that alone")
    selected = quote.selections[0].pcrs
    if not selected or selected[-1] >= PCR_COUNT:
        raise MalformedEvidence("the quote selects no PCR, or one that does not exist")
    return selected


def pcr_digest(selected: tuple[int, ...], values: tuple[bytes, ...]) -> bytes:
    """SHA-256 over the selected values in ascending order. Raises MalformedEvidence if one is missing."""
    if selected[-1] >= len(values):
        raise MalformedEvidence(f"PCR {selected[-1]} is quoted, but its value was not supplied")
    return hashlib.sha256(b"".join(values[index] for index in selected)).digest()
