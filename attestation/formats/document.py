"""The evidence document: a RATS conceptual message wrapper collection (RFC 9999), JSON, self-contained.

Specification: docs/spec/evidence.md. Every record is `["<media type>", "<base64url>", <indicator>]`. The set
of labels is closed: what this version does not know it cannot have checked, so it is refused.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from attestation.errors import MalformedEvidence
from attestation.formats.records import EVIDENCE, HARDWARE_RECORDS, hardware_of, records_of
from attestation.hardware import Hardware
from attestation.members import integer, require_members
from attestation.reader import b64url_decode, b64url_encode, parse_json_object

MEDIA_TYPE = "application/cmw+json"
COLLECTION_TYPE = "tag:casemate,2026:evidence/1"
INSECURE_LABEL = "insecure-development"
INSECURE_NOTICE = b"INSECURE DEVELOPMENT EVIDENCE: a simulated TEE signed this. It protects nothing.\n"
MAX_BYTES = 4 * 1024 * 1024

_RECORDS: dict[str, tuple[str, int]] = {
    "statement": ("application/json", EVIDENCE),
    "inclusion": ("application/json", EVIDENCE),
    "manifest": ("application/json", EVIDENCE),
    "config": ("application/toml", EVIDENCE),
    INSECURE_LABEL: ("text/plain", EVIDENCE),
} | HARDWARE_RECORDS
_REQUIRED = ("statement", "inclusion", "manifest", "config")


@dataclass(frozen=True, slots=True)
class Inclusion:
    """Where the statement stands in the Merkle tree; `path` holds 64-byte hashes, lowest first."""

    index: int
    size: int
    path: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Evidence:
    """A document's parts as exact bytes. Nothing is verified yet."""

    statement: bytes
    inclusion: Inclusion
    manifest: bytes
    config: bytes
    hardware: Hardware


def build_document(evidence: Evidence, *, insecure: bool) -> bytes:
    """Return the document's bytes; `insecure` adds the notice that a simulated TEE signed it."""
    parts = {
        "statement": evidence.statement,
        "inclusion": _encode_inclusion(evidence.inclusion),
        "manifest": evidence.manifest,
        "config": evidence.config,
    } | records_of(evidence.hardware)
    if insecure:
        parts[INSECURE_LABEL] = INSECURE_NOTICE
    collection: dict[str, object] = {"__cmwc_t": COLLECTION_TYPE}
    for label, value in parts.items():
        media_type, indicator = _RECORDS[label]
        collection[label] = [media_type, b64url_encode(value), indicator]
    return json.dumps(collection, separators=(",", ":")).encode()


def parse_document(raw: bytes) -> Evidence:
    """Take a document apart. Raises MalformedEvidence, and nothing else, for any other bytes."""
    records = _records(raw)
    return Evidence(
        statement=records["statement"],
        inclusion=_parse_inclusion(records["inclusion"]),
        manifest=records["manifest"],
        config=records["config"],
        hardware=hardware_of(records),
    )


def announces_insecure(raw: bytes) -> bool:
    """Whether the document carries the notice. For display: trust comes from the chain's root alone."""
    return INSECURE_LABEL in _records(raw)


def _records(raw: bytes) -> dict[str, bytes]:
    if len(raw) > MAX_BYTES:
        raise MalformedEvidence("document: longer than 4 MiB")
    collection = parse_json_object(raw, max_depth=3)
    if collection.pop("__cmwc_t", None) != COLLECTION_TYPE:
        raise MalformedEvidence(f"document: __cmwc_t is not {COLLECTION_TYPE}")
    missing = [label for label in _REQUIRED if label not in collection]
    if missing:
        raise MalformedEvidence(f"document: missing {', '.join(missing)}")
    if not collection.keys() <= _RECORDS.keys():
        raise MalformedEvidence("document: unknown label")
    return {label: _record(label, value) for label, value in collection.items()}


def _record(label: str, value: object) -> bytes:
    media_type, indicator = _RECORDS[label]
    match value:
        case [str(found), str(payload), int(bits)] if found == media_type and bits == indicator:
            return b64url_decode(payload)
        case _:
            raise MalformedEvidence(f'document: {label} must be ["{media_type}", base64url, {indicator}]')


def _encode_inclusion(inclusion: Inclusion) -> bytes:
    path = [b64url_encode(node) for node in inclusion.path]
    value = {"index": inclusion.index, "size": inclusion.size, "path": path}
    return json.dumps(value, separators=(",", ":")).encode()


def _parse_inclusion(raw: bytes) -> Inclusion:
    obj = parse_json_object(raw, max_depth=2)
    require_members(obj, frozenset({"index", "size", "path"}), "inclusion")
    path = obj["path"]
    if not isinstance(path, list) or len(path) > 20:
        raise MalformedEvidence("inclusion: path must be a list of at most 20 hashes")
    nodes = tuple(b64url_decode(node) for node in path)
    if any(len(node) != 64 for node in nodes):
        raise MalformedEvidence("inclusion: every hash of the path has 64 bytes")
    return Inclusion(integer(obj, "index", "inclusion"), integer(obj, "size", "inclusion"), nodes)
