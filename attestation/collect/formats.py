"""Spellings in which vendors serve certificates and lists, brought to one: DER.

All of it is a stranger's: bounded, strict about what it is, and judged elsewhere. Raises MalformedEvidence.
"""

from __future__ import annotations

import base64
import binascii
import re
from urllib.parse import unquote_to_bytes

from attestation.collect.http import Answer
from attestation.collect.store import Kept
from attestation.errors import MalformedEvidence

MAX_CERTIFICATES = 4  # a chain of either vendor has two or three
_BEGIN, _END = b"-----BEGIN CERTIFICATE-----", b"-----END CERTIFICATE-----"
_BLOCK = re.compile(rb"-----BEGIN CERTIFICATE-----([A-Za-z0-9+/=\s]*+)-----END CERTIFICATE-----")
_LIST = re.compile(rb"\s*+-----BEGIN X509 CRL-----([A-Za-z0-9+/=\s]*+)-----END X509 CRL-----\s*+\Z")
_HEX = re.compile(rb"\s*+([0-9A-Fa-f]++)\s*+\Z")
_DER_SEQUENCE = 0x30


def pem_chain(text: bytes) -> tuple[bytes, ...]:
    """Certificates of PEM text, DER, in their order; nothing but white space between them."""
    blocks = _BLOCK.findall(text)
    if not 0 < len(blocks) <= MAX_CERTIFICATES or _BLOCK.sub(b"", text).strip(b" \t\r\n\0"):
        raise MalformedEvidence("not a chain of PEM certificates")
    return tuple(map(_base64, blocks))


def header_chain(answer: Answer, *names: str) -> tuple[bytes, ...]:
    """The issuer chain that Intel sends URL-encoded in a header, DER, leaf first.

    Some servers write a space as "+", which in Base64 means itself: only the frames are put right.
    """
    value = answer.header(*names)
    if value is None:
        raise MalformedEvidence(f"not one header {names[0]}")
    text = unquote_to_bytes(value.encode("latin-1"))
    for frame in (_BEGIN, _END):
        text = text.replace(frame.replace(b" ", b"+"), frame)
    return pem_chain(text)


def crl_der(body: bytes) -> bytes:
    """A revocation list as DER, from DER, from PEM, or from hexadecimal digits as PCCS serves them."""
    if body[:1] == bytes([_DER_SEQUENCE]) and not _HEX.match(body):
        return body
    if (pem := _LIST.match(body)) is not None:
        return _base64(pem[1])
    if (digits := _HEX.match(body)) is not None and len(digits[1]) % 2 == 0:
        return bytes.fromhex(digits[1].decode("ascii"))
    raise MalformedEvidence("neither DER nor PEM nor hexadecimal")


def chain_answer(answer: Answer) -> Kept:
    """An answer whose body is PEM certificates."""
    return Kept(b"", pem_chain(answer.body))


def plain_answer(answer: Answer) -> Kept:
    """An answer whose body is the thing itself."""
    return Kept(answer.body)


def crl_answer(answer: Answer) -> Kept:
    """An answer whose body is a revocation list."""
    return Kept(crl_der(answer.body))


def _base64(text: bytes) -> bytes:
    try:
        return base64.b64decode(b"".join(text.split()), validate=True)
    except binascii.Error as error:
        raise MalformedEvidence("not Base64 inside PEM") from error
