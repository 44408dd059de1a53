"""Signed release files for tests, right or wrong in one part."""

from __future__ import annotations

import json
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from attestation.reader import b64url_encode

KEY = Ed25519PrivateKey.from_private_bytes(b"\x11" * 32)
OTHER_KEY = Ed25519PrivateKey.from_private_bytes(b"\x12" * 32)
HEADER = {"alg": "EdDSA", "typ": "casemate-release+jws"}
SETS = [
    {"platform": "sev-snp", "name": "8 vCPU", "values": {"measurement": "0a" * 48}},
    {"platform": "tdx", "name": "c3-8", "values": {"mrtd": "0b" * 48, "rtmr1": "0c" * 48}},
    {"platform": "azure", "name": "DC8", "values": {"pcr0": "0d" * 32, "pcr15": "0e" * 32}},
]


def public_key(key: Ed25519PrivateKey = KEY) -> bytes:
    """The 32 bytes that a policy names."""
    return key.public_key().public_bytes_raw()


def payload(**changes: Any) -> dict[str, Any]:
    """A payload with `changes`; a value of None takes the member away."""
    fitting = {"format": "casemate/release/1", "number": 7, "release": "1.4.0", "issued": 1_795_000_000}
    changed = fitting | {"sets": SETS} | changes
    return {name: value for name, value in changed.items() if value is not None}


def release_file(
    body: dict[str, Any] | bytes | None = None,
    *,
    header: dict[str, Any] | None = None,
    key: Ed25519PrivateKey = KEY,
) -> bytes:
    """A compact JWS."""
    head = json.dumps(HEADER if header is None else header).encode()
    inner = body if isinstance(body, bytes) else json.dumps(payload() if body is None else body).encode()
    signed = f"{b64url_encode(head)}.{b64url_encode(inner)}"
    return f"{signed}.{b64url_encode(key.sign(signed.encode()))}".encode()
