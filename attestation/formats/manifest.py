"""The manifest: every public key that the gateway uses, with the digests of what it was told.

Specification: docs/spec/manifest.md. Attested as exact bytes; a key that is not in it is not the gateway's.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

from attestation.errors import MalformedEvidence
from attestation.members import digest, digests, integer, one_of, require_members, text
from attestation.reader import parse_json_object

FORMAT = "casemate/manifest/1"
PHASES = frozenset({"serving", "provisioning"})
ROOT_SOURCES = frozenset({"hardware", "release", "peer", "operator", "ephemeral", "insecure-development"})
OHTTP_CONFIG_BYTES = 41
MAX_BYTES = 65_536

_MEMBERS = frozenset(
    {
        "format",
        "phase",
        "service",
        "release",
        "config_sha384",
        "ledger_schema_sha384",
        "ledger_epoch",
        "rollback",
        "root_source",
        "keys",
        "key_epoch",
        "not_after",
    }
)
_KEYS = frozenset({"tls_spki_sha256", "hpke_x25519", "ohttp_key_config", "receipt_ed25519"})
_WHAT = "manifest"


@dataclass(frozen=True, slots=True)
class Manifest:
    """Digests and keys are raw bytes (SHA-384: 48, SPKI pins and public keys: 32, OHTTP config: 41).

    `service` and `release` are labels for people, never trust. `not_after` is in Unix seconds by the
    enclave's clock; `key_epoch` grows with every change of keys since boot. None: not built or not
    provisioned yet.
    """

    phase: str
    service: str
    release: str
    config_sha384: bytes
    ledger_schema_sha384: bytes
    ledger_epoch: int | None
    rollback: str | None
    root_source: str
    tls_spki_sha256: tuple[bytes, ...]
    hpke_x25519: tuple[bytes, ...]
    ohttp_key_config: bytes | None
    receipt_ed25519: bytes | None
    key_epoch: int
    not_after: int


def encode_manifest(m: Manifest) -> bytes:
    """Return the wire bytes. Raises MalformedEvidence if they would not parse: never attest such a thing."""
    value = {
        "format": FORMAT,
        "phase": m.phase,
        "service": m.service,
        "release": m.release,
        "config_sha384": m.config_sha384.hex(),
        "ledger_schema_sha384": m.ledger_schema_sha384.hex(),
        "ledger_epoch": m.ledger_epoch,
        "rollback": m.rollback,
        "root_source": m.root_source,
        "keys": {
            "tls_spki_sha256": [key.hex() for key in m.tls_spki_sha256],
            "hpke_x25519": [key.hex() for key in m.hpke_x25519],
            "ohttp_key_config": None if m.ohttp_key_config is None else m.ohttp_key_config.hex(),
            "receipt_ed25519": None if m.receipt_ed25519 is None else m.receipt_ed25519.hex(),
        },
        "key_epoch": m.key_epoch,
        "not_after": m.not_after,
    }
    raw = json.dumps(value, separators=(",", ":")).encode()
    parse_manifest(raw)
    return raw


def manifest_sha384(raw: bytes) -> bytes:
    """Digest of the exact bytes, as the statement carries it (48 bytes)."""
    return hashlib.sha384(raw).digest()


def parse_manifest(raw: bytes) -> Manifest:
    """Read a manifest. Raises MalformedEvidence for anything but exactly the known members."""
    if len(raw) > MAX_BYTES:
        raise MalformedEvidence("manifest: longer than 64 KiB")
    obj = parse_json_object(raw)
    require_members(obj, _MEMBERS, _WHAT)
    one_of(obj, "format", frozenset({FORMAT}), _WHAT)
    keys = obj["keys"]
    if not isinstance(keys, dict):
        raise MalformedEvidence("manifest: keys must be an object")
    require_members(keys, _KEYS, "manifest: keys")
    return Manifest(
        phase=one_of(obj, "phase", PHASES, _WHAT),
        service=text(obj, "service", _WHAT),
        release=text(obj, "release", _WHAT),
        config_sha384=digest(obj, "config_sha384", 48, _WHAT),
        ledger_schema_sha384=digest(obj, "ledger_schema_sha384", 48, _WHAT),
        ledger_epoch=None if obj["ledger_epoch"] is None else integer(obj, "ledger_epoch", _WHAT),
        rollback=None if obj["rollback"] is None else text(obj, "rollback", _WHAT),
        root_source=one_of(obj, "root_source", ROOT_SOURCES, _WHAT),
        tls_spki_sha256=digests(keys, "tls_spki_sha256", 32, _WHAT),
        hpke_x25519=digests(keys, "hpke_x25519", 32, _WHAT),
        ohttp_key_config=_optional(keys, "ohttp_key_config", OHTTP_CONFIG_BYTES),
        receipt_ed25519=_optional(keys, "receipt_ed25519", 32),
        key_epoch=integer(obj, "key_epoch", _WHAT),
        not_after=integer(obj, "not_after", _WHAT),
    )


def _optional(keys: Mapping[str, object], name: str, length: int) -> bytes | None:
    return None if keys[name] is None else digest(keys, name, length, _WHAT)
