"""Pins as policies and configurations write them: `sha256/<base64 of SHA-256 of a SubjectPublicKeyInfo>`.

The form is RFC 7469's. This module is pure, so that the trust core can read pins without loading TLS.
"""

from __future__ import annotations

import base64
import binascii

from attestation.errors import MalformedEvidence

_PREFIX = "sha256/"


def read_pin(value: object) -> bytes:
    """Return the 32 bytes of a pin. Raises MalformedEvidence for any other spelling: one key, one pin."""
    if not isinstance(value, str) or not value.startswith(_PREFIX):
        raise MalformedEvidence("a pin reads sha256/<base64>")
    try:
        raw = base64.b64decode(value.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError) as error:
        raise MalformedEvidence("a pin reads sha256/<base64>") from error
    if len(raw) != 32 or write_pin(raw) != value:
        raise MalformedEvidence("a pin holds 32 bytes in canonical base64")
    return raw


def write_pin(pin: bytes) -> str:
    """Return the one spelling of a pin."""
    return _PREFIX + base64.b64encode(pin).decode("ascii")
