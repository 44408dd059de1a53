"""PEM in its one strict spelling (RFC 7468, section 3): 64 columns, one newline, nothing between blocks."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Literal

from attestation.errors import MalformedEvidence

Kind = Literal["CERTIFICATE", "X509 CRL"]
MAX_BLOCKS = 8

_BODY = rb"([A-Za-z0-9+/=\n]{1,131072})"
_BLOCKS: dict[Kind, re.Pattern[bytes]] = {
    "CERTIFICATE": re.compile(rb"-----BEGIN CERTIFICATE-----\n" + _BODY + rb"\n-----END CERTIFICATE-----\n"),
    "X509 CRL": re.compile(rb"-----BEGIN X509 CRL-----\n" + _BODY + rb"\n-----END X509 CRL-----\n"),
}


def encode_pem(ders: tuple[bytes, ...], kind: Kind) -> bytes:
    """Return DER values of one kind as PEM blocks, in order."""
    begin, end = f"-----BEGIN {kind}-----\n".encode(), f"\n-----END {kind}-----\n".encode()
    return b"".join(begin + _columns(der) + end for der in ders)


def parse_pem(raw: bytes, kind: Kind, what: str) -> tuple[bytes, ...]:
    """Return the DER of up to 8 blocks. Raises MalformedEvidence if anything else stands between them."""
    found: list[bytes] = []
    offset = 0
    while offset < len(raw):
        block = _BLOCKS[kind].match(raw, offset)
        if block is None or len(found) == MAX_BLOCKS:
            raise MalformedEvidence(f"{what} must be at most {MAX_BLOCKS} PEM blocks of type {kind}")
        found.append(_der(block.group(1), what))
        offset = block.end()
    return tuple(found)


def _columns(der: bytes) -> bytes:
    text = base64.b64encode(der)
    return b"\n".join(text[start : start + 64] for start in range(0, len(text), 64))


def _der(body: bytes, what: str) -> bytes:
    try:
        return base64.b64decode(body.replace(b"\n", b""), validate=True)
    except (binascii.Error, ValueError) as error:
        raise MalformedEvidence(f"{what}: a PEM block is not base64") from error
