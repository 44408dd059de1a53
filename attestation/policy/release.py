"""Release files: reference values of one release, signed by its builder. Specification: docs/spec/release.md.

A release file is a compact JWS (RFC 7515) with EdDSA over Ed25519 (RFC 8037). It can only add reference
values to a policy that names it; nothing in it is trusted before its signature holds under a key that the
distribution carries or the policy names.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from types import MappingProxyType

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from attestation.errors import MalformedEvidence
from attestation.members import hex_value, integer, one_of, require_members, text
from attestation.policy.model import PCR_REGISTERS, SNP_REGISTERS, TDX_REGISTERS, ReferenceSet
from attestation.reader import b64url_decode, parse_json_object

FORMAT = "casemate/release/1"
TYPE = "casemate-release+jws"
MAX_BYTES = 1024 * 1024
MAX_SETS = 128
MAX_ISSUED = 253_370_764_799  # the last second of the year 9998

# Ed25519 public keys, 32 bytes each, whose releases every policy may name. No release has been signed yet: a
# policy names the keys that it trusts.
RELEASE_KEYS: tuple[bytes, ...] = ()

PLATFORMS = MappingProxyType(
    {"sev-snp": (SNP_REGISTERS, 48), "tdx": (TDX_REGISTERS, 48), "azure": (PCR_REGISTERS, 32)}
)
_HEADER = frozenset({"alg", "typ"})
_PAYLOAD = frozenset({"format", "number", "release", "issued", "sets"})
_SET = frozenset({"platform", "name", "values"})


@dataclass(frozen=True, slots=True)
class ReleaseSet:
    """Reference values for one platform: `sev-snp`, `tdx`, or `azure` (PCRs below a paravisor)."""

    platform: str
    set: ReferenceSet


@dataclass(frozen=True, slots=True)
class Release:
    """One release. `number` only grows; `release` is a label; `issued` is in Unix seconds."""

    number: int
    release: str
    issued: int
    sets: tuple[ReleaseSet, ...]


def parse_release(raw: bytes, keys: Collection[bytes]) -> Release:
    """Read a release file. Raises MalformedEvidence unless one of `keys` (32 bytes each) signed all of it.

    One newline at the end is tolerated, as editors and tools write it.
    """
    if len(raw) > MAX_BYTES:
        raise MalformedEvidence("release: longer than 1 MiB")
    parts = raw.removesuffix(b"\n").split(b".")
    if len(parts) != 3 or not raw.isascii():
        raise MalformedEvidence("release: not a compact JWS")
    header, payload, signature = (b64url_decode(part.decode("ascii")) for part in parts)
    _require_header(header)
    if not any(_verifies(key, signature, b".".join(parts[:2])) for key in keys):
        raise MalformedEvidence("release: not signed by a key that is known")
    return _payload(payload)


def _require_header(raw: bytes) -> None:
    header = parse_json_object(raw)
    require_members(header, _HEADER, "release header")
    one_of(header, "alg", frozenset({"EdDSA"}), "release header")
    one_of(header, "typ", frozenset({TYPE}), "release header")


def _verifies(key: bytes, signature: bytes, signed: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, signed)
    except (InvalidSignature, ValueError):
        return False
    return True


def _payload(raw: bytes) -> Release:
    payload = parse_json_object(raw)
    require_members(payload, _PAYLOAD, "release")
    one_of(payload, "format", frozenset({FORMAT}), "release")
    entries = payload["sets"]
    if not isinstance(entries, list) or not 1 <= len(entries) <= MAX_SETS:
        raise MalformedEvidence(f"release: sets must be a list of 1 to {MAX_SETS} entries")
    issued = integer(payload, "issued", "release")
    if issued > MAX_ISSUED:
        raise MalformedEvidence("release: issued lies beyond the year 9998")
    return Release(
        number=integer(payload, "number", "release"),
        release=text(payload, "release", "release"),
        issued=issued,
        sets=tuple(_set(entry) for entry in entries),
    )


def _set(entry: object) -> ReleaseSet:
    if not isinstance(entry, dict):
        raise MalformedEvidence("release: every set must be an object")
    require_members(entry, _SET, "release: set")
    platform = one_of(entry, "platform", frozenset(PLATFORMS), "release: set")
    registers, length = PLATFORMS[platform]
    values = entry["values"]
    if not isinstance(values, dict) or registers[0] not in values or not values.keys() <= set(registers):
        raise MalformedEvidence(f"release: values must state {registers[0]} and only registers of {platform}")
    found = {name: hex_value(value, length, f"release: {name}") for name, value in values.items()}
    return ReleaseSet(platform, ReferenceSet(text(entry, "name", "release: set"), found))
