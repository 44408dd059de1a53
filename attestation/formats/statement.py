"""The statement: the exact bytes that hardware binds, saying for which purpose, nonce and manifest.

Specification: docs/spec/statement.md. There is no canonical form: what was hashed is what is parsed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from attestation.errors import MalformedEvidence
from attestation.members import digest, one_of, require_members
from attestation.reader import parse_json_object

FORMAT = "casemate/statement/1"
PURPOSES = frozenset({"attestation", "session", "provision", "peer"})
NONCE_BYTES = 32
EXPORTER_BYTES = 32
MAX_BYTES = 1_024

_MEMBERS = frozenset({"format", "purpose", "nonce", "manifest_sha384"})
_WHAT = "statement"


@dataclass(frozen=True, slots=True)
class Statement:
    """Purpose (closed list), nonce (32 bytes, or None if nobody asked), SHA-384 of the manifest's bytes.

    `exporter` (32 bytes of TLS keying material of that very connection) exists for purpose `session` only.
    """

    purpose: str
    nonce: bytes | None
    manifest_sha384: bytes
    exporter: bytes | None = None


def build_statement(
    purpose: str, nonce: bytes | None, manifest_sha384: bytes, *, exporter: bytes | None = None
) -> bytes:
    """Return the bytes to bind. Raises MalformedEvidence if they would not parse: never sign such a thing."""
    value: dict[str, str | None] = {
        "format": FORMAT,
        "purpose": purpose,
        "nonce": None if nonce is None else nonce.hex(),
        "manifest_sha384": manifest_sha384.hex(),
    }
    if exporter is not None:
        value["exporter"] = exporter.hex()
    raw = json.dumps(value, separators=(",", ":")).encode()
    parse_statement(raw)
    return raw


def parse_statement(raw: bytes) -> Statement:
    """Read a statement. Raises MalformedEvidence for anything but exactly the known members."""
    if len(raw) > MAX_BYTES:
        raise MalformedEvidence("statement: longer than 1 KiB")
    obj = parse_json_object(raw)
    session = obj.get("purpose") == "session"
    require_members(obj, _MEMBERS | {"exporter"} if session else _MEMBERS, _WHAT)
    one_of(obj, "format", frozenset({FORMAT}), _WHAT)
    return Statement(
        purpose=one_of(obj, "purpose", PURPOSES, _WHAT),
        nonce=None if obj["nonce"] is None else digest(obj, "nonce", NONCE_BYTES, _WHAT),
        manifest_sha384=digest(obj, "manifest_sha384", 48, _WHAT),
        exporter=digest(obj, "exporter", EXPORTER_BYTES, _WHAT) if session else None,
    )
